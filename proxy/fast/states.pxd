# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. What a worker learns about backends and endpoints while it runs. It outlives snapshots: they
# name a state by its number. Only the worker writes; Python may look (relaxed loads).
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from proxy.fast.reasons cimport TRAFFIC_COUNT


cdef struct endpoint_state_t:
    uint32_t generation         # whose state this is: endpoint_t.generation
    uint32_t in_flight          # requests, and relayed connections
    double   latency_us         # peak EWMA; 0: nobody was asked yet
    uint64_t latency_at_us      # when it was measured last
    uint64_t since_ms           # first seen
    uint64_t ejected_until_ms   # 0: it is in
    uint32_t ejections          # how often in a row: the next one lasts longer
    uint32_t errors             # in a row
    uint32_t gateway_errors
    uint32_t local_errors
    uint32_t interval_requests  # of the backend's interval
    uint32_t interval_successes
    uint8_t  is_probing         # back, with one request to show what it can do
    uint8_t  is_known           # `since_ms` is set

cdef struct bucket_t:           # tokens, in millionths
    uint64_t level
    uint64_t at_us              # when it was filled last; 0: it is full

cdef struct backend_state_t:
    uint32_t in_flight          # requests
    uint32_t retries_in_flight
    uint32_t connections        # live ones
    uint32_t idle               # of them, in a pool
    uint32_t pending            # requests that wait for a connection
    uint32_t inbound_in_flight  # of what comes in to our own pod
    uint32_t ejected_count      # of its endpoints, now
    uint32_t cursor             # round robin
    uint64_t interval_at_ms     # when the interval of outliers began
    bucket_t budget             # of retries
    bucket_t limit              # of what comes in
    uint8_t  speaks_http        # nothing is dialled before there is a request
    uint64_t counts[TRAFFIC_COUNT]  # for metrics

cdef struct rule_state_t:
    bucket_t limit

cdef struct table_t:            # an array that grows by chunks: items never move
    char**   chunks             # own; a chunk is made when it is first written to
    uint32_t chunk_capacity
    uint32_t item_bytes

cdef struct fleet_t:            # all of it, of one worker
    table_t  endpoints          # endpoint_state_t by slot
    table_t  backends           # backend_state_t by number
    table_t  rules              # rule_state_t by number
    uint64_t random[2]
