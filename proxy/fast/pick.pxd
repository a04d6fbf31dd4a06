# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Whose numbers a request, or a relayed connection, counts in: the endpoint that was picked.
#
# Rule 1: a pick is made by choose.pxd and ends exactly once, here: with what it taught us.
# Rule 2: endpoints that failed are not asked again for the same request while there are others.
from libc.stdint cimport uint8_t, uint64_t

from proxy.fast.balance cimport balance_answered, balance_end, balance_learn
from proxy.fast.limits cimport TRIES_MAX
from proxy.fast.reasons cimport OUTCOME_OK
from proxy.fast.types cimport conn_t, worker_t


cdef inline void pick_end(
    worker_t* w, conn_t* c, uint8_t outcome, uint64_t latency_us,
) noexcept nogil:
    if not c.pick.is_made:
        return
    c.pick.is_made = 0
    balance_end(w.snapshot.traffic, &w.fleet, c.pick.backend, c.pick.slot, c.pick.generation,
                outcome, latency_us, w.now_us)


# A relayed connection stands: all that there is to learn of its endpoint. (Requests teach by their
# answers.)
cdef inline void pick_connected(worker_t* w, const conn_t* c) noexcept nogil:
    if c.pick.is_made:
        balance_learn(w.snapshot.traffic, &w.fleet, c.pick.backend, c.pick.slot, c.pick.generation,
                      OUTCOME_OK, c.connect_us if c.connect_us > 0 else 1, w.now_us)


# The head of an answer is here.
cdef inline void pick_answered(worker_t* w, const conn_t* c, uint8_t outcome) noexcept nogil:
    if c.pick.is_made:
        balance_answered(w.snapshot.traffic, &w.fleet, c.pick.backend, c.pick.slot,
                         c.pick.generation, outcome, w.now_us)


# The pick ends with a failure: the endpoint is not asked again for the same.
cdef inline void pick_failed(
    worker_t* w, conn_t* c, uint8_t outcome, uint64_t latency_us,
) noexcept nogil:
    if c.pick.is_made and c.tried_count < TRIES_MAX:
        c.tried[c.tried_count] = c.pick.slot
        c.tried_count += 1
    pick_end(w, c, outcome, latency_us)
