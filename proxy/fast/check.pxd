# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L0. What to do about our own bugs. A peer's fault is a status and a reason, never one of these.
#
# FP_ASSERT(condition): a debug build (-DREMORA_DEBUG) aborts and names the place; a release build
#                       compiles it away.
# FP_STATIC_ASSERT(condition): the build fails.
# FP_POISON(p, n): a debug build overwrites freed memory, so that a late reader sees nonsense.
cdef extern from *:
    """
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #ifdef REMORA_DEBUG
    #define FP_ASSERT(condition) do { if (!(condition)) { \
        fprintf(stderr, "remora: broken invariant: %s (%s:%d)\\n", \
                #condition, __FILE__, __LINE__); \
        abort(); } } while (0)
    #define FP_POISON(p, n) memset((p), 0xdb, (n))
    #define FP_IS_DEBUG 1
    #else
    #define FP_ASSERT(condition) ((void)0)
    #define FP_POISON(p, n) ((void)0)
    #define FP_IS_DEBUG 0
    #endif
    #define FP_STATIC_ASSERT(condition) ((void)sizeof(char[(condition) ? 1 : -1]))
    """
    void FP_ASSERT(bint condition) nogil
    void FP_STATIC_ASSERT(bint condition) nogil
    void FP_POISON(void* p, size_t n) nogil
    const int FP_IS_DEBUG
