# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Buffers for bytes that were read and could not be written yet.
#
# Rule 1: a flow owns a buffer only while bytes wait in it; an idle connection owns none.
# Rule 2: the number of buffers is bounded by two a connection; the pool keeps BUFS_FREE_MAX spare.
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from proxy.fast.check cimport FP_ASSERT, FP_POISON
from proxy.fast.limits cimport BUFS_FREE_MAX, BUF_BYTES
from proxy.fast.types cimport buf_pool_t, buf_t


# An empty buffer that the caller owns, or NULL without memory.
cdef inline buf_t* buf_take(buf_pool_t* pool) noexcept nogil:
    cdef buf_t* buf = pool.free
    if buf != NULL:
        pool.free = buf.next
        pool.free_count -= 1
    else:
        buf = <buf_t*>malloc(sizeof(buf_t))
        if buf == NULL:
            return NULL
    buf.next = NULL
    buf.start = 0
    buf.end = 0
    pool.live_count += 1
    return buf


cdef inline void buf_give(buf_pool_t* pool, buf_t* buf) noexcept nogil:
    FP_ASSERT(pool.live_count > 0)
    pool.live_count -= 1
    FP_POISON(buf.bytes, BUF_BYTES)
    if pool.free_count >= BUFS_FREE_MAX:
        free(buf)
        return
    buf.next = pool.free
    pool.free = buf
    pool.free_count += 1


cdef inline uint32_t buf_room(const buf_t* buf) noexcept nogil:
    return BUF_BYTES - buf.end


# Append `length` bytes; there must be room for them.
cdef inline void buf_append(buf_t* buf, const char* source, uint32_t length) noexcept nogil:
    FP_ASSERT(length <= buf_room(buf))
    memcpy(buf.bytes + buf.end, source, length)
    buf.end += length


cdef inline void buf_pool_free(buf_pool_t* pool) noexcept nogil:
    cdef buf_t* buf
    FP_ASSERT(pool.live_count == 0)
    while pool.free != NULL:
        buf = pool.free
        pool.free = buf.next
        free(buf)
    pool.free_count = 0
