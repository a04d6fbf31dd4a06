# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. Sick endpoints are taken out, and come back by showing what they can do.
#
# Rule 1: an endpoint is in, or out until a time, or returning: then it gets one request at a time,
#         its probe. Success brings it back wholly, failure puts it out again, for longer.
# Rule 2: what requests of before say while it is out or returning counts for nothing.
# Rule 3: ejected_percent_max, rounded down, bounds how many are out; one may go in any case, the
#         last one never. The returning ones count as out.
# Rule 4: an endpoint that was out is remembered: each further time is longer, each interval that
#         it stays in makes up for one.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from proxy.fast.fleet cimport fleet_seen_endpoint
from proxy.fast.reasons cimport (
    OUTCOME_ERROR, OUTCOME_GATEWAY, OUTCOME_LOCAL, OUTCOME_NONE, OUTCOME_OK, TRAFFIC_EJECTED,
    TRAFFIC_RETURNED,
)
from proxy.fast.states cimport backend_state_t, endpoint_state_t, fleet_t
from proxy.fast.stats cimport count
from proxy.fast.traffic cimport backend_t, endpoint_t, outlier_t, traffic_t


# May it get no request now?
cdef inline bint outlier_is_out(const endpoint_state_t* state, uint64_t now_ms) noexcept nogil:
    return state.ejected_until_ms != 0 and (state.ejected_until_ms > now_ms or state.is_probing)


# Are so many out that it is better to use all of them?
cdef inline bint outlier_is_panic(
    const backend_t* b, const backend_state_t* state,
) noexcept nogil:
    if b.outlier.healthy_percent_min == 0 or state.ejected_count == 0:
        return False
    if state.ejected_count >= b.endpoints.count:
        return True
    return <uint64_t>(b.endpoints.count - state.ejected_count) * 100 < (
        <uint64_t>b.endpoints.count * b.outlier.healthy_percent_min)


# Count again who is out: some may have left altogether.
cdef inline void outlier_recount(
    const traffic_t* t, const backend_t* b, fleet_t* f, backend_state_t* of,
) noexcept nogil:
    cdef const endpoint_t* endpoint
    cdef const endpoint_state_t* state
    cdef uint32_t i
    of.ejected_count = 0
    for i in range(b.endpoints.count):
        endpoint = &t.endpoints[b.endpoints.first + i]
        state = fleet_seen_endpoint(f, endpoint.slot, endpoint.generation)
        if state != NULL and state.ejected_until_ms:
            of.ejected_count += 1


# May one more go? `ejected_count` is exact.
cdef inline bint outlier_may_eject(
    const backend_t* b, const backend_state_t* of,
) noexcept nogil:
    cdef uint64_t allowed = <uint64_t>b.endpoints.count * b.outlier.ejected_percent_max // 100
    if allowed == 0:
        allowed = 1
    return of.ejected_count < allowed and of.ejected_count + 1 < b.endpoints.count and (
        not outlier_is_panic(b, of))


cdef inline void outlier_forgive(endpoint_state_t* state) noexcept nogil:
    state.errors = 0
    state.gateway_errors = 0
    state.local_errors = 0


# Take an endpoint out, for longer than the last time.
cdef inline void outlier_eject(
    const backend_t* b, backend_state_t* of, endpoint_state_t* state, uint64_t now_ms,
) noexcept nogil:
    cdef uint64_t most_ms = b.outlier.ejection_ms_max
    cdef uint64_t out_ms
    if most_ms < b.outlier.ejection_ms:
        most_ms = b.outlier.ejection_ms
    if state.ejections < 0xFFFF:
        state.ejections += 1
    out_ms = b.outlier.ejection_ms * state.ejections
    if out_ms > most_ms:
        out_ms = most_ms
    if state.ejected_until_ms == 0:
        of.ejected_count += 1
    state.ejected_until_ms = now_ms + out_ms
    state.is_probing = False
    state.interval_requests = 0
    state.interval_successes = 0
    outlier_forgive(state)
    count(&of.counts[TRAFFIC_EJECTED])


# Does this outcome count as a failure, as this backend sees it?
cdef inline bint outlier_is_failure(const outlier_t* o, uint8_t outcome) noexcept nogil:
    if outcome == OUTCOME_LOCAL and o.is_split:
        return o.local_errors_max != 0
    if outcome == OUTCOME_ERROR:
        return o.errors_max != 0 or o.success_percent_min != 0
    if outcome == OUTCOME_GATEWAY:
        return o.errors_max != 0 or o.gateway_errors_max != 0 or o.success_percent_min != 0
    return outcome == OUTCOME_LOCAL and (
        o.errors_max != 0 or o.gateway_errors_max != 0 or o.local_errors_max != 0 or
        o.success_percent_min != 0)


# Count an outcome. True: that was one too many in a row.
cdef inline bint outlier_count(
    const outlier_t* o, endpoint_state_t* state, uint8_t outcome,
) noexcept nogil:
    if outcome == OUTCOME_OK:
        outlier_forgive(state)
    elif outcome == OUTCOME_LOCAL:
        state.local_errors += 1
    else:
        state.local_errors = 0              # it answered
    if outcome != OUTCOME_LOCAL or not o.is_split:
        state.interval_requests += 1
        state.interval_successes += outcome == OUTCOME_OK
        state.errors += outcome != OUTCOME_OK
        if outcome == OUTCOME_ERROR:
            state.gateway_errors = 0
        else:
            state.gateway_errors += outcome != OUTCOME_OK
    return (o.errors_max and state.errors >= o.errors_max) or (
        o.gateway_errors_max and state.gateway_errors >= o.gateway_errors_max) or (
        o.local_errors_max and state.local_errors >= o.local_errors_max)


# Learn how an endpoint did.
cdef inline void outlier_learn(
    const traffic_t* t, const backend_t* b, fleet_t* f, backend_state_t* of,
    endpoint_state_t* state, uint8_t outcome, uint64_t now_ms,
) noexcept nogil:
    if state.ejected_until_ms:
        if not state.is_probing or state.ejected_until_ms > now_ms:
            return                          # Rule 2
        state.is_probing = False
        if outcome == OUTCOME_NONE:
            return                          # the next one shows
        if outlier_is_failure(&b.outlier, outcome):
            outlier_eject(b, of, state, now_ms)
            return
        state.ejected_until_ms = 0
        if of.ejected_count:
            of.ejected_count -= 1
        count(&of.counts[TRAFFIC_RETURNED])
    if outcome == OUTCOME_NONE or not outlier_count(&b.outlier, state, outcome):
        return
    outlier_recount(t, b, f, of)
    if outlier_may_eject(b, of):
        outlier_eject(b, of, state, now_ms)
    else:
        outlier_forgive(state)              # or each further failure would count them all again


# An endpoint at the end of `intervals`: was too little of it good?
cdef inline bint outlier_is_poor(
    const outlier_t* o, const endpoint_state_t* state,
) noexcept nogil:
    return o.success_percent_min and state.interval_requests and (
        state.interval_requests >= o.requests_min) and (
        <uint64_t>state.interval_successes * 100 <
        <uint64_t>state.interval_requests * o.success_percent_min)


# Judge by the interval that is over, if it is, and begin the next one.
cdef inline void outlier_tick(
    const traffic_t* t, const backend_t* b, fleet_t* f, backend_state_t* of, uint64_t now_ms,
) noexcept nogil:
    cdef const endpoint_t* endpoint
    cdef endpoint_state_t* state
    cdef uint64_t intervals
    cdef uint32_t i
    if b.outlier.interval_ms == 0 or now_ms < of.interval_at_ms + b.outlier.interval_ms:
        return
    intervals = (now_ms - of.interval_at_ms) // b.outlier.interval_ms
    of.interval_at_ms = now_ms
    outlier_recount(t, b, f, of)
    for i in range(b.endpoints.count):
        endpoint = &t.endpoints[b.endpoints.first + i]
        state = fleet_seen_endpoint(f, endpoint.slot, endpoint.generation)
        if state == NULL:
            continue
        if state.ejected_until_ms == 0:
            if outlier_is_poor(&b.outlier, state) and outlier_may_eject(b, of):
                outlier_eject(b, of, state, now_ms)
            elif state.ejections > intervals:
                state.ejections -= <uint32_t>intervals
            else:
                state.ejections = 0
        state.interval_requests = 0
        state.interval_successes = 0
