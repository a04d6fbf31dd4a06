# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. A ring for one producer thread and one consumer thread; no locks, no system calls.
#
# Rule 1: the producer writes the item, then publishes it by a release store of `head`; the
#         consumer reads it after an acquire load of `head`, then frees the place by `tail`.
# Rule 2: a full ring refuses. Whoever posts decides what that means (drop and count, or an error).
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from proxy.fast.atomics cimport load_acquire, store_release
from proxy.fast.types cimport ring_t


# `item_count` must be a power of two. Returns 0 without memory.
cdef inline bint ring_init(ring_t* ring, uint32_t item_bytes, uint32_t item_count) noexcept nogil:
    memset(ring, 0, sizeof(ring_t))
    ring.items = <char*>calloc(item_count, item_bytes)
    ring.item_bytes = item_bytes
    ring.mask = item_count - 1
    return ring.items != NULL


cdef inline void ring_free(ring_t* ring) noexcept nogil:
    free(ring.items)
    ring.items = NULL


# Producer: the place of the next item, or NULL when the ring is full. Fill it, then ring_post().
cdef inline void* ring_reserve(ring_t* ring) noexcept nogil:
    cdef uint64_t head = ring.head
    if head - load_acquire(&ring.tail) > ring.mask:
        return NULL
    return ring.items + <size_t>(head & ring.mask) * ring.item_bytes


cdef inline void ring_post(ring_t* ring) noexcept nogil:
    store_release(&ring.head, ring.head + 1)


# Consumer: the oldest item, or NULL when there is none. Valid until ring_take().
cdef inline void* ring_peek(ring_t* ring) noexcept nogil:
    cdef uint64_t tail = ring.tail
    if tail == load_acquire(&ring.head):
        return NULL
    return ring.items + <size_t>(tail & ring.mask) * ring.item_bytes


cdef inline void ring_take(ring_t* ring) noexcept nogil:
    store_release(&ring.tail, ring.tail + 1)
