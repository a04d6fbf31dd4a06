# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L0. The few atomic operations that the rings, the snapshots and the counters need.
#
# Names say the order: a release store by the writer pairs with an acquire load by the reader.
# Counters are written by one thread and read by another: relaxed is enough for both.
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #define remora_load_acquire(p)      __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define remora_store_release(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define remora_load_relaxed(p)      __atomic_load_n((p), __ATOMIC_RELAXED)
    #define remora_store_relaxed(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    static inline void *remora_load_pointer(void **p)
        { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void remora_store_pointer(void **p, void *v)
        { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    """
    uint64_t load_acquire "remora_load_acquire"(const uint64_t* word) nogil
    void store_release "remora_store_release"(uint64_t* word, uint64_t value) nogil
    uint64_t load_relaxed "remora_load_relaxed"(const uint64_t* word) nogil
    void store_relaxed "remora_store_relaxed"(uint64_t* word, uint64_t value) nogil
    void* load_pointer "remora_load_pointer"(void** word) nogil
    void store_pointer "remora_store_pointer"(void** word, void* value) nogil
