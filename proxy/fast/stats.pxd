# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Counters and histograms. One writer (the worker); Python reads them whenever it likes.
#
# A plain add of an aligned 64-bit word is one store on every machine we run on; the relaxed store
# tells the compiler, too. No locks, no read-modify-write instructions.
from libc.stdint cimport uint64_t

from proxy.fast.atomics cimport store_relaxed
from proxy.fast.types cimport HISTOGRAM_BUCKETS

cdef extern from *:
    """
    /* Upper bounds in microseconds of both histograms: 0.1 ms to 1 h, finer where a mesh works.
       +Inf follows. proxy/_fastpath.pyx shows them to Python as BUCKETS_US. */
    static const unsigned long long remora_bucket_us[] = {
        100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
        1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 600000000, 3600000000ULL
    };
    """
    const uint64_t bucket_us "remora_bucket_us"[]


cdef inline void count(uint64_t* counter) noexcept nogil:
    store_relaxed(counter, counter[0] + 1)


cdef inline void count_many(uint64_t* counter, uint64_t amount) noexcept nogil:
    store_relaxed(counter, counter[0] + amount)


cdef inline void uncount(uint64_t* gauge) noexcept nogil:
    store_relaxed(gauge, gauge[0] - 1)


# Count one observation in microseconds: `buckets` has HISTOGRAM_BUCKETS counters (not cumulative).
cdef inline void observe(uint64_t* buckets, uint64_t* sum_us, uint64_t value_us) noexcept nogil:
    cdef int i = 0
    while i < HISTOGRAM_BUCKETS - 1 and value_us > bucket_us[i]:
        i += 1
    count(&buckets[i])
    count_many(sum_us, value_us)
