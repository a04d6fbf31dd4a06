# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. What was sent of a request, kept while it may have to be sent again: byte for byte.
#
# Rule 1: kept whole or not at all. What does not fit is dropped with what was kept before: a
#         request that is larger than REPLAY_BYTES_MAX is sent once.
# Rule 2: all of them together are bounded (REPLAY_TOTAL_BYTES_MAX).
from libc.stdint cimport uint32_t

from proxy.fast.buf cimport buf_append, buf_give, buf_length, buf_take_small
from proxy.fast.limits cimport REPLAY_BYTES_MAX, REPLAY_TOTAL_BYTES_MAX
from proxy.fast.types cimport exchange_t, worker_t


cdef inline void replay_drop(worker_t* w, exchange_t* x) noexcept nogil:
    if x.replay == NULL:
        return
    w.replay_bytes -= x.replay.capacity
    buf_give(&w.bufs, x.replay)
    x.replay = NULL


# Begin with the head, without the lines that change from try to try.
cdef inline void replay_begin(
    worker_t* w, exchange_t* x, const char* head, uint32_t head_bytes,
) noexcept nogil:
    if head_bytes > REPLAY_BYTES_MAX or w.replay_bytes + head_bytes > REPLAY_TOTAL_BYTES_MAX:
        return
    x.replay = buf_take_small(&w.bufs, head_bytes)
    if x.replay == NULL:
        return
    w.replay_bytes += x.replay.capacity
    buf_append(&w.bufs, &x.replay, head, head_bytes)
    x.replay_head_bytes = head_bytes


# More of the request was sent.
cdef inline void replay_add(
    worker_t* w, exchange_t* x, const char* source, uint32_t length,
) noexcept nogil:
    cdef uint32_t before
    cdef bint is_kept
    if x.replay == NULL or length == 0:
        return
    if buf_length(x.replay) + length > REPLAY_BYTES_MAX or (
            w.replay_bytes + length > REPLAY_TOTAL_BYTES_MAX):
        replay_drop(w, x)
        return
    before = x.replay.capacity
    is_kept = buf_append(&w.bufs, &x.replay, source, length)
    w.replay_bytes += x.replay.capacity - before
    if not is_kept:
        replay_drop(w, x)
