# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Connections to upstreams: kept for the next request, most recently used first.
#
# Rule 1: an up_t has one owner, or none while it is idle in its pool. Whoever lets it go calls
#         up_release() or up_close(); the memory goes at the end of the tick (up_reap).
# Rule 2: an idle connection that closes, resets or says anything is closed at once: bytes that
#         nobody asked for must never meet the next request (RFC 9112 section 9.2).
# Rule 3: a pool remembers that its endpoint spoke HTTP; to such an endpoint nothing is dialled
#         before there is a request, because an idle connection may serve it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from proxy.fast.addr cimport addr_hash, addr_is_same
from proxy.fast.address cimport addr_t
from proxy.fast.buf cimport buf_give
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.fleet cimport fleet_backend
from proxy.fast.limits cimport POOL_BUCKETS
from proxy.fast.platform cimport SOL_SOCKET, SO_LINGER, close, linger, setsockopt
from proxy.fast.side cimport side_free_tls, side_say_end
from proxy.fast.slab cimport slab_at, slab_give, slab_slot_count, slab_take
from proxy.fast.states cimport backend_state_t
from proxy.fast.stats cimport count, uncount
from proxy.fast.timer cimport timer_arm, timer_cancel
from proxy.fast.types cimport TIMER_UP, UPSTREAM, conn_t, pool_t, up_t, worker_t


cdef inline pool_t** pool_bucket(
    worker_t* w, uint8_t direction, const addr_t* address,
) noexcept nogil:
    return &w.buckets[(addr_hash(address) + direction) % POOL_BUCKETS]


# The pool of an endpoint; NULL when there is none.
cdef inline pool_t* pool_find(
    worker_t* w, uint8_t direction, const addr_t* address,
) noexcept nogil:
    cdef pool_t* pool = pool_bucket(w, direction, address)[0]
    while pool != NULL:
        if pool.direction == direction and addr_is_same(&pool.address, address):
            return pool
        pool = pool.next_in_bucket
    return NULL


# The same, made when it is missing. NULL: POOLS_MAX or no memory; connections are used once then.
cdef inline pool_t* pool_get(
    worker_t* w, uint8_t direction, const addr_t* address,
) noexcept nogil:
    cdef pool_t* pool = pool_find(w, direction, address)
    cdef pool_t** bucket
    if pool != NULL:
        return pool
    pool = <pool_t*>slab_take(&w.pools)
    if pool != NULL:
        bucket = pool_bucket(w, direction, address)
        pool.address = address[0]
        pool.direction = direction
        pool.next_in_bucket = bucket[0]
        bucket[0] = pool
    return pool


# A pool without connections and waiters is forgotten.
cdef inline void pool_forget_empty(worker_t* w, pool_t* pool) noexcept nogil:
    cdef pool_t** link
    if pool.live_count or pool.first_waiter != NULL:
        return
    link = pool_bucket(w, pool.direction, &pool.address)
    while link[0] != pool:
        link = &link[0].next_in_bucket
    link[0] = pool.next_in_bucket
    slab_give(&w.pools, pool)


# Whoever waits for another endpoint of the same backend may have this one's connection.
cdef inline void pool_count_idle(worker_t* w, const up_t* up, int change) noexcept nogil:
    cdef backend_state_t* state
    if not up.has_backend:
        return
    state = fleet_backend(&w.fleet, up.backend)
    if state != NULL:
        state.idle += change
        if state.pending:
            w.has_room = 1


cdef inline void pool_unlink_idle(worker_t* w, up_t* up) noexcept nogil:
    cdef pool_t* pool = up.pool
    if up.previous_idle != NULL:
        up.previous_idle.next_idle = up.next_idle
    else:
        FP_ASSERT(pool.idle == up)
        pool.idle = up.next_idle
    if up.next_idle != NULL:
        up.next_idle.previous_idle = up.previous_idle
    up.next_idle = NULL
    up.previous_idle = NULL
    pool.idle_count -= 1
    pool_count_idle(w, up, -1)
    uncount(&w.stats.pool_idle[pool.direction])
    timer_cancel(&w.wheel, &up.timer)


cdef inline void up_give_to(worker_t* w, up_t* up, conn_t* c) noexcept nogil:
    up.owner = c
    c.up = up
    c.sides[UPSTREAM] = &up.side


# Make a connection that its owner dialled one of the pool's.
cdef inline void pool_adopt(worker_t* w, pool_t* pool, up_t* up) noexcept nogil:
    up.pool = pool
    pool.live_count += 1
    count(&w.stats.pool_live[pool.direction])


# The idle connection that was used last, given to `c`; 0 when there is none.
cdef inline bint pool_take_idle(worker_t* w, pool_t* pool, conn_t* c) noexcept nogil:
    cdef up_t* up = pool.idle
    if up == NULL:
        return False
    pool_unlink_idle(w, up)
    up_give_to(w, up, c)
    count(&w.stats.pool_reused[pool.direction])
    return True


cdef inline void pool_count_pending(worker_t* w, const conn_t* c, int change) noexcept nogil:
    cdef backend_state_t* state
    if c.pick.is_made:
        state = fleet_backend(&w.fleet, c.pick.backend)
        if state != NULL:
            state.pending += change


# Queue up for a connection. The connection's own timer bounds the wait.
cdef inline void pool_wait(worker_t* w, pool_t* pool, conn_t* c) noexcept nogil:
    c.is_waiting = 1
    c.waits_for = pool
    c.next_waiter = NULL
    if pool.last_waiter != NULL:
        pool.last_waiter.next_waiter = c
    else:
        pool.first_waiter = c
    pool.last_waiter = c
    count(&w.stats.pool_waiting[pool.direction])
    pool_count_pending(w, c, 1)


# Leave the queue, wherever in it. The queue is short, and leaving early is rare.
cdef inline void pool_stop_waiting(worker_t* w, conn_t* c) noexcept nogil:
    cdef pool_t* pool = c.waits_for
    cdef conn_t* before = NULL
    cdef conn_t* at
    if not c.is_waiting:
        return
    at = pool.first_waiter
    while at != c:
        before = at
        at = at.next_waiter
    if before == NULL:
        pool.first_waiter = c.next_waiter
    else:
        before.next_waiter = c.next_waiter
    if pool.last_waiter == c:
        pool.last_waiter = before
    c.is_waiting = 0
    c.waits_for = NULL
    uncount(&w.stats.pool_waiting[pool.direction])
    pool_count_pending(w, c, -1)
    pool_forget_empty(w, pool)


# Whoever waits first is woken by the worker after the event (worker.pxd: worker_serve_waiters).
cdef inline void pool_note_room(worker_t* w, pool_t* pool) noexcept nogil:
    if pool.first_waiter != NULL:
        w.has_room = 1


# It counts no more among the connections of its backend.
cdef inline void pool_leave_backend(worker_t* w, up_t* up) noexcept nogil:
    cdef backend_state_t* state = fleet_backend(&w.fleet, up.backend)
    up.has_backend = 0
    if state != NULL:
        state.connections -= 1
        if state.pending:
            w.has_room = 1              # for another endpoint's


# Close for good; `as_reset` sends RST. The owner forgets it; the memory goes in up_reap().
cdef inline void up_close(worker_t* w, up_t* up, bint as_reset) noexcept nogil:
    cdef linger abort_at_once
    if up.is_dead:
        return
    up.is_dead = 1
    if up.pool != NULL and up.owner == NULL:
        pool_unlink_idle(w, up)
    if up.has_backend:
        pool_leave_backend(w, up)
    if up.pool != NULL:
        up.pool.live_count -= 1
        uncount(&w.stats.pool_live[up.pool.direction])
        pool_note_room(w, up.pool)
        pool_forget_empty(w, up.pool)
        up.pool = NULL
    up.owner = NULL
    if up.side.fd >= 0:
        if not as_reset:
            side_say_end(w, &up.side)
        else:
            abort_at_once.l_onoff = 1
            abort_at_once.l_linger = 0
            setsockopt(up.side.fd, SOL_SOCKET, SO_LINGER, &abort_at_once, sizeof(linger))
        close(up.side.fd)
        up.side.fd = -1
    if up.pending != NULL:
        buf_give(&w.bufs, up.pending)
        up.pending = NULL
    up.next_dead = w.dead_ups
    w.dead_ups = up


# The owner is done with it and it is good for another request, within `idle_ms`.
cdef inline void up_release(worker_t* w, up_t* up, uint64_t idle_ms) noexcept nogil:
    cdef pool_t* pool = up.pool
    FP_ASSERT(up.pending == NULL and pool != NULL)
    up.owner = NULL
    up.previous_idle = NULL
    up.next_idle = pool.idle
    if pool.idle != NULL:
        pool.idle.previous_idle = up
    pool.idle = up
    pool.idle_count += 1
    pool_count_idle(w, up, 1)
    count(&w.stats.pool_idle[pool.direction])
    up.timer.kind = TIMER_UP
    up.timer.owner = up
    timer_arm(&w.wheel, &up.timer, w.now_ms + idle_ms)
    pool_note_room(w, pool)


cdef inline void up_reap(worker_t* w) noexcept nogil:
    cdef up_t* up
    while w.dead_ups != NULL:
        up = w.dead_ups
        w.dead_ups = up.next_dead
        side_free_tls(w, &up.side)
        slab_give(&w.ups, up)


# Close the connections that wait for a request: all, or those in mesh TLS.
cdef inline void pool_close_idle(worker_t* w, bint only_mesh) noexcept nogil:
    cdef uint32_t slot
    cdef up_t* up
    for slot in range(slab_slot_count(&w.ups)):
        up = <up_t*>slab_at(&w.ups, slot)
        if up.head.is_live and up.owner == NULL and not up.is_dead and (
                up.side.tls != NULL or not only_mesh):
            up_close(w, up, False)
