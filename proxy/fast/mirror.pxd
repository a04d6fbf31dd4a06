# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Copies of requests, for backends that are only to be watched (Gateway API: RequestMirror).
#
# Rule 1: a copy is a connection of its own without a downstream: what comes back is thrown away,
#         and nothing that happens to it is felt by the request.
# Rule 2: it is made when the original is answered, of what was kept of it (replay.pxd); a request
#         that was too large to keep has no copy.
from libc.stdint cimport uint8_t, uint32_t

from proxy.fast.buf cimport buf_append, buf_at, buf_length
from proxy.fast.conn cimport conn_arm_timer, conn_close, conn_label, conn_new, conn_queue_ready
from proxy.fast.limits cimport MIRRORS_LIVE_MAX, MIRRORS_LIVE_PART
from proxy.fast.reasons cimport (
    EVENT_MIRRORED, EVENT_MIRROR_DROPPED, PHASE_RELAYING, PROTOCOL_HTTP1, REASON_NO_MEMORY,
    SPEAKER_DOWNSTREAM,
)
from proxy.fast.stats cimport count
from proxy.fast.types cimport FD_VOID, MODE_HTTP, REQUEST_DONE, conn_t, exchange_t, worker_t


# The bytes of a copy. 0: no memory.
cdef inline bint mirror_write(worker_t* w, conn_t* copy, const exchange_t* x) noexcept nogil:
    cdef const char* kept = buf_at(x.replay, x.replay.start)
    return (buf_append(&w.bufs, &copy.pending, kept, x.replay_head_bytes)
            and buf_append(&w.bufs, &copy.pending, b"\r\n", 2)
            and buf_append(&w.bufs, &copy.pending, kept + x.replay_head_bytes,
                           buf_length(x.replay) - x.replay_head_bytes))


# A connection that nobody made, which asks `backend` what `c` asked.
cdef inline void mirror_open(worker_t* w, conn_t* c, uint32_t backend) noexcept nogil:
    cdef conn_t* copy = NULL
    if w.mirror_count < MIRRORS_LIVE_MAX and (
            w.mirror_count < w.conns.live_max // MIRRORS_LIVE_PART):
        copy = conn_new(w, FD_VOID, c.direction)
    if copy == NULL:
        count(&w.stats.events[EVENT_MIRROR_DROPPED])
        return
    w.mirror_count += 1
    copy.is_mirror = 1
    copy.mirror_backend = backend
    copy.downstream = c.downstream
    copy.original_dst = c.original_dst
    copy.speaker = SPEAKER_DOWNSTREAM
    copy.phase = PHASE_RELAYING
    copy.mode = MODE_HTTP
    conn_label(w, copy, PROTOCOL_HTTP1)
    count(&w.stats.events[EVENT_MIRRORED])
    if not mirror_write(w, copy, c.exchange):
        conn_close(w, copy, REASON_NO_MEMORY)
        return
    copy.is_pending_new = 1
    conn_arm_timer(w, copy)
    conn_queue_ready(w, copy)


# Send what was asked to whoever is to have a copy of it. Call it once, when it is answered.
cdef inline void mirror_send(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint8_t i
    for i in range(x.mirror_count):
        if x.replay == NULL or x.request_state != REQUEST_DONE:
            count(&w.stats.events[EVENT_MIRROR_DROPPED])
        else:
            mirror_open(w, c, x.mirrors[i])
    x.mirror_count = 0
