# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Requests that wait in the queues of full pools, and connections that come free for them.
from libc.stdint cimport uint32_t

from proxy.fast.fleet cimport fleet_backend
from proxy.fast.h1 cimport h1_resume
from proxy.fast.h1_upstream cimport h1_idle_elsewhere
from proxy.fast.lookup cimport traffic_backend
from proxy.fast.pool cimport pool_stop_waiting
from proxy.fast.slab cimport slab_at, slab_slot_count
from proxy.fast.states cimport backend_state_t
from proxy.fast.traffic cimport backend_t
from proxy.fast.types cimport conn_t, pool_t, worker_t


# Is there a connection for who waits first, or may one be dialled?
cdef inline bint waiters_have_room(worker_t* w, const pool_t* pool) noexcept nogil:
    cdef const conn_t* c = pool.first_waiter
    cdef const backend_t* b = NULL
    cdef backend_state_t* state
    if pool.idle != NULL or pool.live_count == 0:
        return True
    if pool.live_count >= w.snapshot.pool_connections_max:
        return False
    if c.pick.is_made:
        b = traffic_backend(w.snapshot.traffic, c.pick.backend)
    if b == NULL or not b.connections_max:
        return True
    state = fleet_backend(&w.fleet, b.number)
    return state == NULL or state.connections < b.connections_max or (
        h1_idle_elsewhere(w, c, b, state) >= 0)


# Connections came free while somebody waits for one.
cdef inline void waiters_serve(worker_t* w) noexcept nogil:
    cdef uint32_t slot
    cdef pool_t* pool
    cdef conn_t* c
    w.has_room = 0
    for slot in range(slab_slot_count(&w.pools)):
        pool = <pool_t*>slab_at(&w.pools, slot)
        while pool.head.is_live and pool.first_waiter != NULL and waiters_have_room(w, pool):
            c = pool.first_waiter
            pool_stop_waiting(w, c)
            h1_resume(w, c)
