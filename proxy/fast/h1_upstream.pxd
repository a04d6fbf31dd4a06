# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. A connection to the upstream for an exchange: pooled, dialled, waited for, or tried again.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.choose cimport choose_endpoint, choose_this
from proxy.fast.conn cimport conn_arm_timer, conn_drop_upstream
from proxy.fast.exchange cimport exchange_is_routed
from proxy.fast.fleet cimport fleet_backend, fleet_seen_endpoint
from proxy.fast.h1_end cimport h1_reply
from proxy.fast.h1_retry cimport retry_begin, retry_hold, retry_restart
from proxy.fast.limits cimport IDLE_LOOKS_MAX
from proxy.fast.lookup cimport traffic_backend
from proxy.fast.outlier cimport outlier_is_out
from proxy.fast.pick cimport pick_end, pick_failed
from proxy.fast.pool cimport pool_adopt, pool_find, pool_get, pool_take_idle, pool_wait, up_close
from proxy.fast.reasons cimport (
    BALANCE_MAGLEV, BALANCE_RING, FLAG_NR, FLAG_OM, FLAG_UF, FLAG_UH, FLAG_UO, FP_AGAIN, FP_DONE,
    FP_OK, OUTCOME_LOCAL, OUTCOME_NONE, PHASE_CONNECTING, REASON_CONNECT_TIMEOUT, REASON_NO_FDS,
    REASON_NO_IDENTITY, REASON_NO_MEMORY, REASON_OPEN, REASON_TLS_FAILED, REASON_TLS_TIMEOUT,
    TRAFFIC_OVERFLOW_PENDING,
)
from proxy.fast.request_log cimport h1_log_peer
from proxy.fast.states cimport backend_state_t, endpoint_state_t
from proxy.fast.stats cimport count
from proxy.fast.traffic cimport backend_t, endpoint_t
from proxy.fast.types cimport REQUEST_WAITS, conn_t, exchange_t, pool_t, worker_t
from proxy.fast.upstream cimport upstream_dial, upstream_is_fit


# The dial for an exchange failed: 504 for a time-out, else 503 (RFC 9110 section 15.6).
cdef inline void h1_dial_answer(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
    h1_log_peer(c)
    if reason == REASON_CONNECT_TIMEOUT:
        h1_reply(w, c, 504, FLAG_UF, b"connect_timeout")
    elif reason in (REASON_NO_FDS, REASON_NO_MEMORY):
        h1_reply(w, c, 503, FLAG_OM, b"no_resources")
    elif reason == REASON_TLS_FAILED:
        h1_reply(w, c, 503, FLAG_UF, b"tls_failed")
    elif reason == REASON_TLS_TIMEOUT:
        h1_reply(w, c, 504, FLAG_UF, b"tls_timeout")
    elif reason == REASON_NO_IDENTITY:
        h1_reply(w, c, 503, FLAG_UF, b"no_identity")
    else:
        h1_reply(w, c, 503, FLAG_UF, b"connect_failed")


# The same, if it may not be tried again elsewhere: not a byte of it went out.
cdef inline void h1_dial_failed(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if x == NULL and c.pick.is_made:        # nothing was asked yet: later, others may be there
        pick_failed(w, c, OUTCOME_LOCAL, 0)
        conn_drop_upstream(w, c, False)
        conn_arm_timer(w, c)
        return
    if x != NULL and retry_begin(w, c, OUTCOME_LOCAL, 0, x.request_state <= REQUEST_WAITS):
        return
    h1_dial_answer(w, c, reason)


# The pool of the endpoint, if it has one; the connection on top of it is what `c` needs. Others,
# made for an identity or under roots that count no more, are closed (the pool with its last one).
cdef inline pool_t* h1_fit_pool(worker_t* w, conn_t* c) noexcept nogil:
    cdef pool_t* pool
    while True:
        pool = pool_find(w, c.direction, &c.upstream)
        if pool == NULL or pool.idle == NULL or upstream_is_fit(w, c, pool.idle):
            return pool
        up_close(w, pool.idle, False)


# Must the request wait for one of the connections that there are? An endpoint gets one in any case.
cdef inline bint h1_must_wait(
    worker_t* w, const pool_t* pool, const backend_t* b, const backend_state_t* state,
) noexcept nogil:
    if pool == NULL or pool.live_count == 0:
        return False
    if pool.live_count >= w.snapshot.pool_connections_max:
        return True
    return (b != NULL and b.connections_max and state != NULL
            and state.connections >= b.connections_max)


# Another endpoint of the backend whose connection nobody uses, when there may be none for this one:
# index in traffic_t.endpoints, -1: there is none. What sticks stays where it is.
cdef inline int32_t h1_idle_elsewhere(
    worker_t* w, const conn_t* c, const backend_t* b, const backend_state_t* state,
) noexcept nogil:
    cdef const endpoint_t* endpoint
    cdef const endpoint_state_t* known
    cdef const pool_t* pool
    cdef uint32_t i, j
    if b == NULL or state == NULL or state.idle == 0 or b.balance in (BALANCE_RING, BALANCE_MAGLEV):
        return -1
    for i in range(b.endpoints.count):
        if i == IDLE_LOOKS_MAX:
            return -1
        endpoint = &w.snapshot.traffic.endpoints[b.endpoints.first + i]
        pool = pool_find(w, c.direction, &endpoint.address)
        if pool == NULL or pool.idle == NULL:
            continue
        known = fleet_seen_endpoint(&w.fleet, endpoint.slot, endpoint.generation)
        if known != NULL and outlier_is_out(known, w.now_ms):
            continue
        for j in range(c.tried_count):
            if c.tried[j] == endpoint.slot:
                break
        else:
            return <int32_t>(b.endpoints.first + i)
    return -1


# Queue up, if the queue is not too long. FP_AGAIN, or FP_DONE: answered.
cdef inline int h1_wait(
    worker_t* w, conn_t* c, pool_t* pool, const backend_t* b, backend_state_t* state,
) noexcept nogil:
    if b != NULL and state != NULL and b.pending_max and state.pending >= b.pending_max:
        count(&state.counts[TRAFFIC_OVERFLOW_PENDING])
        h1_reply(w, c, 503, FLAG_UO, b"queue_full")
        return FP_DONE
    c.dialled_ms = w.now_ms
    pool_wait(w, pool, c)
    conn_arm_timer(w, c)
    return FP_AGAIN


# Take the idle connection used last, dial, or wait. FP_OK: c.up is there (c.phase tells whether it
# stands). FP_AGAIN: queued. FP_DONE: answered, or to be tried elsewhere.
cdef inline int h1_get_connection(worker_t* w, conn_t* c) noexcept nogil:
    cdef pool_t* pool = h1_fit_pool(w, c)
    cdef const backend_t* b = NULL
    cdef backend_state_t* state = NULL
    cdef uint8_t reason
    cdef int32_t at
    if pool != NULL and pool_take_idle(w, pool, c):
        return FP_OK
    if c.pick.is_made:
        b = traffic_backend(w.snapshot.traffic, c.pick.backend)
        state = fleet_backend(&w.fleet, c.pick.backend)
    if h1_must_wait(w, pool, b, state):
        at = h1_idle_elsewhere(w, c, b, state)
        if at >= 0:
            pick_end(w, c, OUTCOME_NONE, 0)
            choose_this(w, c, b, &w.snapshot.traffic.endpoints[at])
            pool = h1_fit_pool(w, c)
            if pool != NULL and pool_take_idle(w, pool, c):
                return FP_OK
    if h1_must_wait(w, pool, b, state):
        return h1_wait(w, c, pool, b, state)
    reason = upstream_dial(w, c)
    if reason == REASON_OPEN:
        return FP_OK
    h1_dial_failed(w, c, reason)
    return FP_DONE


# Pick an endpoint for this try, if its backend still has one. FP_OK, or FP_DONE: answered.
cdef inline int h1_pick(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef const backend_t* b
    if not exchange_is_routed(x) or c.pick.is_made:
        return FP_OK
    b = traffic_backend(w.snapshot.traffic, x.backend)
    if b == NULL:
        h1_reply(w, c, 500, FLAG_NR, b"no_backend")
        return FP_DONE
    if choose_endpoint(w, c, b, x.hash) == REASON_OPEN:
        return FP_OK
    h1_reply(w, c, 503, FLAG_UH, b"no_endpoint")
    return FP_DONE


# Get a connection for the exchange. FP_OK: c.up is connected. FP_AGAIN: dialled or queued; the
# worker comes back. FP_DONE: answered, or to be tried again later.
cdef inline int h1_acquire(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef pool_t* pool
    cdef int status
    if c.up != NULL and c.phase != PHASE_CONNECTING and not upstream_is_fit(w, c, c.up):
        conn_drop_upstream(w, c, False)         # dialled at accept, before the mesh was as it is
    if x.try_deadline_ms == 0 and x.try_ms:
        x.try_deadline_ms = w.now_ms + x.try_ms
    if x.try_us == 0 or c.up == NULL:
        x.try_us = w.now_us
    if c.up == NULL:
        status = h1_pick(w, c)
        if status == FP_OK:
            status = h1_get_connection(w, c)
        if status != FP_OK:
            return status
    if c.up.pool == NULL:
        pool = pool_get(w, c.direction, &c.upstream)
        if pool != NULL:
            pool_adopt(w, pool, c.up)
    if c.phase == PHASE_CONNECTING:
        conn_arm_timer(w, c)
        return FP_AGAIN
    return FP_OK


# A request that was sent before goes out again: to whom?
cdef inline void h1_resend(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if c.flows[0].held == NULL and not retry_hold(w, c):
        h1_reply(w, c, 503, FLAG_OM, b"no_resources")
        return
    if h1_acquire(w, c) == FP_OK or c.up != NULL:
        x.must_resend = 0
        c.up.request_count += 1
        x.sent_us = w.now_us


# A reused connection died before it said a word: nobody's fault. Send the request again on a new
# one where that is safe. Returns FP_OK when the exchange goes on.
cdef inline int h1_replace(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint8_t reason
    if x.replay == NULL or not x.may_repeat or x.attempt_count > 1 or x.has_told:
        return FP_DONE
    retry_restart(w, c, False)
    if not retry_hold(w, c):
        h1_reply(w, c, 503, FLAG_OM, b"no_resources")
        return FP_OK
    reason = upstream_dial(w, c)        # a new one: the other idle ones may be just as dead
    if reason != REASON_OPEN:
        h1_dial_failed(w, c, reason)
        return FP_OK
    if c.up.pool == NULL and pool_get(w, c.direction, &c.upstream) != NULL:
        pool_adopt(w, pool_get(w, c.direction, &c.upstream), c.up)
    x.must_resend = 0
    x.try_us = w.now_us
    x.try_deadline_ms = w.now_ms + x.try_ms if x.try_ms else 0
    c.up.request_count = 1
    conn_arm_timer(w, c)
    return FP_OK
