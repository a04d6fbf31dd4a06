# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Kernel pipes for splice(2): bytes go from socket to socket without a copy to us.
#
# Rule 1: a flow owns a pipe only while bytes are in it. A pipe goes back empty, or is closed.
# Rule 2: at most PIPES_MAX are open; a flow that gets none goes on copying.
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc

from proxy.fast.check cimport FP_ASSERT
from proxy.fast.limits cimport PIPES_FREE_MAX, PIPES_MAX, PIPE_BYTES
from proxy.fast.platform cimport F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK, close, fcntl, pipe2
from proxy.fast.types cimport pipe_pool_t, pipe_t


cdef inline void pipe_close(pipe_pool_t* pool, pipe_t* pipe) noexcept nogil:
    close(pipe.read_fd)
    close(pipe.write_fd)
    free(pipe)
    pool.open_count -= 1


# An empty pipe that the caller owns, or NULL: too many, no descriptor, no memory.
cdef inline pipe_t* pipe_take(pipe_pool_t* pool) noexcept nogil:
    cdef pipe_t* pipe = pool.free
    cdef int fds[2]
    if pipe != NULL:
        pool.free = pipe.next
        pool.free_count -= 1
        pool.live_count += 1
        return pipe
    if pool.open_count >= PIPES_MAX:
        return NULL
    pipe = <pipe_t*>malloc(sizeof(pipe_t))
    if pipe == NULL:
        return NULL
    if pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0:
        free(pipe)
        return NULL
    fcntl(fds[1], F_SETPIPE_SZ, <int>PIPE_BYTES)    # refused beyond the user's quota: smaller, fine
    pipe.read_fd = fds[0]
    pipe.write_fd = fds[1]
    pipe.held_bytes = 0
    pipe.next = NULL
    pool.open_count += 1
    pool.live_count += 1
    return pipe


# Give a pipe back. One that still holds bytes (its connection died) is closed, not reused.
cdef inline void pipe_give(pipe_pool_t* pool, pipe_t* pipe) noexcept nogil:
    FP_ASSERT(pool.live_count > 0)
    pool.live_count -= 1
    if pipe.held_bytes > 0 or pool.free_count >= PIPES_FREE_MAX:
        pipe_close(pool, pipe)
        return
    pipe.next = pool.free
    pool.free = pipe
    pool.free_count += 1


cdef inline void pipe_pool_free(pipe_pool_t* pool) noexcept nogil:
    cdef pipe_t* pipe
    FP_ASSERT(pool.live_count == 0)
    while pool.free != NULL:
        pipe = pool.free
        pool.free = pipe.next
        pipe_close(pool, pipe)
    pool.free_count = 0
