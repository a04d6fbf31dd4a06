# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
"""A ring between two real threads without the GIL; built with ThreadSanitizer, and without.

`is_careless` plants the bug that the atomics prevent, a plain store where a release belongs: a build
that does not report it proves nothing.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memset

from proxy.fast.platform cimport pthread_create, pthread_join, pthread_t
from proxy.fast.ring cimport (
    ring_free, ring_init, ring_peek, ring_post, ring_reserve, ring_take,
)
from proxy.fast.types cimport ring_t

cdef extern from "<sched.h>" nogil:
    int sched_yield()


cdef struct item_t:             # several words: half an item would be seen
    uint64_t number
    uint64_t filling[6]
    uint64_t complement

cdef struct transport_t:
    ring_t   ring
    uint64_t item_count         # to be carried
    uint64_t refused_count      # the ring was full; written by the producer
    uint64_t wrong_count        # out of order, or torn; written by the consumer
    bint     is_careless


cdef void* produce(void* argument) noexcept nogil:
    cdef transport_t* t = <transport_t*>argument
    cdef uint64_t number = 0
    cdef item_t* item
    while number < t.item_count:
        item = <item_t*>ring_reserve(&t.ring)
        if item == NULL:
            t.refused_count += 1
            sched_yield()
            continue
        item.number = number
        item.complement = ~number
        if t.is_careless:
            t.ring.head += 1
        else:
            ring_post(&t.ring)
        number += 1
    return NULL


cdef void* consume(void* argument) noexcept nogil:
    cdef transport_t* t = <transport_t*>argument
    cdef uint64_t number = 0
    cdef const item_t* item
    while number < t.item_count:
        item = <const item_t*>ring_peek(&t.ring)
        if item == NULL:
            sched_yield()
            continue
        if item.number != number or item.complement != ~number:
            t.wrong_count += 1
        ring_take(&t.ring)
        number += 1
    return NULL


def carry(item_count, *, slots, is_careless=False):
    """Carry numbered items from one thread to another. Returns (wrong, refused)."""
    cdef transport_t t
    cdef pthread_t producer = 0, consumer = 0
    memset(&t, 0, sizeof(transport_t))
    t.item_count = item_count
    t.is_careless = is_careless
    if not ring_init(&t.ring, sizeof(item_t), slots):
        raise MemoryError
    if pthread_create(&consumer, NULL, consume, &t):
        raise OSError("no thread")
    if pthread_create(&producer, NULL, produce, &t):
        raise SystemExit("no second thread, and the first would wait for ever")
    with nogil:
        pthread_join(producer, NULL)
        pthread_join(consumer, NULL)
    ring_free(&t.ring)
    return (t.wrong_count, t.refused_count)
