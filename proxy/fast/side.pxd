# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. One socket of a connection, in plaintext or TLS: the few operations that all others use.
#
# They are recv, send and shutdown: the same results, the same errno. What TLS adds:
#   ECONNRESET  the peer closed without close_notify: a truncation, and passed on as one
#   EPROTO      a record that is none
# Rule 1: bytes that side_send() took are not lost: records that the socket does not take wait in
#         tls.unsent, at most one write, and until they are gone nothing more is taken.
from libc.stdint cimport int64_t, uint32_t

from proxy.fast.buf cimport buf_append, buf_at, buf_consume, buf_length
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.limits cimport (
    BUF_BYTES, SCRATCH_BYTES, TLS_UNSENT_BYTES_MAX, TLS_WORDLESS_READS_MAX, TLS_WRITE_BYTES_MAX,
)
from proxy.fast.peer cimport peer_forget
from proxy.fast.platform cimport (
    EAGAIN, ECONNRESET, EINTR, ENOMEM, EPROTO, MSG_NOSIGNAL, SHUT_WR, errno, recv, send,
    set_errno, shutdown,
)
from proxy.fast.reasons cimport (
    FP_AGAIN, FP_DONE, FP_OK, TLS_FAILED_NONE, TLS_FAILED_PROTOCOL, TLS_FAILED_RESOURCES,
)
from proxy.fast.records cimport TLS_READ_AGAIN, TLS_READ_END
from proxy.fast.stats cimport count_many, uncount
from proxy.fast.tls cimport (
    tls_feed, tls_free, tls_is_drained, tls_output, tls_output_taken, tls_read, tls_say_end,
    tls_trim, tls_write,
)
from proxy.fast.types cimport FD_VOID, TLS_OPEN, buf_t, conn_t, side_t, tls_t, worker_t
from libc.string cimport memcpy


# A read of `n` bytes into room for `limit` that was announced by an edge: is there more?
cdef inline void side_note_read(side_t* side, int64_t n, uint32_t limit) noexcept nogil:
    if 0 < n < limit:
        side.is_readable = side.is_hungup | side.is_urgent


# Send what TLS wrote; keep what the socket does not take. FP_DONE: errno says why.
cdef inline int side_push(worker_t* w, side_t* side) noexcept nogil:
    cdef tls_t* tls = side.tls
    cdef char* data = NULL
    cdef uint32_t length = tls_output(w, tls, &data)
    cdef int64_t sent = 0
    if length == 0:
        return FP_OK
    if tls.unsent != NULL and buf_length(tls.unsent) + length > TLS_UNSENT_BYTES_MAX:
        tls.failure = TLS_FAILED_PROTOCOL
        set_errno(EPROTO)
        return FP_DONE
    if tls.unsent == NULL and side.is_writable:
        sent = send(side.fd, data, length, MSG_NOSIGNAL)
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                return FP_DONE
            side.is_writable = errno == EINTR
            sent = 0
    if sent < length and not buf_append(
            &w.bufs, &tls.unsent, data + sent, <uint32_t>(length - sent)):
        set_errno(ENOMEM)
        return FP_DONE
    tls_output_taken(tls, length, w.cipher)
    return FP_OK


cdef inline bint side_has_unsent(const side_t* side) noexcept nogil:
    return side.tls != NULL and side.tls.unsent != NULL


# Send what waits. FP_OK: nothing does any more. FP_AGAIN: the socket is full. FP_DONE: errno.
cdef inline int side_flush(worker_t* w, side_t* side) noexcept nogil:
    cdef buf_t* unsent
    cdef int64_t sent
    while side_has_unsent(side):
        if not side.is_writable:
            return FP_AGAIN
        unsent = side.tls.unsent
        sent = send(side.fd, buf_at(unsent, unsent.start), buf_length(unsent), MSG_NOSIGNAL)
        if sent < 0:
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                return FP_DONE
            side.is_writable = 0
            return FP_AGAIN
        buf_consume(&w.bufs, &side.tls.unsent, <uint32_t>sent)
    return FP_OK


# Decrypt everything that was fed into the scratch. Returns the bytes, 0 when there are none yet.
# What follows them, the end or a failure, is met by the next read.
cdef inline uint32_t side_decrypt(worker_t* w, side_t* side) noexcept nogil:
    cdef tls_t* tls = side.tls
    cdef uint32_t total = 0
    cdef int n = 1
    while n > 0:
        FP_ASSERT(total < SCRATCH_BYTES)
        n = tls_read(w, tls, w.scratch + total, SCRATCH_BYTES - total)
        if n > 0:
            total += <uint32_t>n
            if tls_is_drained(tls):
                n = TLS_READ_AGAIN          # as the next call would say
    if n == TLS_READ_END:
        tls.has_ended = 1
    if n != TLS_READ_AGAIN:
        side.is_readable = 1
    count_many(&w.stats.tls_bytes[0], total)
    return total


# The same, from the socket. See side_recv().
cdef inline int64_t side_recv_tls(worker_t* w, side_t* side) noexcept nogil:
    cdef tls_t* tls = side.tls
    cdef int64_t n
    cdef int reads = 0
    tls.read_bytes = 0
    while True:
        if tls.plain != NULL:
            n = buf_length(tls.plain)
            FP_ASSERT(n <= SCRATCH_BYTES)
            memcpy(w.scratch, buf_at(tls.plain, tls.plain.start), n)
            buf_consume(&w.bufs, &tls.plain, <uint32_t>n)
            return n
        if tls.has_ended:
            return 0
        if reads > TLS_WORDLESS_READS_MAX:
            tls.failure = TLS_FAILED_PROTOCOL
        if tls.failure != TLS_FAILED_NONE:
            set_errno(EPROTO)
            return -1
        n = recv(side.fd, w.cipher, BUF_BYTES, 0)
        if n < 0:
            return -1
        if n == 0:
            set_errno(ECONNRESET)
            return -1
        side_note_read(side, n, BUF_BYTES)
        reads += 1
        tls.read_bytes += <uint32_t>n
        if not tls_feed(tls, w.cipher, <uint32_t>n):
            set_errno(ENOMEM)
            return -1
        n = side_decrypt(w, side)
        if side_push(w, side) != FP_OK:         # an answer of TLS itself: a key update, an alert
            return -1
        if n > 0:
            return n
        if not side.is_readable:
            set_errno(EAGAIN)
            return -1


# Read into w.scratch, as recv(2) does. `limit` is of what is read from the socket; of TLS up to a
# record more can come of it. Clears side.is_readable when there is no more.
cdef inline int64_t side_recv(worker_t* w, side_t* side, uint32_t limit) noexcept nogil:
    cdef int64_t n
    FP_ASSERT(limit <= SCRATCH_BYTES)
    if side.tls != NULL:
        return side_recv_tls(w, side)
    n = recv(side.fd, w.scratch, limit, 0)
    side_note_read(side, n, limit)
    return n


# What a read of `n` bytes takes of a turn. In TLS the records count: they can be padded, or hold a
# byte each, and they are what the time went into.
cdef inline int64_t side_turn_bytes(const side_t* side, int64_t n) noexcept nogil:
    return side.tls.read_bytes if side.tls != NULL and side.tls.read_bytes > n else n


# Did this side say something, or end? An edge tells that of plaintext; of TLS it may have been
# about records without a word in them (tickets, keys), or about what the handshake has read. The
# word is kept for the next side_recv(). The scratch is overwritten.
cdef inline bint side_has_word(worker_t* w, side_t* side) noexcept nogil:
    cdef tls_t* tls = side.tls
    cdef int64_t n
    if tls == NULL or not side.is_readable:
        return side.is_readable
    if tls.plain != NULL or tls.has_ended or tls.failure != TLS_FAILED_NONE:
        return True
    n = side_recv_tls(w, side)
    if n < 0 and errno == EAGAIN:
        side.is_readable = 0
        return False
    side.is_readable = 1                # an end or a failure is met again
    if n > 0 and not buf_append(&w.bufs, &tls.plain, w.scratch, <uint32_t>n):
        tls.failure = TLS_FAILED_RESOURCES
    return True


# Write, as send(2) does. TLS may take less than it is given.
cdef inline int64_t side_send(
    worker_t* w, side_t* side, const char* source, uint32_t length,
) noexcept nogil:
    cdef int64_t n
    cdef int status
    if side.tls == NULL:
        n = send(side.fd, source, length, MSG_NOSIGNAL)
        return length if n < 0 and side.fd == FD_VOID else n
    FP_ASSERT(side.tls.state == TLS_OPEN)
    if side.tls.state != TLS_OPEN:              # whatever our fault: nothing for a stranger
        set_errno(EPROTO)
        return -1
    status = side_flush(w, side)
    if status == FP_AGAIN:
        set_errno(EAGAIN)
    if status != FP_OK:
        return -1
    if length > TLS_WRITE_BYTES_MAX:
        length = TLS_WRITE_BYTES_MAX
    if not tls_write(w, side.tls, source, length):
        set_errno(EPROTO)
        return -1
    if side_push(w, side) != FP_OK:
        return -1
    count_many(&w.stats.tls_bytes[1], length)
    return length


# Say that nothing more comes: close_notify, FIN. FP_AGAIN: once there is room. FP_DONE: errno.
cdef inline int side_shutdown(worker_t* w, side_t* side) noexcept nogil:
    cdef int status
    if side.tls != NULL:
        tls_say_end(w, side.tls)
        if side_push(w, side) != FP_OK:
            return FP_DONE
        status = side_flush(w, side)
        if status != FP_OK:
            return status
    return FP_OK if shutdown(side.fd, SHUT_WR) == 0 else FP_DONE


# The socket is about to be closed in good order: say so within TLS, if there is room for it.
cdef inline void side_say_end(worker_t* w, side_t* side) noexcept nogil:
    if side.tls != NULL and side.tls.state == TLS_OPEN and side.tls.unsent == NULL:
        tls_say_end(w, side.tls)
        side_push(w, side)


# Free the TLS of a socket that is closed; at the end of the tick only.
cdef inline void side_free_tls(worker_t* w, side_t* side) noexcept nogil:
    cdef tls_t* tls = side.tls
    if tls == NULL:
        return
    if tls.state == TLS_OPEN:
        uncount(&w.stats.tls_open[tls.is_server])
    peer_forget(tls)
    tls_free(w, tls)
    side.tls = NULL


# splice(2) moves what nobody has to look at.
cdef inline bint side_both_plain(const conn_t* c) noexcept nogil:
    return c.sides[0].tls == NULL and c.sides[1].tls == NULL


# The connection is quiet for now: give back what large writes took.
cdef inline void side_trim(side_t* side) noexcept nogil:
    if side.tls != NULL:
        tls_trim(side.tls)


# Is everything that side `i` said written to the other side's socket?
cdef inline bint side_is_written(const conn_t* c, int i) noexcept nogil:
    return c.flows[i].held == NULL and c.flows[i].pipe == NULL and not side_has_unsent(
        c.sides[1 - i])
