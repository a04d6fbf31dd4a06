# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. The exchange: one request and its response, measured. It knows no codec, no socket, no pool.
#
# Rule 1: an exchange begins with the first byte of its request head and ends exactly once, in
#         exchange_end(), which counts it. Everything that can happen between is a flag.
from libc.stdint cimport uint8_t, uint64_t

from proxy.fast.buf cimport buf_give
from proxy.fast.fleet cimport fleet_backend
from proxy.fast.golden cimport golden_count_ending
from proxy.fast.messages cimport request_record_t
from proxy.fast.platform cimport CLOCK_MONOTONIC, clock_us
from proxy.fast.reasons cimport EVENT_RECORDS_DROPPED, FLAG_DI, FLAG_NONE
from proxy.fast.replay cimport replay_drop
from proxy.fast.ring cimport ring_post, ring_reserve
from proxy.fast.slab cimport slab_give, slab_take
from proxy.fast.states cimport backend_state_t
from proxy.fast.stats cimport count, count_many, observe, uncount
from proxy.fast.types cimport exchange_t, golden_t, worker_t


# A new exchange, counted in `group`, or NULL at the limit or without memory. The caller's
# connection owns it.
cdef inline exchange_t* exchange_begin(
    worker_t* w, golden_t* group, uint8_t method, uint64_t started_us,
) noexcept nogil:
    cdef exchange_t* x = <exchange_t*>slab_take(&w.exchanges)
    if x == NULL:
        return NULL
    x.group = group
    x.method = method
    x.started_us = started_us
    count(&group.requests[method])
    count(&group.in_flight)
    return x


# The first byte of the final response is here.
cdef inline void exchange_answered(exchange_t* x, uint64_t now_us) noexcept nogil:
    x.first_byte_us = now_us
    observe(x.group.first_byte_bucket, &x.group.first_byte_sum_us, now_us - x.started_us)


# Tell Python of a finished exchange, if it wants to know.
cdef inline void exchange_post(
    worker_t* w, exchange_t* x, uint64_t duration_us,
) noexcept nogil:
    cdef request_record_t* record = <request_record_t*>ring_reserve(&w.request_records)
    if record == NULL:
        count(&w.stats.events[EVENT_RECORDS_DROPPED])
    else:
        record.log = x.log[0]
        record.duration_us = duration_us
        record.sent_after_us = x.sent_us - x.started_us + 1 if x.sent_us else 0
        record.first_byte_after_us = x.first_byte_us - x.started_us if x.first_byte_us else 0
        record.request_bytes = x.request_body.data_bytes
        record.response_bytes = x.response_body.data_bytes
        record.status = x.status
        record.flag = x.flag
        record.minor = x.minor
        record.direction = x.group.key.direction
        record.attempt_count = x.attempt_count
        record.worker = <uint8_t>w.index
        ring_post(&w.request_records)
        w.must_wake_python = 1
    slab_give(&w.request_logs, x.log)
    x.log = NULL


# Does it go to a service's endpoints, with tries? What comes in to our own pod has limits only.
cdef inline bint exchange_is_routed(const exchange_t* x) noexcept nogil:
    return x.has_backend and not x.is_inbound


# It counts no more among the requests of its backend.
cdef inline void exchange_leave_backend(worker_t* w, exchange_t* x) noexcept nogil:
    cdef backend_state_t* state
    if not x.has_backend:
        return
    x.has_backend = 0
    state = fleet_backend(&w.fleet, x.backend)
    if state == NULL:
        return
    if x.is_inbound:
        state.inbound_in_flight -= 1
    else:
        state.in_flight -= 1
    if x.is_retrying:
        state.retries_in_flight -= 1


# Count it and give it back. `flag` is used when none was set before, or only that it was delayed.
cdef inline void exchange_end(worker_t* w, exchange_t* x, uint8_t flag) noexcept nogil:
    cdef uint64_t now_us = clock_us(CLOCK_MONOTONIC)
    cdef golden_t* group = x.group
    if x.flag == FLAG_NONE or (x.flag == FLAG_DI and flag != FLAG_NONE):
        x.flag = flag
    uncount(&group.in_flight)
    golden_count_ending(group, x.status, x.flag)
    observe(group.request_bucket, &group.request_sum_us, now_us - x.started_us)
    if x.log != NULL:
        exchange_post(w, x, now_us - x.started_us)
    count_many(&group.body_bytes[0], x.request_body.data_bytes)
    count_many(&group.body_bytes[1], x.response_body.data_bytes)
    replay_drop(w, x)
    if x.edits != NULL:
        buf_give(&w.bufs, x.edits)
        x.edits = NULL
    exchange_leave_backend(w, x)
    slab_give(&w.exchanges, x)
