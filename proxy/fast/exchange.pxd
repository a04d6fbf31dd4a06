# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. The exchange: one request and its response, measured. It knows no codec, no socket, no pool.
#
# Rule 1: an exchange begins with the first byte of its request head and ends exactly once, in
#         exchange_end(), which counts it. Everything that can happen between is a flag.
from libc.stdint cimport uint8_t, uint64_t

from proxy.fast.buf cimport buf_give
from proxy.fast.reasons cimport FLAG_NONE, STATUS_COUNT, STATUS_FIRST
from proxy.fast.slab cimport slab_give, slab_take
from proxy.fast.stats cimport count, count_many, observe, uncount
from proxy.fast.types cimport exchange_t, worker_t


# A new exchange, or NULL at the limit or without memory. The caller's connection owns it.
cdef inline exchange_t* exchange_begin(
    worker_t* w, uint8_t direction, uint8_t method, uint64_t started_us,
) noexcept nogil:
    cdef exchange_t* x = <exchange_t*>slab_take(&w.exchanges)
    if x == NULL:
        return NULL
    x.method = method
    x.started_us = started_us
    count(&w.stats.requests[direction][method])
    count(&w.stats.in_flight[direction])
    return x


# The first byte of the final response is here.
cdef inline void exchange_answered(
    worker_t* w, uint8_t direction, exchange_t* x, uint64_t now_us,
) noexcept nogil:
    x.first_byte_us = now_us
    observe(w.stats.first_byte_bucket[direction], &w.stats.first_byte_sum_us[direction],
            now_us - x.started_us)


# Count it and give it back. `flag` is used when none was set before.
cdef inline void exchange_end(
    worker_t* w, uint8_t direction, exchange_t* x, uint8_t flag,
) noexcept nogil:
    cdef uint64_t status = x.status - STATUS_FIRST if x.status >= STATUS_FIRST else 0
    if x.flag == FLAG_NONE:
        x.flag = flag
    uncount(&w.stats.in_flight[direction])
    count(&w.stats.responses[direction][status][x.flag])
    observe(w.stats.request_bucket[direction], &w.stats.request_sum_us[direction],
            w.now_us - x.started_us if w.now_us > x.started_us else 0)
    count_many(&w.stats.body_bytes[direction][0], x.request_body.data_bytes)
    count_many(&w.stats.body_bytes[direction][1], x.response_body.data_bytes)
    if x.replay != NULL:
        buf_give(&w.bufs, x.replay)
        x.replay = NULL
    slab_give(&w.exchanges, x)
