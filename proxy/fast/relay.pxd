# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. The relay: what one side says reaches the other, in order, whole, with bounded memory.
#
# Sockets are registered once, edge-triggered (worker.pxd). An edge sets is_readable or is_writable;
# pump() goes on until the kernel says EAGAIN or a read comes back short, which proves the same
# with one call less, unless a FIN, a RST or urgent data was announced behind those bytes.
#
# A message costs recv and send. Bytes land in the worker's scratch and are written from there;
# only what the target does not take is copied to a buffer of its own, and until that is gone the
# source is not read (backpressure by the kernel's windows). A flow that fills its reads goes by
# splice(2) instead, and comes back when its reads get small.
#
# Hazard: pump() may close the connection (conn_close marks it); the loops look at close_reason.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from proxy.fast.buf cimport buf_append, buf_at, buf_consume, buf_length
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.conn cimport (
    conn_arm_timer, conn_close, conn_drop_flow, conn_label, conn_queue_ready,
)
from proxy.fast.detect cimport detect_feed, detect_finish, detect_upstream_first
from proxy.fast.limits cimport (
    BUF_BYTES, BULK_BYTES_MIN, BULK_READS_MIN, FLOW_TURN_BYTES, PIPE_BYTES, SMALL_READS_MAX,
)
from proxy.fast.pipes cimport pipe_give, pipe_take
from proxy.fast.platform cimport (
    EAGAIN, EINTR, EINVAL, EPROTO, ETIMEDOUT, SPLICE_F_MOVE, SPLICE_F_NONBLOCK, errno, splice,
)
from proxy.fast.reasons cimport (
    EVENT_SPLICE_NO_PIPE, EVENT_SPLICE_STARTED, FP_AGAIN, FP_DONE, FP_OK, PHASE_CONNECTING,
    PHASE_HALF_OPEN, PROTOCOL_PENDING, REASON_DOWNSTREAM_RESET, REASON_DOWNSTREAM_TIMEOUT,
    REASON_NO_MEMORY, REASON_OK, REASON_OPEN, REASON_TLS_BROKEN, REASON_UPSTREAM_RESET,
    REASON_UPSTREAM_TIMEOUT, SPEAKER_DOWNSTREAM, SPEAKER_NONE, SPEAKER_UPSTREAM,
)
from proxy.fast.side cimport (
    side_both_plain, side_flush, side_has_unsent, side_is_written, side_recv, side_send,
    side_shutdown, side_trim, side_turn_bytes,
)
from proxy.fast.slab cimport slab_take
from proxy.fast.stats cimport count, count_many
from proxy.fast.types cimport (
    DOWNSTREAM, FLOW_COPY, FLOW_SPLICE, MODE_HTTP, UPSTREAM, conn_t, flow_t, side_t, sni_t,
    worker_t,
)


# The reason when side `i` failed with `error`.
cdef inline uint8_t relay_failure(int i, int error) noexcept nogil:
    if error == EPROTO:
        return REASON_TLS_BROKEN
    if error == ETIMEDOUT:
        return REASON_DOWNSTREAM_TIMEOUT if i == DOWNSTREAM else REASON_UPSTREAM_TIMEOUT
    return REASON_DOWNSTREAM_RESET if i == DOWNSTREAM else REASON_UPSTREAM_RESET


# Label the connection by its first bytes; `source` is what side `i` just said.
cdef inline void relay_detect(
    worker_t* w, conn_t* c, int i, const char* source, uint32_t length,
) noexcept nogil:
    if c.speaker == SPEAKER_NONE:
        c.speaker = SPEAKER_DOWNSTREAM if i == DOWNSTREAM else SPEAKER_UPSTREAM
        if i == UPSTREAM:
            detect_upstream_first(&c.detect, <const uint8_t*>source, length)
        elif source[0] == 0x16:
            c.sni = <sni_t*>slab_take(&w.snis)      # NULL: the name will not be recorded
    if i == UPSTREAM:
        detect_finish(&c.detect, c.sni)
    elif not detect_feed(
            &c.detect, <const uint8_t*>source, length, w.snapshot.detect_bytes_max, c.sni):
        return
    conn_label(w, c, c.detect.protocol)


cdef inline void relay_count_read(worker_t* w, conn_t* c, int i, int64_t length) noexcept nogil:
    c.flows[i].read_bytes += length
    c.active_ms = w.now_ms
    count_many(&w.stats.bytes[c.direction][0 if i == DOWNSTREAM else 2], length)


cdef inline void relay_count_written(worker_t* w, conn_t* c, int i, int64_t length) noexcept nogil:
    c.flows[i].written_bytes += length
    c.active_ms = w.now_ms
    count_many(&w.stats.bytes[c.direction][3 if i == DOWNSTREAM else 1], length)


# The target of flow `i` takes no more bytes: it was reset. What it said before that still goes to
# the other side, as it would without us; then both learn of the reset.
cdef inline void relay_break(worker_t* w, conn_t* c, int i, int error) noexcept nogil:
    cdef flow_t* flow = &c.flows[i]
    if c.mode == MODE_HTTP:
        conn_drop_flow(w, c, i)
        c.broken_side = <uint8_t>(2 - i)        # the exchange decides (h1.pxd: h1_settle)
        return
    flow.is_broken = 1
    conn_drop_flow(w, c, i)
    if not c.flows[1 - i].is_broken:
        c.sides[1 - i].is_readable = 1
        relay_pump_connected(w, c, 1 - i)
    conn_close(w, c, relay_failure(1 - i, error))


# May bytes of flow `i` be written now? A dial in mesh TLS can write long before it is known who is
# there: until then, nothing is for it.
cdef inline bint relay_may_write(const conn_t* c, int i) noexcept nogil:
    return c.sides[1 - i].is_writable and not (i == DOWNSTREAM and c.phase == PHASE_CONNECTING)


# Write what waits in flow `i`. FP_OK: nothing waits any more. FP_AGAIN: the target is full.
# FP_DONE: the connection is closed.
cdef inline int relay_flush(worker_t* w, conn_t* c, int i) noexcept nogil:
    cdef flow_t* flow = &c.flows[i]
    cdef side_t* target = c.sides[1 - i]
    cdef int64_t n
    cdef int status
    while not side_is_written(c, i):
        if not relay_may_write(c, i):
            return FP_AGAIN
        if side_has_unsent(target):
            status = side_flush(w, target)
            if status == FP_DONE:
                relay_break(w, c, i, errno)
            if status != FP_OK:
                return status
            continue
        if flow.held != NULL:
            n = side_send(w, target, buf_at(flow.held, flow.held.start), buf_length(flow.held))
        else:
            n = splice(flow.pipe.read_fd, NULL, target.fd, NULL, flow.pipe.held_bytes,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if n < 0:
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                relay_break(w, c, i, errno)
                return FP_DONE
            target.is_writable = 0
            return FP_AGAIN
        relay_count_written(w, c, i, n)
        if flow.held != NULL:
            buf_consume(&w.bufs, &flow.held, <uint32_t>n)
        else:
            flow.pipe.held_bytes -= <uint32_t>n
            if flow.pipe.held_bytes == 0:
                pipe_give(&w.pipes, flow.pipe)
                flow.pipe = NULL
    return FP_OK


# Keep bytes that could not be written. FP_DONE: no memory, closed.
cdef inline int relay_hold(
    worker_t* w, conn_t* c, int i, const char* source, uint32_t length,
) noexcept nogil:
    if not buf_append(&w.bufs, &c.flows[i].held, source, length):
        conn_close(w, c, REASON_NO_MEMORY)
        return FP_DONE
    return FP_OK


# Write bytes of flow `i`, or keep them: FP_OK in both cases. What already waits goes first.
# FP_DONE: closed.
cdef inline int relay_write(
    worker_t* w, conn_t* c, int i, const char* source, uint32_t length,
) noexcept nogil:
    cdef side_t* target = c.sides[1 - i]
    cdef int64_t written = 0
    if side_is_written(c, i) and relay_may_write(c, i):
        written = side_send(w, target, source, length)
        if written < 0:
            if errno != EAGAIN and errno != EINTR:
                relay_break(w, c, i, errno)
                return FP_DONE
            target.is_writable = errno == EINTR
            written = 0
        relay_count_written(w, c, i, written)
    if written < length:
        return relay_hold(w, c, i, source + written, <uint32_t>(length - written))
    return FP_OK


# A read of side `i` returned `n` <= 0. FP_OK: EOF was noted. FP_AGAIN: drained. FP_DONE: closed.
cdef inline int relay_read_ended(worker_t* w, conn_t* c, int i, int64_t n) noexcept nogil:
    if n == 0:
        c.flows[i].has_eof = 1
        if c.protocol == PROTOCOL_PENDING and c.speaker != SPEAKER_NONE:
            detect_finish(&c.detect, c.sni)
            conn_label(w, c, c.detect.protocol)
        return FP_OK
    if errno == EAGAIN:
        c.sides[i].is_readable = 0
        return FP_AGAIN
    if errno == EINTR:
        return FP_OK
    conn_close(w, c, relay_failure(i, errno))
    return FP_DONE


# Read once into the scratch and write from there. `limit`: bytes wanted at most.
# FP_OK: go on. FP_AGAIN: the source is drained. FP_DONE: closed.
cdef inline int relay_copy(
    worker_t* w, conn_t* c, int i, uint32_t limit, int64_t* turn_bytes,
) noexcept nogil:
    cdef flow_t* flow = &c.flows[i]
    cdef side_t* source = c.sides[i]
    cdef int64_t n = side_recv(w, source, limit)
    if n <= 0:
        return relay_read_ended(w, c, i, n)
    turn_bytes[0] -= side_turn_bytes(source, n)
    relay_count_read(w, c, i, n)
    if c.protocol == PROTOCOL_PENDING:
        relay_detect(w, c, i, w.scratch, <uint32_t>n)
    if n < limit or not side_both_plain(c):
        flow.streak = 0
    elif limit == BUF_BYTES:
        flow.streak += 1
        if flow.streak >= BULK_READS_MIN and w.snapshot.splice_enabled:
            flow.mode = FLOW_SPLICE
            flow.streak = 0
            c.is_spliced = 1
            count(&w.stats.events[EVENT_SPLICE_STARTED])
        elif flow.streak >= BULK_READS_MIN:
            flow.streak = BULK_READS_MIN
    return relay_write(w, c, i, w.scratch, <uint32_t>n)


# The pipe has room: take what came meanwhile, so that it goes out, and wakes its reader, once.
# EAGAIN proves nothing here: small fragments can fill the pipe's slots long before its bytes.
cdef inline void relay_splice_more(
    worker_t* w, conn_t* c, int i, uint64_t limit, int64_t* turn_bytes,
) noexcept nogil:
    cdef flow_t* flow = &c.flows[i]
    cdef uint64_t room = PIPE_BYTES - flow.pipe.held_bytes
    cdef int64_t n
    cdef int error
    if room > limit:
        room = limit
    if room == 0:
        return
    n = splice(c.sides[i].fd, NULL, flow.pipe.write_fd, NULL, room,
               SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    if n > 0:
        flow.pipe.held_bytes += <uint32_t>n
        turn_bytes[0] -= n
        relay_count_read(w, c, i, n)
        return
    error = errno
    if n == 0 or error in (EAGAIN, EINTR, EINVAL):
        return                          # met again when the pipe is empty
    relay_flush(w, c, i)                # told only once: write what came before it, then pass it on
    conn_close(w, c, relay_failure(i, error))


# Fill a pipe with up to `limit` bytes of the source; relay_flush() empties it. Same results as
# relay_copy().
cdef inline int relay_splice(
    worker_t* w, conn_t* c, int i, uint64_t limit, int64_t* turn_bytes,
) noexcept nogil:
    cdef flow_t* flow = &c.flows[i]
    cdef int64_t n
    cdef int status
    FP_ASSERT(flow.pipe == NULL)
    flow.pipe = pipe_take(&w.pipes)
    if flow.pipe == NULL:
        count(&w.stats.events[EVENT_SPLICE_NO_PIPE])
        flow.mode = FLOW_COPY
        return FP_OK
    n = splice(c.sides[i].fd, NULL, flow.pipe.write_fd, NULL,
               PIPE_BYTES if limit > PIPE_BYTES else limit, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    if n > 0:
        flow.pipe.held_bytes = <uint32_t>n
        turn_bytes[0] -= n
        relay_count_read(w, c, i, n)
        relay_splice_more(w, c, i, limit - n, turn_bytes)
        flow.streak = flow.streak + 1 if n < BULK_BYTES_MIN else 0
        if flow.streak >= SMALL_READS_MAX:
            flow.mode = FLOW_COPY
            flow.streak = 0
        return FP_OK
    status = FP_OK
    if n == 0 or errno == EINVAL or (errno == EAGAIN and c.sides[i].is_urgent):
        # Splice cannot pass an urgent mark: it says EAGAIN there, or EOF when the FIN is in. Nor
        # can it read every kind of socket. recv will tell.
        flow.mode = FLOW_COPY
    else:
        status = relay_read_ended(w, c, i, n)
    pipe_give(&w.pipes, flow.pipe)
    flow.pipe = NULL
    return status


# Everything that side `i` said was written, its FIN is next. Both FINs passed: the end.
cdef inline void relay_pass_fin(worker_t* w, conn_t* c, int i) noexcept nogil:
    cdef flow_t* flow = &c.flows[i]
    cdef int status = FP_OK
    if flow.has_passed_fin:
        return
    if not c.flows[1 - i].has_passed_fin or c.sides[1 - i].tls != NULL:
        status = side_shutdown(w, c.sides[1 - i])
    if status == FP_AGAIN:
        return                          # close_notify finds no room: once it does, again
    flow.has_passed_fin = 1
    if status == FP_DONE:
        conn_close(w, c, relay_failure(1 - i, errno))
        return
    if c.flows[1 - i].has_passed_fin:
        conn_close(w, c, REASON_OK)     # closing plain sockets sends this FIN, too
        return
    c.phase = PHASE_HALF_OPEN
    c.active_ms = w.now_ms
    conn_arm_timer(w, c)


# While the upstream is being dialled: read what the downstream says, up to one buffer. More may be
# held already: by the look at its first bytes, or because records hold more than was wanted.
cdef inline void relay_read_early(worker_t* w, conn_t* c) noexcept nogil:
    cdef flow_t* flow = &c.flows[DOWNSTREAM]
    cdef int64_t turn_bytes = BUF_BYTES
    cdef uint32_t held_bytes
    while c.sides[DOWNSTREAM].is_readable and not flow.has_eof:
        held_bytes = 0 if flow.held == NULL else buf_length(flow.held)
        if held_bytes >= BUF_BYTES or relay_copy(
                w, c, DOWNSTREAM, BUF_BYTES - held_bytes, &turn_bytes) != FP_OK:
            return


# Move flow `i` of a connected pair as far as it goes now.
cdef inline void relay_pump_connected(worker_t* w, conn_t* c, int i) noexcept nogil:
    cdef flow_t* flow = &c.flows[i]
    cdef side_t* source = c.sides[i]
    cdef int64_t turn_bytes = FLOW_TURN_BYTES
    cdef int status
    while c.close_reason == REASON_OPEN:
        status = relay_flush(w, c, i)
        if status != FP_OK:
            return
        if flow.has_eof:
            # Behind a failed write this may be the reset, its error already taken by the write.
            if not c.flows[1 - i].is_broken:
                relay_pass_fin(w, c, i)
            return
        if not source.is_readable:
            side_trim(c.sides[1 - i])
            return
        if turn_bytes <= 0:
            conn_queue_ready(w, c)
            return
        if flow.mode == FLOW_SPLICE:
            status = relay_splice(w, c, i, PIPE_BYTES, &turn_bytes)
        else:
            status = relay_copy(w, c, i, BUF_BYTES, &turn_bytes)
        if status == FP_DONE:
            return


# Move flow `i` as far as the phase of the connection allows.
cdef inline void relay_pump(worker_t* w, conn_t* c, int i) noexcept nogil:
    if c.close_reason != REASON_OPEN:
        return
    if c.phase == PHASE_CONNECTING:
        if i == DOWNSTREAM:
            relay_read_early(w, c)
        return
    relay_pump_connected(w, c, i)
