# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. A connection to the upstream for an exchange: pooled, dialled, waited for, or tried again.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.conn cimport conn_arm_timer, conn_drop_flow, conn_drop_upstream
from proxy.fast.h1_end cimport h1_reply
from proxy.fast.pool cimport pool_adopt, pool_find, pool_get, pool_take_idle, pool_wait, up_close
from proxy.fast.reasons cimport (
    EVENT_RETRIED, FLAG_OM, FLAG_UF, FP_AGAIN, FP_DONE, FP_OK, PHASE_CONNECTING,
    REASON_CONNECT_TIMEOUT, REASON_NO_FDS, REASON_NO_IDENTITY, REASON_NO_MEMORY, REASON_OPEN,
    REASON_TLS_FAILED, REASON_TLS_TIMEOUT,
)
from proxy.fast.request_log cimport h1_log_peer
from proxy.fast.stats cimport count
from proxy.fast.types cimport DOWNSTREAM, conn_t, exchange_t, pool_t, worker_t
from proxy.fast.upstream cimport upstream_dial, upstream_is_fit


# The dial for an exchange failed: 504 for a time-out, else 503 (RFC 9110 section 15.6).
cdef inline void h1_dial_failed(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
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


# The pool of the endpoint, if it has one; the connection on top of it is what `c` needs. Others,
# made for an identity or under roots that count no more, are closed (the pool with its last one).
cdef inline pool_t* h1_fit_pool(worker_t* w, conn_t* c) noexcept nogil:
    cdef pool_t* pool
    while True:
        pool = pool_find(w, c.direction, &c.upstream)
        if pool == NULL or pool.idle == NULL or upstream_is_fit(w, c, pool.idle):
            return pool
        up_close(w, pool.idle, False)


# Get a connection for the exchange. FP_OK: c.up is connected. FP_AGAIN: dialled or queued; the
# worker comes back. FP_DONE: answered.
cdef inline int h1_acquire(worker_t* w, conn_t* c) noexcept nogil:
    cdef pool_t* pool
    cdef uint8_t reason
    if c.up != NULL and c.phase != PHASE_CONNECTING and not upstream_is_fit(w, c, c.up):
        conn_drop_upstream(w, c, False)         # dialled at accept, before the mesh was as it is
    if c.up == NULL:
        pool = h1_fit_pool(w, c)
        if pool != NULL and pool_take_idle(w, pool, c):
            return FP_OK
        if pool != NULL and pool.live_count >= w.snapshot.pool_connections_max:
            c.dialled_ms = w.now_ms
            pool_wait(w, pool, c)
            conn_arm_timer(w, c)
            return FP_AGAIN
        reason = upstream_dial(w, c)
        if reason != REASON_OPEN:
            h1_dial_failed(w, c, reason)
            return FP_DONE
    if c.up.pool == NULL:
        pool = pool_get(w, c.direction, &c.upstream)
        if pool != NULL:
            pool_adopt(w, pool, c.up)
    if c.phase == PHASE_CONNECTING:
        conn_arm_timer(w, c)
        return FP_AGAIN
    return FP_OK


# A reused connection died before it said a word. Send the request again on a new one where that is
# safe; else say so. Returns FP_OK when the exchange goes on.
cdef inline int h1_retry(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint8_t reason
    if x.replay == NULL or x.attempt_count > 1:
        return FP_DONE
    conn_drop_upstream(w, c, True)
    conn_drop_flow(w, c, DOWNSTREAM)
    c.broken_side = 0
    count(&w.stats.events[EVENT_RETRIED])
    x.attempt_count += 1
    FP_ASSERT(c.flows[DOWNSTREAM].held == NULL)
    c.flows[DOWNSTREAM].held = x.replay
    x.replay = NULL
    reason = upstream_dial(w, c)        # a new one: the other idle ones may be just as dead
    if reason != REASON_OPEN:
        h1_dial_failed(w, c, reason)
        return FP_OK
    if c.up.pool == NULL and pool_get(w, c.direction, &c.upstream) != NULL:
        pool_adopt(w, pool_get(w, c.direction, &c.upstream), c.up)
    c.up.request_count = 1
    conn_arm_timer(w, c)
    return FP_OK
