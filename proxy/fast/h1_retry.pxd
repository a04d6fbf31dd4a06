# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Another try for a request that failed: whether, when, and where.
#
# Rule 1: what an upstream may have seen is sent again only where that is safe (RFC 9110 section
#         9.2.2): an idempotent method, all of it kept. What provably was never sent, always.
# Rule 2: nothing is sent again once the downstream has heard of an answer.
# Rule 3: retries have a budget: a dead service does not get a multiple of its load.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.budget cimport budget_withdraw
from proxy.fast.buf cimport buf_append, buf_at, buf_length
from proxy.fast.conn cimport conn_arm_timer, conn_drop_flow, conn_drop_upstream, conn_queue_ready
from proxy.fast.emit cimport emit_text
from proxy.fast.exchange cimport exchange_is_routed
from proxy.fast.fleet cimport fleet_backend
from proxy.fast.h1_rewrite cimport h1_emit_tail
from proxy.fast.limits cimport BACKOFF_FACTOR_MAX, RETRY_AFTER_S_MAX
from proxy.fast.lookup cimport traffic_backend
from proxy.fast.pick cimport pick_failed
from proxy.fast.random cimport random_next
from proxy.fast.reasons cimport (
    EVENT_RETRIED, HEADER_RETRY_AFTER, TRAFFIC_RETRIED, TRAFFIC_RETRY_LIMIT,
    TRAFFIC_RETRY_NO_BUDGET,
)
from proxy.fast.states cimport backend_state_t
from proxy.fast.stats cimport count
from proxy.fast.traffic cimport backend_t
from proxy.fast.types cimport (
    DOWNSTREAM, REQUEST_WAITS, conn_t, exchange_t, h1_field_t, h1_head_t, worker_t,
)


# Is an answer of this status worth another try?
cdef inline bint retry_is_code(const exchange_t* x, uint16_t status) noexcept nogil:
    cdef uint32_t bit
    if status < 400 or status > 599:
        return False
    bit = status - 400
    return (x.retry.codes[bit >> 6] >> (bit & 63)) & 1


# What the upstream asks to wait, in ms: 0: it asks for nothing, -1: for too long, or until a date.
cdef inline int retry_after_ms(const h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field
    cdef uint8_t digit
    if head.first[HEADER_RETRY_AFTER] < 0:
        return 0
    field = &head.fields[head.first[HEADER_RETRY_AFTER]]
    if field.value_bytes != 1:
        return -1
    digit = <uint8_t>source[field.value] - <uint8_t>c'0'
    return digit * 1000 if digit <= RETRY_AFTER_S_MAX else -1


# The pause before the next try: at least the back-off, at random up to twice as much with every
# try, at most BACKOFF_FACTOR_MAX times as much.
cdef inline uint64_t retry_pause_ms(worker_t* w, const exchange_t* x) noexcept nogil:
    cdef uint64_t least = x.retry.backoff_ms if x.retry.backoff_ms else 25
    cdef uint64_t factor = 1ULL << (x.attempt_count if x.attempt_count < 4 else 4)
    if factor > BACKOFF_FACTOR_MAX:
        factor = BACKOFF_FACTOR_MAX
    return least + random_next(w.random) % (least * (factor - 1) + 1)


# Do limits and budget allow one more? Then it is counted.
cdef inline bint retry_is_afforded(
    worker_t* w, exchange_t* x, const backend_t* b, backend_state_t* state,
) noexcept nogil:
    if b.retries_max and not x.is_retrying and state.retries_in_flight >= b.retries_max:
        count(&state.counts[TRAFFIC_RETRY_LIMIT])
        return False
    if not budget_withdraw(b, state, w.now_us):
        count(&state.counts[TRAFFIC_RETRY_NO_BUDGET])
        return False
    if not x.is_retrying:
        x.is_retrying = 1
        state.retries_in_flight += 1
    count(&state.counts[TRAFFIC_RETRIED])
    return True


# Put what was kept in front of what still comes; it goes out with the next connection.
cdef inline bint retry_hold(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint32_t at = emit_text(w.out, 0, buf_at(x.replay, x.replay.start), x.replay_head_bytes)
    at = h1_emit_tail(w, x, w.out, at)
    at = emit_text(w.out, at, buf_at(x.replay, x.replay.start + x.replay_head_bytes),
                   buf_length(x.replay) - x.replay_head_bytes)
    return buf_append(&w.bufs, &c.flows[DOWNSTREAM].held, w.out, at)


# The last try did not do. Arrange for another one, `pause_ms` from now, if there may be one.
# `is_unsent`: the upstream has provably seen nothing, and the request waits in c.pending.
cdef inline bint retry_begin(
    worker_t* w, conn_t* c, uint8_t outcome, uint64_t pause_ms, bint is_unsent,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef const backend_t* b
    cdef backend_state_t* state
    if not exchange_is_routed(x) or x.has_told or x.attempt_count > x.retry.attempts or (
            not is_unsent and (x.replay == NULL or not x.may_repeat)):
        return False
    if x.deadline_ms and w.now_ms + pause_ms >= x.deadline_ms:
        return False
    b = traffic_backend(w.snapshot.traffic, x.backend)
    state = fleet_backend(&w.fleet, x.backend)
    if b == NULL or state == NULL or not retry_is_afforded(w, x, b, state):
        return False
    pick_failed(w, c, outcome, w.now_us - x.try_us if x.try_us and w.now_us > x.try_us else 0)
    retry_restart(w, c, is_unsent)
    x.wake_ms = w.now_ms + pause_ms
    conn_arm_timer(w, c)
    if pause_ms == 0:
        conn_queue_ready(w, c)
    return True


# Forget the connection that failed; the request stands where it stood before it was sent.
cdef inline void retry_restart(worker_t* w, conn_t* c, bint is_unsent) noexcept nogil:
    cdef exchange_t* x = c.exchange
    conn_drop_upstream(w, c, True)
    conn_drop_flow(w, c, DOWNSTREAM)
    c.broken_side = 0
    x.attempt_count += 1
    x.try_deadline_ms = 0
    count(&w.stats.events[EVENT_RETRIED])
    if is_unsent:
        x.request_state = REQUEST_WAITS
        x.sent_us = 0
    else:
        x.must_resend = 1
