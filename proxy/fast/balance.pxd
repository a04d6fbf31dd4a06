# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. Which endpoint gets the next request?
#
# Rule 1: of those that are in (outlier.pxd) and were not tried yet; of our zone's while there is
#         one. If that leaves nobody: of those that were tried, else of those that are out.
# Rule 2: an endpoint that is new gets a share that grows with its age. It is drawn that much more
#         rarely, and what it has in flight weighs that much more.
# Rule 3: no list is built and, while most endpoints are in, none is walked: two are drawn.
# Rule 4: what sticks, sticks on every proxy to the same endpoint. When that one is out or tried,
#         its requests go to the others by rendezvous, and come back with it.
#
# Peak EWMA as in Finagle: a latency above what is known counts at once, one below it takes its part
# over EWMA_DECAY_US; what nobody asks for gets better with time, so it will be asked again.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from proxy.fast.address cimport addr_t
from proxy.fast.fleet cimport fleet_backend, fleet_endpoint, fleet_seen_endpoint
from proxy.fast.limits cimport BALANCE_DRAWS_MAX, EWMA_DECAY_US, EWMA_UNKNOWN_US
from proxy.fast.lookup cimport traffic_backend
from proxy.fast.outlier cimport (
    outlier_is_out, outlier_is_panic, outlier_learn, outlier_tick,
)
from proxy.fast.random cimport random_next
from proxy.fast.reasons cimport (
    BALANCE_EWMA, BALANCE_MAGLEV, BALANCE_RANDOM, BALANCE_RING, BALANCE_ROUND_ROBIN, OUTCOME_NONE,
    OUTCOME_OK,
)
from proxy.fast.states cimport backend_state_t, endpoint_state_t, fleet_t
from proxy.fast.traffic cimport backend_t, endpoint_t, place_t, traffic_t

cdef enum:
    SHARE_WHOLE = 1000          # of an endpoint's requests, in thousandths
    SHARE_LEAST = 100

cdef struct choice_t:           # between whom
    const endpoint_t* endpoints     # of the backend
    const backend_t* backend
    fleet_t* fleet
    const uint32_t* tried           # their slots
    uint32_t tried_count
    uint32_t first                  # the range in `endpoints`
    uint32_t count
    uint64_t now_us
    uint8_t  takes_tried
    uint8_t  takes_out


# ---- hashes that are the same on every proxy ----------------------------------------------------

# The finalizer of MurmurHash3 (Appleby): every bit of the word reaches every bit of the result.
cdef inline uint64_t balance_mix(uint64_t word) noexcept nogil:
    word = (word ^ (word >> 33)) * 0xFF51AFD7ED558CCDULL
    word = (word ^ (word >> 33)) * 0xC4CEB9FE1A85EC53ULL
    return word ^ (word >> 33)


# Never 0: that is for a request that has nothing to stick to.
cdef inline uint64_t balance_hash_bytes(const char* source, uint32_t length) noexcept nogil:
    cdef uint64_t hash = 0xCBF29CE484222325ULL          # FNV-1a
    cdef uint32_t i
    for i in range(length):
        hash = (hash ^ <uint8_t>source[i]) * 0x100000001B3ULL
    return balance_mix(hash) or 1


# Of an address without its port: a source has another one for each of its connections.
cdef inline uint64_t balance_hash_addr(const addr_t* address) noexcept nogil:
    return balance_hash_bytes(<const char*>address.ip, 4 if address.family == 4 else 16)


# Of an endpoint, with its port.
cdef inline uint64_t balance_hash_endpoint(const endpoint_t* endpoint) noexcept nogil:
    return balance_mix(balance_hash_addr(&endpoint.address) + endpoint.address.port)


# ---- what is known of an endpoint ---------------------------------------------------------------

# e^-x, within 0.1 % of 1.
cdef inline double balance_decay(double x) noexcept nogil:
    cdef double left = 1.0 - x / 1024
    if x >= 1024:
        return 0
    for _ in range(10):
        left *= left
    return left


# The latency that is expected of an endpoint; 0: unknown.
cdef inline double balance_latency(const endpoint_state_t* state, uint64_t now_us) noexcept nogil:
    if state.latency_us <= 0 or now_us <= state.latency_at_us:
        return state.latency_us
    return state.latency_us * balance_decay(
        <double>(now_us - state.latency_at_us) / EWMA_DECAY_US)


# Learn a latency. Of a failure only the bad news: to fail fast must not attract anybody.
cdef inline void balance_measure(
    endpoint_state_t* state, uint8_t outcome, uint64_t latency_us, uint64_t now_us,
) noexcept nogil:
    cdef double known = balance_latency(state, now_us)
    cdef double kept
    if latency_us < known and outcome != OUTCOME_OK:
        return
    if latency_us < known:
        kept = balance_decay(<double>(now_us - state.latency_at_us) / EWMA_DECAY_US)
        state.latency_us = known + latency_us * (1 - kept)
    else:
        state.latency_us = latency_us
    state.latency_at_us = now_us


# The share of its requests that an endpoint of this age gets.
cdef inline uint32_t balance_share(
    const backend_t* b, const endpoint_state_t* state, uint64_t now_ms,
) noexcept nogil:
    cdef uint64_t share
    if b.slow_start_ms == 0 or now_ms >= state.since_ms + b.slow_start_ms:
        return SHARE_WHOLE
    share = (now_ms - state.since_ms) * SHARE_WHOLE // b.slow_start_ms
    return <uint32_t>share if share > SHARE_LEAST else SHARE_LEAST


# ---- the choice ---------------------------------------------------------------------------------

cdef inline endpoint_state_t* balance_state(
    const choice_t* choice, uint32_t index,
) noexcept nogil:
    cdef const endpoint_t* endpoint = &choice.endpoints[index]
    return fleet_endpoint(
        choice.fleet, endpoint.slot, endpoint.generation, choice.now_us // 1000)


# The share of an endpoint that may be chosen; 0: it may not.
cdef inline uint32_t balance_usable(const choice_t* choice, uint32_t index) noexcept nogil:
    cdef const endpoint_state_t* state
    cdef uint32_t i
    if not choice.takes_tried:
        for i in range(choice.tried_count):
            if choice.tried[i] == choice.endpoints[index].slot:
                return 0
    state = balance_state(choice, index)
    if state == NULL:                       # no memory: one that nothing is known of
        return SHARE_WHOLE
    if not choice.takes_out and outlier_is_out(state, choice.now_us // 1000):
        return 0
    return balance_share(choice.backend, state, choice.now_us // 1000)


cdef inline uint32_t balance_random(const choice_t* choice, uint32_t below) noexcept nogil:
    return <uint32_t>(((random_next(choice.fleet.random) >> 32) * below) >> 32)


# Draw one by their shares, but not `but` (-1: no exception). -1: there is none, or, beside `but`, a
# newcomer that lets this turn pass: between two it would else come to be drawn nearly always.
cdef inline int32_t balance_draw(const choice_t* choice, int32_t but) noexcept nogil:
    cdef uint32_t index, share
    cdef uint32_t sum_ = 0
    cdef int32_t found = -1
    for _ in range(BALANCE_DRAWS_MAX):
        index = choice.first + balance_random(choice, choice.count)
        if <int32_t>index == but:
            continue
        share = balance_usable(choice, index)
        if share == SHARE_WHOLE or share > balance_random(choice, SHARE_WHOLE):
            return <int32_t>index
        if share and but >= 0:
            return -1
    for index in range(choice.first, choice.first + choice.count):
        if <int32_t>index == but:
            continue
        share = balance_usable(choice, index)
        sum_ += share
        if share and balance_random(choice, sum_) < share:
            found = <int32_t>index
    return found


# What one more request costs at an endpoint: time where it is known, else requests in flight.
cdef inline double balance_cost(
    const choice_t* choice, const endpoint_state_t* state, double latency_us,
) noexcept nogil:
    if state == NULL or state.in_flight == 0:
        return latency_us
    return latency_us * (1 + <double>state.in_flight * SHARE_WHOLE / balance_share(
        choice.backend, state, choice.now_us // 1000))


# The better of two that were drawn. One that nobody has asked yet is taken for as good as the other
# one, so newcomers are tried, and what they have in flight keeps them from being flooded.
cdef inline int32_t balance_of_two(const choice_t* choice, bint by_latency) noexcept nogil:
    cdef int32_t a = balance_draw(choice, -1)
    cdef int32_t b
    cdef const endpoint_state_t* state_a
    cdef const endpoint_state_t* state_b
    cdef double known_a = 0
    cdef double known_b = 0
    if a < 0 or choice.count == 1:
        return a
    b = balance_draw(choice, a)
    if b < 0:
        return a
    state_a = balance_state(choice, a)
    state_b = balance_state(choice, b)
    if by_latency and state_a != NULL and state_b != NULL:
        known_a = balance_latency(state_a, choice.now_us)
        known_b = balance_latency(state_b, choice.now_us)
    if known_a <= 0:
        known_a = known_b if 0 < known_b < EWMA_UNKNOWN_US else EWMA_UNKNOWN_US
    if known_b <= 0:
        known_b = known_a if known_a < EWMA_UNKNOWN_US else EWMA_UNKNOWN_US
    if balance_cost(choice, state_a, known_a) <= balance_cost(choice, state_b, known_b):
        return a
    return b


# The next in the order of slots, in which snapshots have them: whoever comes and goes, and however
# often, all others keep their turn. Newcomers let turns pass.
cdef inline int32_t balance_next(const choice_t* choice, backend_state_t* of) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = choice.count
    cdef uint32_t middle, i, index, share
    cdef int32_t found = -1
    if of.cursor == 0:                      # not every proxy begins with the same one
        low = balance_random(choice, choice.count)
        high = low
    while low < high:
        middle = (low + high) // 2
        if choice.endpoints[choice.first + middle].slot < of.cursor:
            low = middle + 1
        else:
            high = middle
    for i in range(choice.count):
        index = choice.first + (low + i) % choice.count
        share = balance_usable(choice, index)
        if share and found < 0:
            found = <int32_t>index
        if share == SHARE_WHOLE or share > balance_random(choice, SHARE_WHOLE):
            found = <int32_t>index
            break
    if found >= 0:
        of.cursor = choice.endpoints[found].slot + 1
    return found


# Where the table of the ring, or of Maglev, leads. Index in the backend's endpoints.
cdef inline uint32_t balance_place(
    const traffic_t* t, const backend_t* b, uint64_t hash,
) noexcept nogil:
    cdef const place_t* places = &t.places[b.places.first]
    cdef uint32_t low = 0
    cdef uint32_t high = b.places.count
    cdef uint32_t on_ring = <uint32_t>(hash >> 32)
    cdef uint32_t middle
    if b.balance == BALANCE_MAGLEV:
        return places[hash % b.places.count].endpoint
    while low < high:                       # the first at the hash or behind it
        middle = (low + high) // 2
        if places[middle].hash < on_ring:
            low = middle + 1
        else:
            high = middle
    return places[low if low < b.places.count else 0].endpoint


# The one to which a hash sticks.
cdef inline int32_t balance_sticky(
    const traffic_t* t, const choice_t* choice, uint64_t hash,
) noexcept nogil:
    cdef uint64_t weight
    cdef uint64_t highest = 0
    cdef uint32_t index
    cdef int32_t found = -1
    if hash == 0:
        hash = random_next(choice.fleet.random)
    if choice.backend.places.count:
        index = balance_place(t, choice.backend, hash)
        if choice.first <= index < choice.first + choice.count and balance_usable(choice, index):
            return <int32_t>index
    for index in range(choice.first, choice.first + choice.count):
        if balance_usable(choice, index):
            weight = balance_mix(hash ^ balance_hash_endpoint(&choice.endpoints[index]))
            if found < 0 or weight > highest:
                highest = weight
                found = <int32_t>index
    return found


cdef inline int32_t balance_choose(
    const traffic_t* t, const choice_t* choice, backend_state_t* of, uint64_t hash,
) noexcept nogil:
    cdef uint8_t how = choice.backend.balance
    if choice.count == 0:
        return -1
    if how == BALANCE_RING or how == BALANCE_MAGLEV:
        return balance_sticky(t, choice, hash)
    if how == BALANCE_RANDOM:
        return balance_draw(choice, -1)
    if how == BALANCE_ROUND_ROBIN and of != NULL:
        return balance_next(choice, of)
    return balance_of_two(choice, how == BALANCE_EWMA)


# The first request to a backend: who is there now is not new, as far as we know.
cdef inline void balance_meet(const choice_t* choice, backend_state_t* of) noexcept nogil:
    cdef const endpoint_t* endpoint
    cdef uint32_t i
    of.interval_at_ms = choice.now_us // 1000 or 1
    for i in range(choice.backend.endpoints.count):
        endpoint = &choice.endpoints[i]
        fleet_endpoint(choice.fleet, endpoint.slot, endpoint.generation, 0)


# Who gets the next request of a backend? Returns the index in traffic_t.endpoints; -1: it has none.
# `hash`: what the request sticks to (0: nothing). `tried`: slots of those that had it before.
cdef inline int32_t balance_pick(
    const traffic_t* t, const backend_t* b, fleet_t* f, uint64_t now_us, uint64_t hash,
    const uint32_t* tried, uint32_t tried_count,
) noexcept nogil:
    cdef backend_state_t* of = fleet_backend(f, b.number)
    cdef choice_t choice
    cdef int32_t found
    cdef int level = 0
    choice.endpoints = t.endpoints + b.endpoints.first
    choice.backend = b
    choice.fleet = f
    choice.tried = tried
    choice.tried_count = tried_count
    choice.now_us = now_us
    if of != NULL:
        if of.interval_at_ms == 0:
            balance_meet(&choice, of)
        outlier_tick(t, b, f, of, now_us // 1000)
        if outlier_is_panic(b, of):
            level = 2
    while level < 4:
        choice.takes_tried = level & 1
        choice.takes_out = level >> 1
        choice.first = 0
        choice.count = b.local_count
        found = balance_choose(t, &choice, of, hash)
        if found < 0:
            choice.first = b.local_count
            choice.count = b.endpoints.count - b.local_count
            found = balance_choose(t, &choice, of, hash)
        if found >= 0:
            return <int32_t>b.endpoints.first + found
        level += 1
    return -1


# ---- what becomes of a request ------------------------------------------------------------------

# An endpoint gets a request, or a connection that is relayed. balance_end() is due.
cdef inline void balance_begin(
    fleet_t* f, const endpoint_t* endpoint, uint64_t now_ms,
) noexcept nogil:
    cdef endpoint_state_t* state = fleet_endpoint(
        f, endpoint.slot, endpoint.generation, now_ms)
    if state == NULL:
        return
    state.in_flight += 1
    if state.ejected_until_ms != 0 and state.ejected_until_ms <= now_ms:
        state.is_probing = True


# Learn how an endpoint does, while what was begun goes on: a relayed connection that is connected.
# `latency_us` 0: nothing was measured. Backend and endpoint may have left.
cdef inline void balance_learn(
    const traffic_t* t, fleet_t* f, uint32_t backend_number, uint32_t slot, uint32_t generation,
    uint8_t outcome, uint64_t latency_us, uint64_t now_us,
) noexcept nogil:
    cdef endpoint_state_t* state = fleet_seen_endpoint(f, slot, generation)
    cdef const backend_t* b = traffic_backend(t, backend_number)
    cdef backend_state_t* of = fleet_backend(f, backend_number)
    if state == NULL:
        return
    if latency_us and outcome != OUTCOME_NONE:
        balance_measure(state, outcome, latency_us, now_us)
    if b == NULL or of == NULL:
        state.is_probing = False
        return
    outlier_learn(t, b, f, of, state, outcome, now_us // 1000)


# The endpoint has answered a request. One that was to show what it can do has shown it, however
# long the rest of its answer, or a tunnel, takes.
cdef inline void balance_answered(
    const traffic_t* t, fleet_t* f, uint32_t backend_number, uint32_t slot, uint32_t generation,
    uint8_t outcome, uint64_t now_us,
) noexcept nogil:
    cdef const endpoint_state_t* state = fleet_seen_endpoint(f, slot, generation)
    if state != NULL and state.is_probing:
        balance_learn(t, f, backend_number, slot, generation, outcome, 0, now_us)


# The request, or the connection, is over. Call it once for each balance_begin().
cdef inline void balance_end(
    const traffic_t* t, fleet_t* f, uint32_t backend_number, uint32_t slot, uint32_t generation,
    uint8_t outcome, uint64_t latency_us, uint64_t now_us,
) noexcept nogil:
    cdef endpoint_state_t* state = fleet_seen_endpoint(f, slot, generation)
    if state != NULL and state.in_flight:
        state.in_flight -= 1
    balance_learn(t, f, backend_number, slot, generation, outcome, latency_us, now_us)
