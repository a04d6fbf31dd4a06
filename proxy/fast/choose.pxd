# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. From a destination to an endpoint: for relayed connections at once, for HTTP with each
# request.
#
# Rule 1: nothing here keeps a pointer into the snapshot: backends are named by their number.
from libc.stdint cimport int32_t, uint8_t, uint64_t

from proxy.fast.addr cimport addr_is_same
from proxy.fast.balance cimport balance_begin, balance_hash_addr, balance_pick
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.conn cimport conn_drop_upstream
from proxy.fast.fleet cimport fleet_backend, fleet_count
from proxy.fast.limits cimport DIALS_AGAIN_MAX
from proxy.fast.lookup cimport lookup_service
from proxy.fast.pick cimport pick_end, pick_failed
from proxy.fast.reasons cimport (
    DIRECTION_INBOUND, OUTCOME_LOCAL, OUTCOME_NONE, REASON_LIMIT_UPSTREAM, REASON_NO_ENDPOINT,
    REASON_OPEN, TRAFFIC_NO_ENDPOINT, TRAFFIC_OVERFLOW_CONNECTIONS,
)
from proxy.fast.snapshot cimport service_address_t
from proxy.fast.states cimport backend_state_t
from proxy.fast.stats cimport count
from proxy.fast.traffic cimport backend_t, endpoint_t, front_t, traffic_t
from proxy.fast.types cimport conn_t, worker_t
from proxy.fast.upstream cimport upstream_dial, upstream_mesh


# The service that a connection was made to, with its routes and endpoints. NULL: nothing but an
# address, or a pod's own, which is spoken to as it is.
cdef inline const front_t* choose_front(const worker_t* w, const conn_t* c) noexcept nogil:
    cdef const service_address_t* known
    if w.snapshot.traffic == NULL or c.direction == DIRECTION_INBOUND or c.is_judged or (
            c.is_by_host):
        return NULL
    known = lookup_service(w.snapshot, &c.original_dst)
    if known == NULL or known.front < 0 or known.is_direct:
        return NULL
    return &w.snapshot.traffic.fronts[known.front]


# The service of our own pod that a connection comes in for. NULL: none that has limits.
cdef inline const front_t* choose_own_front(const worker_t* w, const conn_t* c) noexcept nogil:
    cdef const service_address_t* known
    if w.snapshot.traffic == NULL or not (c.direction == DIRECTION_INBOUND or c.is_judged):
        return NULL
    known = lookup_service(w.snapshot, &c.original_dst)
    if known == NULL or known.front < 0:
        return NULL
    return &w.snapshot.traffic.fronts[known.front]


# Has somebody spoken HTTP to the backend of this destination? Then nothing is dialled before there
# is a request.
cdef inline bint choose_speaks_http(worker_t* w, const conn_t* c) noexcept nogil:
    cdef const front_t* front = choose_front(w, c)
    cdef backend_state_t* state
    if front == NULL or front.backend < 0:
        return False
    state = fleet_backend(&w.fleet, front.number)
    return state != NULL and state.speaks_http


cdef inline void choose_note_http(worker_t* w, const conn_t* c) noexcept nogil:
    cdef const front_t* front = choose_front(w, c)
    cdef backend_state_t* state
    if front != NULL:
        state = fleet_backend(&w.fleet, front.number)
        if state != NULL:
            state.speaks_http = 1


# No service is in charge of it, though one was: it goes where it meant to go. The address of an
# endpoint of then may be another pod's.
cdef inline void choose_original(worker_t* w, conn_t* c) noexcept nogil:
    if c.is_by_host or c.is_mirror or addr_is_same(&c.upstream, &c.original_dst):
        return
    pick_end(w, c, OUTCOME_NONE, 0)
    conn_drop_upstream(w, c, False)
    c.upstream = c.original_dst
    c.is_mesh = upstream_mesh(w, c) != NULL


# Make an endpoint of a backend the upstream.
cdef inline void choose_this(
    worker_t* w, conn_t* c, const backend_t* b, const endpoint_t* endpoint,
) noexcept nogil:
    FP_ASSERT(not c.pick.is_made)
    balance_begin(&w.fleet, endpoint, w.now_ms)
    c.upstream = endpoint.address
    c.pick.backend = b.number
    c.pick.slot = endpoint.slot
    c.pick.generation = endpoint.generation
    c.pick.is_made = 1
    c.is_mesh = upstream_mesh(w, c) != NULL


# Pick an endpoint of a backend and make it the upstream. REASON_OPEN, or why not.
cdef inline uint8_t choose_endpoint(
    worker_t* w, conn_t* c, const backend_t* b, uint64_t hash,
) noexcept nogil:
    cdef const traffic_t* t = w.snapshot.traffic
    cdef int32_t at
    at = balance_pick(t, b, &w.fleet, w.now_us, hash, c.tried, c.tried_count)
    if at < 0:
        fleet_count(&w.fleet, b.number, TRAFFIC_NO_ENDPOINT)
        return REASON_NO_ENDPOINT
    choose_this(w, c, b, &t.endpoints[at])
    return REASON_OPEN


# The same for a connection as a whole, where its destination is a service.
cdef inline uint8_t choose_for_connection(worker_t* w, conn_t* c) noexcept nogil:
    cdef const front_t* front = choose_front(w, c)
    cdef const backend_t* b
    cdef backend_state_t* state
    if c.is_by_host:
        return REASON_NO_ENDPOINT           # no request, no Host
    if c.pick.is_made:
        return REASON_OPEN
    if front == NULL:
        choose_original(w, c)
        return REASON_OPEN
    if front.backend < 0:
        return REASON_NO_ENDPOINT
    b = &w.snapshot.traffic.backends[front.backend]
    state = fleet_backend(&w.fleet, b.number)
    if state != NULL and b.connections_max and state.connections >= b.connections_max:
        count(&state.counts[TRAFFIC_OVERFLOW_CONNECTIONS])
        return REASON_LIMIT_UPSTREAM
    return choose_endpoint(w, c, b, balance_hash_addr(&c.downstream))


# Dial whoever is to get the connection. REASON_OPEN, or why not.
cdef inline uint8_t choose_dial(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint8_t reason = choose_for_connection(w, c)
    if reason != REASON_OPEN:
        return reason
    return choose_dial_again(w, c, upstream_dial(w, c))


# A dial for a connection failed: try other endpoints, of which not one has heard a byte yet.
# Returns REASON_OPEN when one is being dialled, else why not.
cdef inline uint8_t choose_dial_again(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
    while reason != REASON_OPEN and c.pick.is_made:
        pick_failed(w, c, OUTCOME_LOCAL, 0)
        if c.tried_count > DIALS_AGAIN_MAX:
            break
        conn_drop_upstream(w, c, False)
        if choose_for_connection(w, c) != REASON_OPEN:
            break
        reason = upstream_dial(w, c)
    return reason
