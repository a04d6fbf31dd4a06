# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. Tables of consistent hashing, built with the snapshot: the same on every proxy that knows the
# same endpoints, in whatever order, and nearly the same when one of them comes or goes.
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport qsort

from proxy.fast.balance cimport balance_hash_endpoint, balance_mix
from proxy.fast.traffic cimport endpoint_t, place_t


cdef inline int places_compare(const void* a, const void* b) noexcept nogil:
    cdef uint64_t first = (<const place_t*>a).hash
    cdef uint64_t second = (<const place_t*>b).hash
    return (first > second) - (first < second)


# A ring with `place_count` places, a multiple of `count`: each endpoint has its share of them.
cdef inline void places_ring(
    place_t* places, uint32_t place_count, const endpoint_t* endpoints, uint32_t count,
) noexcept nogil:
    cdef uint64_t hash
    cdef uint32_t i, j
    cdef uint32_t each = place_count // count
    for i in range(count):
        hash = balance_hash_endpoint(&endpoints[i])
        for j in range(each):
            hash = balance_mix(hash + 0x9E3779B97F4A7C15ULL)
            places[i * each + j].hash = hash
            places[i * each + j].endpoint = i
    qsort(places, place_count, sizeof(place_t), places_compare)


cdef inline bint places_is_prime(uint32_t number) noexcept nogil:
    cdef uint64_t divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 1
    return number > 1


# Maglev's table (Eisenbud and others, 2016, section 3.4) with `place_count` places: a prime, not
# smaller than `count`. `turns` and `next_` are room for `count` items. Endpoints take turns in the
# order of their hashes, which all proxies know, each in its own permutation of the places.
cdef inline void places_maglev(
    place_t* places, uint32_t place_count, const endpoint_t* endpoints, uint32_t count,
    place_t* turns, uint32_t* next_,
) noexcept nogil:
    cdef uint64_t offset, skip
    cdef uint32_t i, at
    cdef uint32_t filled = 0
    for i in range(count):
        turns[i].hash = balance_hash_endpoint(&endpoints[i])
        turns[i].endpoint = i
        next_[i] = 0
    qsort(turns, count, sizeof(place_t), places_compare)
    for i in range(place_count):
        places[i].hash = 0                  # 1: taken, while the table is being filled
    while True:
        for i in range(count):
            offset = balance_mix(turns[i].hash ^ 0x9E3779B97F4A7C15ULL) % place_count
            skip = balance_mix(turns[i].hash ^ 0xD1B54A32D192ED03ULL) % (place_count - 1) + 1
            at = <uint32_t>((offset + next_[i] * skip) % place_count)
            while places[at].hash:
                next_[i] += 1
                at = <uint32_t>((offset + next_[i] * skip) % place_count)
            places[at].hash = 1
            places[at].endpoint = turns[i].endpoint
            next_[i] += 1
            filled += 1
            if filled == place_count:
                for at in range(place_count):
                    places[at].hash = 0
                return
