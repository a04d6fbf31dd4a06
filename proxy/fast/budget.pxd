# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. Budgets: token buckets for rates, and how many retries a backend may get.
#
# Rule 1: what a bucket holds is counted in millionths of a token: a microsecond of one token a
#         second. No bucket holds more than its burst.
# Rule 2: retries are paid with what first tries have put in, and a small minimum, and both are
#         worth nothing after about BUDGET_KEPT_US: a service that was quiet, or busy long ago, has
#         saved up nothing. So a dead one gets its load, the budget's share of it and the minimum.
from libc.stdint cimport uint32_t, uint64_t

from proxy.fast.limits cimport BUDGET_KEPT_US, BUDGET_TOKENS_MAX
from proxy.fast.states cimport backend_state_t, bucket_t
from proxy.fast.traffic cimport backend_t

cdef enum:
    TOKEN = 1000000


# Fill a bucket with what came in since. It starts full. The time that was too short for a whole
# millionth is kept for later, or a slow rate that is asked often would never give anything.
cdef inline void bucket_fill(
    bucket_t* bucket, uint64_t rate_per_ks, uint64_t full, uint64_t now_us,
) noexcept nogil:
    cdef uint64_t passed_us, thousandths
    if bucket.at_us == 0:
        bucket.level = full
        bucket.at_us = now_us
        return
    if now_us <= bucket.at_us:
        return
    passed_us = now_us - bucket.at_us
    if passed_us > full * 1000 // rate_per_ks:      # also keeps the product below from overflow
        bucket.level = full
        bucket.at_us = now_us
        return
    thousandths = passed_us * rate_per_ks
    bucket.level += thousandths // 1000
    bucket.at_us = now_us - thousandths % 1000 // rate_per_ks
    if bucket.level > full:
        bucket.level = full


# Take a token. False: there is none; `wait_ms` (may be NULL) says when there will be one.
# Rate 0: no limit.
cdef inline bint bucket_take(
    bucket_t* bucket, uint64_t rate_per_ks, uint32_t burst, uint64_t now_us, uint64_t* wait_ms,
) noexcept nogil:
    if wait_ms != NULL:
        wait_ms[0] = 0
    if rate_per_ks == 0:
        return True
    bucket_fill(bucket, rate_per_ks, <uint64_t>(burst or 1) * TOKEN, now_us)
    if bucket.level >= TOKEN:
        bucket.level -= TOKEN
        return True
    if wait_ms != NULL:
        wait_ms[0] = ((TOKEN - bucket.level) * 1000 // rate_per_ks + 999) // 1000
    return False


# Bring the budget of retries up to now: it leaks away over BUDGET_KEPT_US, the minimum comes in.
cdef inline void budget_bring_up(
    const backend_t* b, backend_state_t* state, uint64_t now_us,
) noexcept nogil:
    cdef bucket_t* budget = &state.budget
    cdef uint64_t passed_us
    if budget.at_us == 0 or now_us >= budget.at_us + BUDGET_KEPT_US:
        budget.level = <uint64_t>b.budget_min_per_s * BUDGET_KEPT_US
        budget.at_us = now_us
    elif now_us > budget.at_us:
        passed_us = now_us - budget.at_us
        budget.level -= budget.level * passed_us // BUDGET_KEPT_US
        budget.level += passed_us * b.budget_min_per_s
        budget.at_us = now_us


# A first try was made: its share of a retry comes in.
cdef inline void budget_deposit(
    const backend_t* b, backend_state_t* state, uint64_t now_us,
) noexcept nogil:
    budget_bring_up(b, state, now_us)
    state.budget.level += <uint64_t>b.budget_percent * (TOKEN // 100)
    if state.budget.level > <uint64_t>BUDGET_TOKENS_MAX * TOKEN:
        state.budget.level = <uint64_t>BUDGET_TOKENS_MAX * TOKEN


# May there be a retry? Then it is paid for.
cdef inline bint budget_withdraw(
    const backend_t* b, backend_state_t* state, uint64_t now_us,
) noexcept nogil:
    budget_bring_up(b, state, now_us)
    if state.budget.level < TOKEN:
        return False
    state.budget.level -= TOKEN
    return True
