# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Slabs: items of one size at addresses that never change, found again by slot.
#
# Rule 1: an item starts with a slab_head_t; take() sets it, nobody else writes it but give().
# Rule 2: the generation changes when an item is given back, so (slot, generation) names one life.
# Rule 3: memory grows to the high-water mark and stays: its bound is `live_max`.
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from proxy.fast.check cimport FP_ASSERT, FP_POISON
from proxy.fast.limits cimport SLAB_CHUNK_LOG2
from proxy.fast.types cimport slab_head_t, slab_t

cdef enum:
    SLAB_NONE = 0xFFFFFFFF
    SLAB_CHUNK_ITEMS = 1 << SLAB_CHUNK_LOG2
    SLAB_CHUNK_MASK = SLAB_CHUNK_ITEMS - 1


cdef inline void slab_init(slab_t* slab, uint32_t item_bytes, uint32_t live_max) noexcept nogil:
    memset(slab, 0, sizeof(slab_t))
    slab.item_bytes = (item_bytes + 15) & ~<uint32_t>15
    slab.live_max = live_max
    slab.free_slot = SLAB_NONE


cdef inline slab_head_t* slab_at(slab_t* slab, uint32_t slot) noexcept nogil:
    cdef char* chunk = slab.chunks[slot >> SLAB_CHUNK_LOG2]
    return <slab_head_t*>(chunk + <size_t>(slot & SLAB_CHUNK_MASK) * slab.item_bytes)


# The live item that (slot, generation) names, or NULL when that life is over. Borrowed.
cdef inline slab_head_t* slab_find(
    slab_t* slab, uint32_t slot, uint32_t generation,
) noexcept nogil:
    cdef slab_head_t* head
    if (slot >> SLAB_CHUNK_LOG2) >= slab.chunk_count:
        return NULL
    head = slab_at(slab, slot)
    if not head.is_live or head.generation != generation:
        return NULL
    return head


# One more chunk on the free list. Returns 0 when there is no memory; nothing has changed then.
cdef inline bint slab_grow(slab_t* slab) noexcept nogil:
    cdef uint32_t capacity
    cdef char** chunks
    cdef char* chunk
    cdef slab_head_t* head
    cdef int i
    if slab.chunk_count == slab.chunk_capacity:
        capacity = 16 if slab.chunk_capacity == 0 else slab.chunk_capacity * 2
        chunks = <char**>realloc(slab.chunks, capacity * sizeof(char*))
        if chunks == NULL:
            return False
        slab.chunks = chunks
        slab.chunk_capacity = capacity
    chunk = <char*>calloc(SLAB_CHUNK_ITEMS, slab.item_bytes)
    if chunk == NULL:
        return False
    slab.chunks[slab.chunk_count] = chunk
    slab.chunk_count += 1
    for i in range(SLAB_CHUNK_ITEMS - 1, -1, -1):
        head = <slab_head_t*>(chunk + <size_t>i * slab.item_bytes)
        head.slot = ((slab.chunk_count - 1) << SLAB_CHUNK_LOG2) + i
        head.generation = 1
        head.next_free = slab.free_slot
        slab.free_slot = head.slot
    return True


# A zeroed item (but for its head), or NULL at `live_max` or without memory. The caller owns it.
cdef inline void* slab_take(slab_t* slab) noexcept nogil:
    cdef slab_head_t* head
    if slab.live_count >= slab.live_max:
        return NULL
    if slab.free_slot == SLAB_NONE and not slab_grow(slab):
        return NULL
    head = slab_at(slab, slab.free_slot)
    FP_ASSERT(not head.is_live)
    slab.free_slot = head.next_free
    memset(<char*>head + sizeof(slab_head_t), 0, slab.item_bytes - sizeof(slab_head_t))
    head.is_live = 1
    slab.live_count += 1
    return head


cdef inline void slab_give(slab_t* slab, void* item) noexcept nogil:
    cdef slab_head_t* head = <slab_head_t*>item
    FP_ASSERT(head.is_live)
    FP_POISON(<char*>head + sizeof(slab_head_t), slab.item_bytes - sizeof(slab_head_t))
    head.is_live = 0
    head.generation += 1
    head.next_free = slab.free_slot
    slab.free_slot = head.slot
    slab.live_count -= 1


cdef inline uint32_t slab_slot_count(slab_t* slab) noexcept nogil:
    return slab.chunk_count << SLAB_CHUNK_LOG2


cdef inline void slab_free(slab_t* slab) noexcept nogil:
    cdef uint32_t i
    FP_ASSERT(slab.live_count == 0)
    for i in range(slab.chunk_count):
        free(slab.chunks[i])
    free(slab.chunks)
    slab_init(slab, slab.item_bytes, slab.live_max)
