# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# Memory between two pages where reading ends the process: a parser in a probe gets its bytes here, so
# that not one byte around them may be touched.
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS
    void* MAP_FAILED
    void* mmap(void* at, size_t length, int protection, int flags, int fd, long offset)
    int mprotect(void* at, size_t length, int protection)

cdef enum:
    PAGE_BYTES = 4096
    ROOM_BYTES = 262144


# The room, for the life of the process. NULL: the kernel gave none.
cdef inline char* guarded_room() noexcept nogil:
    cdef void* start = mmap(
        NULL, ROOM_BYTES + 2 * PAGE_BYTES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    cdef char* room = <char*>start + PAGE_BYTES
    if start == MAP_FAILED or mprotect(start, PAGE_BYTES, PROT_NONE) < 0:
        return NULL
    if mprotect(room + ROOM_BYTES, PAGE_BYTES, PROT_NONE) < 0:
        return NULL
    return room


# `text` with its last byte right before the upper guard, or its first right behind the lower.
cdef inline const char* guarded_place(
    char* room, const char* text, uint32_t length, bint is_low,
) noexcept nogil:
    cdef char* at = room if is_low else room + ROOM_BYTES - length
    memcpy(at, text, length)
    return at
