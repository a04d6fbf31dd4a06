# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. Services, their routes and their endpoints as the data plane reads them: arrays that refer
# to each other by index, immutable once published. proxy/_traffic.pxd fills them from the rows of
# proxy/traffic/rows.py.
#
#   front_t    what an address or a host name leads to: a port of a Service
#     └─ matches, in the order in which they are asked ─▶ rule_t ─▶ shares ─▶ backend_t ─▶ endpoints
#     └─ without a route ──────────────────────────────────────────────────▶ backend_t
#
# What a worker learns about backends and endpoints outlives the snapshot: states.pxd.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.address cimport addr_t


cdef struct run_t:              # some neighbours in an array
    uint32_t first
    uint32_t count

cdef struct text_t:             # a word in traffic_t.text
    uint32_t at
    uint32_t bytes

cdef struct endpoint_t:         # who may get requests now: ready, and not on its way out
    addr_t   address
    uint32_t slot               # of its state in every worker (fleet.pxd)
    uint32_t generation         # of that slot: another one was another endpoint

cdef struct outlier_t:          # when an endpoint is taken out (0: never for this reason)
    uint32_t errors_max         # in a row: answers of 500 and more
    uint32_t gateway_errors_max  # 502, 503, 504
    uint32_t local_errors_max   # no connection, reset, time-out
    uint8_t  is_split           # local errors do not count among the others
    uint8_t  success_percent_min    # of an interval with `requests_min`
    uint8_t  ejected_percent_max    # of the endpoints; one may go in any case, the last never
    uint8_t  healthy_percent_min    # below it nobody is taken out, and all come back
    uint32_t requests_min
    uint32_t interval_ms
    uint64_t ejection_ms        # the first time; grows with every further one
    uint64_t ejection_ms_max

cdef struct limit_t:            # a token bucket; rate 0: no limit
    uint64_t rate_per_ks        # a thousand seconds: 1.5/s is 1500
    uint32_t burst

cdef struct retry_t:            # when a request is sent again
    uint64_t codes[4]           # bit c - 400 of answers that are worth another try
    uint32_t backoff_ms         # at least; 0: 25
    uint8_t  attempts           # further ones; 0: none
    uint8_t  is_said            # by a route: not only the default

cdef struct backend_t:          # a port of a Service, as requests are sent to it
    uint32_t number             # Python's, for life: its state in every worker
    uint32_t service            # Python's number of its name, for metrics
    run_t    endpoints          # in traffic_t.endpoints; those of our zone first
    uint32_t local_count        # how many of them are of our zone
    run_t    places             # in traffic_t.places: for BALANCE_RING and BALANCE_MAGLEV
    uint8_t  balance            # BALANCE_*
    uint8_t  hash_by            # HASH_*
    text_t   hash_name          # of the header (small letters) or query parameter
    uint64_t connect_ms         # 0: as the flags say; likewise for the others
    uint64_t idle_ms            # of pooled connections
    uint64_t tcp_idle_ms        # of relayed ones
    uint32_t connections_max    # 0: no limit but that of the flags; likewise for the others
    uint32_t pending_max        # requests that wait for a connection
    uint32_t requests_max       # in flight
    uint32_t retries_max        # in flight
    uint32_t connection_requests_max    # on one connection
    uint64_t slow_start_ms      # a new endpoint gets its full share after this
    uint32_t budget_percent     # retries allowed for requests made
    uint32_t budget_min_per_s
    outlier_t outlier
    uint64_t request_ms         # 0: no limit
    uint64_t try_ms
    retry_t  retry

cdef struct place_t:            # on the ring, or in Maglev's table
    uint32_t hash               # of the ring; 0 in Maglev's table
    uint32_t endpoint           # index in backend_t.endpoints

cdef struct field_t:            # one condition on a header or query parameter
    text_t   name               # headers: small letters
    text_t   value
    int32_t  dfa                # in traffic_t.dfas; -1: exact
    uint8_t  is_query

cdef struct route_t:            # one match of a rule; the first that holds decides
    text_t   path
    int32_t  dfa                # ROUTE_PATH_REGEX: in traffic_t.dfas
    uint32_t rule               # in traffic_t.rules
    run_t    fields             # in traffic_t.fields: all must hold
    uint8_t  path_form          # ROUTE_PATH_*
    uint8_t  method             # METHOD_*; METHOD_COUNT: any

cdef struct edit_t:             # a header to be changed: EDIT_*
    text_t   name
    text_t   value
    uint8_t  kind

cdef struct rewrite_t:          # of a request, or what a redirect says; REWRITE_NONE: as it came
    text_t   host               # bytes 0: as it came
    text_t   path               # of REWRITE_FULL and REWRITE_PREFIX
    uint8_t  path_kind          # REWRITE_*
    uint8_t  scheme             # redirects: SCHEME_*
    uint16_t port               # redirects: 0: none
    uint16_t status             # redirects: 301, 302, 303, 307, 308; 0: it is none

cdef struct mirror_t:
    int32_t  backend            # in traffic_t.backends
    uint32_t per_million

cdef struct fault_t:            # for users' own tests
    uint32_t delay_per_million
    uint32_t delay_ms
    uint32_t abort_per_million
    uint16_t abort_status

cdef struct share_t:            # a backend with its weight
    int32_t  backend            # in traffic_t.backends; -1: nobody, answered by 500
    uint32_t weight
    run_t    request_edits      # in traffic_t.edits; for this backend only
    run_t    response_edits

cdef struct rule_t:             # what is done with a request that matched
    uint32_t number             # Python's, for life: of its limit's state
    uint32_t route              # Python's number of the route's name, for metrics
    run_t    shares             # in traffic_t.shares
    uint32_t weight_sum         # 0: nobody, answered by 500
    run_t    request_edits      # in traffic_t.edits
    run_t    response_edits
    run_t    mirrors            # in traffic_t.mirrors
    rewrite_t rewrite
    uint64_t request_ms         # 0: as the backend says
    uint64_t try_ms
    retry_t  retry              # is_said 0: as the backend says
    limit_t  limit
    fault_t  fault

cdef struct front_t:            # a port of a Service, as others speak to it
    uint32_t service            # Python's number of its name
    int32_t  backend            # in traffic_t.backends: without a route; -1: none
    run_t    routes             # in traffic_t.routes, the strongest first; count 0: no route
    limit_t  limit              # of what comes in to our own pod for it
    limit_t  peer_limit         # the same, for each peer
    uint32_t requests_max       # of what comes in, in flight; beyond it is shed; 0: no limit
    fault_t  fault
    uint32_t number             # of its backend: of the limits' state

cdef struct name_t:             # a host name that leads to a front: explicit listeners
    text_t   name               # small letters, without a port
    uint16_t port
    uint32_t front

cdef struct dfa_t:              # a regular expression, as a table: linear in the length of the word
    run_t    steps              # in traffic_t.steps: [state * class_count + class] → state
    run_t    accepting          # in traffic_t.accepting: a byte for each state
    uint16_t class_count
    uint8_t  classes[256]       # of each byte

cdef struct traffic_t:          # all of it; own, Python's object frees it
    front_t* fronts
    backend_t* backends
    endpoint_t* endpoints
    place_t* places
    route_t* routes
    field_t* fields
    rule_t*  rules
    share_t* shares
    edit_t*  edits
    mirror_t* mirrors
    dfa_t*   dfas
    uint16_t* steps
    uint8_t* accepting
    name_t*  names
    uint32_t* name_index        # hash table of 1 + index in `names`; 0: free
    uint32_t name_mask          # places of the table - 1
    uint32_t* backend_index     # by number: 1 + index in `backends`; 0: gone
    uint32_t backend_index_count
    uint32_t front_count
    uint32_t backend_count
    char*    text
