# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. Why a connection ended, what was counted, and the other small vocabularies.
#
# The names that people read (proxy/_fastpath.pyx: REASONS, EVENTS, ...) stand in the same order;
# tests/unit/test_stub.py holds them together. Texts and hints live in proxy/errors.py.

cdef enum:                  # status of a fast function: negative values are our own faults
    FP_OK = 0               # did what it was asked
    FP_AGAIN = 1            # cannot go on now; an event or a timer will
    FP_DONE = 2             # nothing more to do, or the connection was closed meanwhile

cdef enum:                  # conn_t.close_reason; the first writer wins
    REASON_OPEN = 0
    REASON_OK = 1                   # FIN both ways
    REASON_DOWNSTREAM_RESET = 2
    REASON_UPSTREAM_RESET = 3
    REASON_DOWNSTREAM_TIMEOUT = 4   # keepalive or TCP_USER_TIMEOUT gave the peer up
    REASON_UPSTREAM_TIMEOUT = 5
    REASON_CONNECT_REFUSED = 6
    REASON_CONNECT_TIMEOUT = 7
    REASON_CONNECT_UNREACHABLE = 8
    REASON_CONNECT_FAILED = 9
    REASON_SOURCE_UNAVAILABLE = 10  # 127.0.0.6 or ::6 could not be bound
    REASON_LOOP = 11                # original destination is the proxy itself
    REASON_NO_ORIGINAL_DST = 12     # nobody redirected this connection
    REASON_IDLE_TIMEOUT = 13
    REASON_HALF_OPEN_TIMEOUT = 14
    REASON_LIMIT_CONNECTIONS = 15
    REASON_NO_FDS = 16
    REASON_NO_MEMORY = 17
    REASON_DRAIN_DEADLINE = 18
    REASON_OPERATOR = 19
    REASON_STOPPED = 20
    REASON_FLUSH_TIMEOUT = 21       # HTTP: the downstream takes nothing of its answer
    REASON_TLS_FAILED = 22          # the handshake; stats_t.tls_failed says why
    REASON_TLS_TIMEOUT = 23
    REASON_TLS_BROKEN = 24          # a record that is none, after the handshake
    REASON_PLAINTEXT_REFUSED = 25   # STRICT
    REASON_NO_IDENTITY = 26         # TLS is due and we have no certificate that counts
    REASON_DENIED = 27              # by an authorization policy
    REASON_NO_ENDPOINT = 28         # a service without any
    REASON_LIMIT_UPSTREAM = 29      # too many connections to it
    REASON_COUNT = 30

cdef enum:                  # tls_t.failure; stats_t.tls_failed
    TLS_FAILED_NONE = 0
    TLS_FAILED_NO_CERTIFICATE = 1   # the peer showed none
    TLS_FAILED_UNTRUSTED = 2        # signed by nobody that we trust
    TLS_FAILED_EXPIRED = 3
    TLS_FAILED_NOT_YET_VALID = 4
    TLS_FAILED_USAGE = 5            # a CA, or a key that may not do this
    TLS_FAILED_IDENTITY = 6         # not exactly one well-formed SPIFFE ID
    TLS_FAILED_TRUST_DOMAIN = 7     # not of ours
    TLS_FAILED_UNEXPECTED = 8       # another identity than that of the endpoint
    TLS_FAILED_VERSION = 9          # no version, cipher or group in common
    TLS_FAILED_REFUSED = 10         # the peer sent an alert
    TLS_FAILED_PROTOCOL = 11        # not TLS, or broken
    TLS_FAILED_CLOSED = 12          # the peer went away
    TLS_FAILED_TIMEOUT = 13
    TLS_FAILED_RESOURCES = 14       # memory, or too many certificates to be looked at
    TLS_FAILED_COUNT = 15

cdef enum:                  # conn_t.direction, listener_t.direction
    DIRECTION_INBOUND = 0
    DIRECTION_OUTBOUND = 1
    DIRECTION_EXPLICIT = 2
    DIRECTION_COUNT = 3

cdef enum:                  # conn_t.protocol
    PROTOCOL_PENDING = 0
    PROTOCOL_HTTP1 = 1
    PROTOCOL_HTTP2 = 2
    PROTOCOL_TLS = 3
    PROTOCOL_OPAQUE = 4
    PROTOCOL_NONE = 5       # ended before anybody had said a word
    PROTOCOL_COUNT = 6

cdef enum:                  # conn_t.speaker: who sent the first byte
    SPEAKER_NONE = 0
    SPEAKER_DOWNSTREAM = 1
    SPEAKER_UPSTREAM = 2
    SPEAKER_COUNT = 3

cdef enum:                  # conn_t.phase
    PHASE_CONNECTING = 0
    PHASE_RELAYING = 1
    PHASE_HALF_OPEN = 2

cdef enum:                  # stats_t.events
    EVENT_ACCEPT_PAUSED = 0         # no descriptor or memory at accept: the listener waits
    EVENT_ACCEPT_ERROR = 1          # a connection died in the backlog
    EVENT_LIMIT_CONNECTIONS = 2     # refused: connections_max reached
    EVENT_RECORDS_DROPPED = 3       # the ring to Python was full
    EVENT_SPLICE_STARTED = 4
    EVENT_SPLICE_NO_PIPE = 5        # bulk flow went on copying: pipes_max, or no descriptor
    EVENT_STALE = 6                 # epoll event of a connection already gone
    EVENT_WAKE_FAILED = 7           # an eventfd could not be written
    EVENT_RETRIED = 8               # sent again on a new connection: the pooled one had died
    EVENT_POLICY_CLOSED = 9         # open connections that a changed policy denied
    EVENT_MIRRORED = 10             # copies of requests
    EVENT_MIRROR_DROPPED = 11       # ... that were not made: too large, or too many
    EVENT_COUNT = 12

cdef enum:                  # h1_field_t.id: the field names that mean something to us
    HEADER_NONE = 0
    HEADER_HOST = 1
    HEADER_CONTENT_LENGTH = 2
    HEADER_TRANSFER_ENCODING = 3
    HEADER_CONNECTION = 4
    HEADER_UPGRADE = 5
    HEADER_EXPECT = 6
    HEADER_TE = 7
    HEADER_TRAILER = 8
    HEADER_KEEP_ALIVE = 9
    HEADER_PROXY_CONNECTION = 10
    HEADER_HTTP2_SETTINGS = 11
    HEADER_X_REQUEST_ID = 12
    HEADER_X_FORWARDED_FOR = 13
    HEADER_X_FORWARDED_PROTO = 14
    HEADER_TRACEPARENT = 15
    HEADER_AUTHORIZATION = 16
    HEADER_USER_AGENT = 17
    HEADER_CLIENT_CERT = 18         # x-forwarded-client-cert
    HEADER_CLIENT_ID = 19           # remora-client-id
    HEADER_ATTEMPTS = 20            # remora-attempt-count
    HEADER_TIMEOUT = 21             # remora-timeout-ms
    HEADER_RETRY_AFTER = 22
    HEADER_COUNT = 23

cdef enum:                  # h1_head_t.method
    METHOD_OTHER = 0
    METHOD_GET = 1
    METHOD_HEAD = 2
    METHOD_POST = 3
    METHOD_PUT = 4
    METHOD_DELETE = 5
    METHOD_PATCH = 6
    METHOD_OPTIONS = 7
    METHOD_TRACE = 8
    METHOD_CONNECT = 9
    METHOD_COUNT = 10

cdef enum:                  # h1_head_t.body
    BODY_NONE = 0
    BODY_LENGTH = 1
    BODY_CHUNKED = 2
    BODY_UNTIL_CLOSE = 3            # responses only
    BODY_TUNNEL = 4                 # after 101, or 2xx to CONNECT: no more HTTP

cdef enum:                  # exchange_t.flag: Envoy's letters, _fastpath.pyx FLAGS
    FLAG_NONE = 0
    FLAG_DPE = 1            # the downstream's message is not HTTP
    FLAG_DC = 2             # the downstream went away
    FLAG_SI = 3             # it took too long to say what it wants
    FLAG_UF = 4             # the upstream could not be reached
    FLAG_UO = 5             # too many connections to it, and none came free
    FLAG_UC = 6             # it closed or reset the connection
    FLAG_UPE = 7            # its answer is not HTTP
    FLAG_UT = 8             # it did not answer in time
    FLAG_OM = 9             # out of memory or descriptors
    FLAG_LR = 10            # we were told to stop
    FLAG_UAEX = 11          # an authorization policy denied it
    FLAG_NR = 12            # no route, or one to nobody
    FLAG_UH = 13            # no endpoint
    FLAG_RL = 14            # above its rate limit
    FLAG_DI = 15            # delayed on purpose
    FLAG_FI = 16            # failed on purpose
    FLAG_UMSDR = 17         # all of it took longer than the route allows
    FLAG_COUNT = 18

cdef enum:                  # in place of a status, for Python: one that found no place of its own
    STATUS_REST = 1         # below 500
    STATUS_REST_ERROR = 600
    STATUS_ERROR_MIN = 500  # the upstream's fault from here on

cdef enum:                  # conn_t.service; Python numbers the configured ones from SERVICE_COUNT
    SERVICE_UNKNOWN = 0
    SERVICE_OTHER = 1       # known, but too many to be counted apart
    SERVICE_COUNT = 2

cdef enum:                  # golden_key_t.route; Python numbers those that have names
    ROUTE_UNKNOWN = 0
    ROUTE_OTHER = 1
    ROUTE_COUNT = 2

cdef enum:                  # service_address_t.handling: what is done with a connection's bytes
    HANDLING_DETECT = 0
    HANDLING_RELAY = 1      # looked at and labelled, never held nor parsed: declared to be TLS
    HANDLING_OPAQUE = 2     # not even looked at
    HANDLING_COUNT = 3

# ---- authorization policies: the words of proxy/policy/table.py, in the same order --------------

cdef enum:                  # policy_t.action
    ACTION_DENY = 0
    ACTION_ALLOW = 1
    ACTION_AUDIT = 2
    ACTION_COUNT = 3

cdef enum:                  # match_t.field: what is looked at
    FIELD_PRINCIPAL = 0             # spiffe:// is not part of it
    FIELD_NAMESPACE = 1
    FIELD_ACCOUNT = 2               # NAMESPACE/sa/ACCOUNT, as it stands in the SPIFFE ID
    FIELD_TRUST_DOMAIN = 3
    FIELD_SOURCE_IP = 4
    FIELD_DESTINATION_IP = 5
    FIELD_PORT = 6
    FIELD_SNI = 7
    FIELD_HOST = 8                  # from here on: requests have it, connections do not
    FIELD_METHOD = 9
    FIELD_PATH = 10
    FIELD_HEADER = 11
    FIELD_COUNT = 12

cdef enum:                  # value_t.form
    FORM_EXACT = 0
    FORM_PREFIX = 1
    FORM_SUFFIX = 2
    FORM_PRESENT = 3                # anything but nothing
    FORM_TEMPLATE = 4               # of a path, see policy_template()
    FORM_BLOCK4 = 5
    FORM_BLOCK6 = 6
    FORM_PORT = 7
    FORM_COUNT = 8

cdef enum:                  # what was judged, and what came of it: worker_t.policy_counts
    UNIT_REQUEST = 0
    UNIT_CONNECTION = 1
    UNIT_COUNT = 2

cdef enum:
    VERDICT_ALLOWED = 0
    VERDICT_DENIED = 1
    VERDICT_DRY_RUN = 2             # a dry-run policy would have denied it
    VERDICT_AUDITED = 3             # an AUDIT policy matched
    VERDICT_COUNT = 4

cdef enum:                  # policy_t.slot; Python gives out those from SLOT_COUNT on
    SLOT_NONE = 0                   # no policy: no ALLOW policy matched, or there is none
    SLOT_OTHER = 1                  # too many to be counted apart
    SLOT_COUNT = 2

# ---- traffic policy: the words of proxy/traffic/rows.py, in the same order ----------------------

cdef enum:                  # backend_t.balance
    BALANCE_EWMA = 0
    BALANCE_LEAST_REQUEST = 1
    BALANCE_ROUND_ROBIN = 2
    BALANCE_RANDOM = 3
    BALANCE_RING = 4
    BALANCE_MAGLEV = 5
    BALANCE_COUNT = 6

cdef enum:                  # backend_t.hash_by
    HASH_NONE = 0
    HASH_HEADER = 1
    HASH_QUERY = 2
    HASH_SOURCE = 3
    HASH_COUNT = 4

cdef enum:                  # route_t.path_form
    ROUTE_PATH_ANY = 0
    ROUTE_PATH_EXACT = 1
    ROUTE_PATH_PREFIX = 2           # by whole segments
    ROUTE_PATH_REGEX = 3
    ROUTE_PATH_COUNT = 4

cdef enum:                  # edit_t.kind
    EDIT_SET = 0
    EDIT_ADD = 1
    EDIT_REMOVE = 2
    EDIT_COUNT = 3

cdef enum:                  # rewrite_t.path_kind
    REWRITE_NONE = 0
    REWRITE_FULL = 1
    REWRITE_PREFIX = 2
    REWRITE_COUNT = 3

cdef enum:                  # rewrite_t.scheme
    SCHEME_NONE = 0
    SCHEME_HTTP = 1
    SCHEME_HTTPS = 2
    SCHEME_COUNT = 3

cdef enum:                  # how an endpoint did (outlier.pxd)
    OUTCOME_NONE = 0                # nothing to be learned: the downstream left
    OUTCOME_OK = 1
    OUTCOME_ERROR = 2               # an answer of 500 and more
    OUTCOME_GATEWAY = 3             # 502, 503, 504
    OUTCOME_LOCAL = 4               # no connection, reset, time-out

cdef enum:                  # backend_state_t.counts
    TRAFFIC_RETRIED = 0
    TRAFFIC_RETRY_NO_BUDGET = 1     # a retry was due, and the budget had none
    TRAFFIC_RETRY_LIMIT = 2         # ... retries_max
    TRAFFIC_RETRY_HELPED = 3        # the answer of a retry was worth no further one
    TRAFFIC_EJECTED = 4
    TRAFFIC_RETURNED = 5
    TRAFFIC_OVERFLOW_REQUESTS = 6   # requests_max
    TRAFFIC_OVERFLOW_PENDING = 7    # pending_max
    TRAFFIC_OVERFLOW_CONNECTIONS = 8
    TRAFFIC_NO_ENDPOINT = 9
    TRAFFIC_RATE_LIMITED = 10
    TRAFFIC_SHED = 11               # too many in flight, inbound
    TRAFFIC_TIMEOUT_REQUEST = 12
    TRAFFIC_TIMEOUT_TRY = 13
    TRAFFIC_FAULT_DELAY = 14
    TRAFFIC_FAULT_ABORT = 15
    TRAFFIC_COUNT = 16
