# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Random bits for identifiers and jitter: xoroshiro128+ (Blackman and Vigna, 2018), seeded by
# the kernel. Not for secrets.
from libc.stdint cimport uint64_t


cdef inline uint64_t random_rotate(uint64_t bits, int by) noexcept nogil:
    return (bits << by) | (bits >> (64 - by))


cdef inline uint64_t random_next(uint64_t* state) noexcept nogil:
    cdef uint64_t a = state[0]
    cdef uint64_t b = state[1]
    cdef uint64_t result = a + b
    b ^= a
    state[0] = random_rotate(a, 24) ^ b ^ (b << 16)
    state[1] = random_rotate(b, 37)
    return result
