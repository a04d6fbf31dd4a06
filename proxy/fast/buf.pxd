# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Buffers for bytes that were read and could not be written, or not be understood, yet.
#
# Rule 1: a flow owns a buffer only while bytes wait in it; an idle connection owns none.
# Rule 2: a buffer of BUF_BYTES comes from the pool and goes back there (BUFS_FREE_MAX are kept).
#         Others are allocated for the one head or write that needs them; who appends bounds it.
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from proxy.fast.check cimport FP_ASSERT, FP_POISON
from proxy.fast.limits cimport BUFS_FREE_MAX, BUF_BYTES
from proxy.fast.types cimport buf_pool_t, buf_t


# The memory of a buffer: valid until the next buf_append() or buf_give().
cdef inline char* buf_at(buf_t* buf, uint32_t offset) noexcept nogil:
    return <char*>buf + sizeof(buf_t) + offset


# An empty buffer, out of the pool or fresh.
cdef inline buf_t* buf_begin(buf_pool_t* pool, buf_t* buf) noexcept nogil:
    buf.next = NULL
    buf.start = 0
    buf.end = 0
    pool.live_count += 1
    return buf


cdef inline buf_t* buf_new(buf_pool_t* pool, uint32_t capacity) noexcept nogil:
    cdef buf_t* buf = <buf_t*>malloc(sizeof(buf_t) + capacity)
    if buf == NULL:
        return NULL
    buf.capacity = capacity
    return buf_begin(pool, buf)


# An empty buffer of at least `capacity` bytes that the caller owns, or NULL without memory.
cdef inline buf_t* buf_take(buf_pool_t* pool, uint32_t capacity) noexcept nogil:
    cdef buf_t* buf = pool.free
    if capacity > BUF_BYTES:
        return buf_new(pool, capacity)
    if buf == NULL:
        return buf_new(pool, BUF_BYTES)
    pool.free = buf.next
    pool.free_count -= 1
    return buf_begin(pool, buf)


# The same of `capacity` bytes and not more, for what is kept long and mostly small. It never goes
# to the pool.
cdef inline buf_t* buf_take_small(buf_pool_t* pool, uint32_t capacity) noexcept nogil:
    return buf_take(pool, capacity) if capacity >= BUF_BYTES else buf_new(pool, capacity)


cdef inline void buf_give(buf_pool_t* pool, buf_t* buf) noexcept nogil:
    FP_ASSERT(pool.live_count > 0)
    pool.live_count -= 1
    FP_POISON(buf_at(buf, 0), buf.capacity)
    if buf.capacity != BUF_BYTES or pool.free_count >= BUFS_FREE_MAX:
        free(buf)
        return
    buf.next = pool.free
    pool.free = buf
    pool.free_count += 1


cdef inline uint32_t buf_length(const buf_t* buf) noexcept nogil:
    return buf.end - buf.start


# Append to buf[0], which may be NULL (nothing waits yet) and may move. Returns 0 without memory;
# what was there is still there then.
cdef inline bint buf_append(
    buf_pool_t* pool, buf_t** buf, const char* source, uint32_t length,
) noexcept nogil:
    cdef buf_t* old = buf[0]
    cdef buf_t* grown
    cdef uint32_t waiting = 0 if old == NULL else buf_length(old)
    if old == NULL or old.capacity - old.end < length:
        grown = buf_take(pool, waiting + length if waiting == 0 else (waiting + length) * 2)
        if grown == NULL:
            return False
        if old != NULL:
            memcpy(buf_at(grown, 0), buf_at(old, old.start), waiting)
            grown.end = waiting
            buf_give(pool, old)
        buf[0] = grown
    memcpy(buf_at(buf[0], buf[0].end), source, length)
    buf[0].end += length
    return True


# The first `length` waiting bytes are done with; an empty buffer goes back and buf[0] is NULL.
cdef inline void buf_consume(buf_pool_t* pool, buf_t** buf, uint32_t length) noexcept nogil:
    FP_ASSERT(length <= buf_length(buf[0]))
    buf[0].start += length
    if buf[0].start == buf[0].end:
        buf_give(pool, buf[0])
        buf[0] = NULL


cdef inline void buf_pool_free(buf_pool_t* pool) noexcept nogil:
    cdef buf_t* buf
    FP_ASSERT(pool.live_count == 0)
    while pool.free != NULL:
        buf = pool.free
        pool.free = buf.next
        free(buf)
    pool.free_count = 0
