# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. Tables of consistent hashing, built with the snapshot: the same on every proxy that knows the
# same endpoints, in whatever order, and nearly the same when one of them comes or goes.
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport qsort

from proxy.fast.balance cimport balance_hash_endpoint, balance_mix
from proxy.fast.traffic cimport endpoint_t, place_t

cdef struct turn_t:             # an endpoint, while a table is being built
    uint64_t hash
    uint32_t endpoint           # index in backend_t.endpoints
    uint32_t at                 # Maglev: the place in its permutation that it looks at next
    uint32_t skip               # ... and from there to the one after it


cdef inline int places_compare_turns(const void* a, const void* b) noexcept nogil:
    cdef uint64_t first = (<const turn_t*>a).hash
    cdef uint64_t second = (<const turn_t*>b).hash
    return (first > second) - (first < second)


# Endpoints in the order of their hashes, which is the same on every proxy.
cdef inline void places_take_turns(
    turn_t* turns, const endpoint_t* endpoints, uint32_t count,
) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        turns[i].hash = balance_hash_endpoint(&endpoints[i])
        turns[i].endpoint = i
    qsort(turns, count, sizeof(turn_t), places_compare_turns)


cdef inline int places_compare(const void* a, const void* b) noexcept nogil:
    cdef const place_t* first = <const place_t*>a
    cdef const place_t* second = <const place_t*>b
    if first.hash == second.hash:
        return (first.endpoint > second.endpoint) - (first.endpoint < second.endpoint)
    return (first.hash > second.hash) - (first.hash < second.hash)


# A ring with `each` places for each endpoint. `turns`: room for `count` of them.
cdef inline void places_ring(
    place_t* places, uint32_t each, const endpoint_t* endpoints, uint32_t count, turn_t* turns,
) noexcept nogil:
    cdef uint64_t hash
    cdef uint32_t i, j
    places_take_turns(turns, endpoints, count)
    for i in range(count):
        hash = turns[i].hash
        for j in range(each):
            hash = balance_mix(hash + 0x9E3779B97F4A7C15ULL)
            places[i * each + j].hash = <uint32_t>(hash >> 32)
            places[i * each + j].endpoint = i       # so that equal hashes have an order, too
    qsort(places, count * each, sizeof(place_t), places_compare)
    for i in range(count * each):
        places[i].endpoint = turns[places[i].endpoint].endpoint


cdef inline bint places_is_prime(uint32_t number) noexcept nogil:
    cdef uint64_t divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 1
    return number > 1


# An endpoint takes the first place of its permutation that is free.
cdef inline void places_take(place_t* places, uint32_t place_count, turn_t* turn) noexcept nogil:
    cdef bint was_free = False
    while not was_free:
        was_free = not places[turn.at].hash
        if was_free:
            places[turn.at].hash = 1        # taken, while the table is being built
            places[turn.at].endpoint = turn.endpoint
        turn.at += turn.skip
        if turn.at >= place_count:
            turn.at -= place_count


# Maglev's table (Eisenbud and others, 2016, section 3.4) with `place_count` places, all zero: a
# prime, not smaller than `count`. `turns`: room for `count` of them.
cdef inline void places_maglev(
    place_t* places, uint32_t place_count, const endpoint_t* endpoints, uint32_t count,
    turn_t* turns,
) noexcept nogil:
    cdef uint64_t hash
    cdef uint32_t i
    places_take_turns(turns, endpoints, count)
    for i in range(count):
        hash = turns[i].hash
        turns[i].at = <uint32_t>(balance_mix(hash ^ 0x9E3779B97F4A7C15ULL) % place_count)
        turns[i].skip = <uint32_t>(
            balance_mix(hash ^ 0xD1B54A32D192ED03ULL) % (place_count - 1) + 1)
    for i in range(place_count):
        places_take(places, place_count, &turns[i % count])
    for i in range(place_count):
        places[i].hash = 0
