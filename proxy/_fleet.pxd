# cython: language_level=3, cdivision=True
#
# What workers have learned about backends and endpoints, for Python: for _fastpath.pyx only.
#
# Rule 1: only the worker writes; here is read, whenever somebody asks, with relaxed loads.
from libc.stdint cimport uint32_t, uint64_t

from proxy.fast.atomics cimport load_relaxed
from proxy.fast.fleet cimport fleet_seen, fleet_seen_endpoint
from proxy.fast.reasons cimport TRAFFIC_COUNT
from proxy.fast.states cimport backend_state_t, endpoint_state_t
from proxy.fast.types cimport worker_t


# Counters of a backend, then requests, retries, connections, waiting and inbound requests, ejected
# endpoints: what there is of each now. None: no worker has met it.
cdef inline list backend_read(worker_t** workers, int worker_count, uint32_t number):
    cdef backend_state_t* state
    cdef list total = None
    cdef int i, j
    for i in range(worker_count):
        state = <backend_state_t*>fleet_seen(&workers[i].fleet.backends, number)
        if state == NULL:
            continue
        if total is None:
            total = [0] * (TRAFFIC_COUNT + 6)
        for j in range(TRAFFIC_COUNT):
            total[j] += load_relaxed(&state.counts[j])
        for j, now in enumerate((state.in_flight, state.retries_in_flight, state.connections,
                                 state.pending, state.inbound_in_flight, state.ejected_count)):
            total[TRAFFIC_COUNT + j] += now
    return total


# Requests in flight, latency in microseconds (the slowest worker's idea), workers that have it out
# at `now_ms`, ejections in a row. None: no worker has met it.
cdef inline tuple endpoint_read(
    worker_t** workers, int worker_count, uint32_t slot, uint32_t generation, uint64_t now_ms,
):
    cdef endpoint_state_t* state
    cdef double latency_us = 0
    cdef uint32_t in_flight = 0, out = 0, ejections = 0
    cdef bint is_known = False
    cdef int i
    for i in range(worker_count):
        state = fleet_seen_endpoint(&workers[i].fleet, slot, generation)
        if state == NULL:
            continue
        is_known = True
        in_flight += state.in_flight
        latency_us = max(latency_us, state.latency_us)
        out += state.ejected_until_ms > now_ms
        ejections = max(ejections, state.ejections)
    return (in_flight, latency_us, out, ejections) if is_known else None
