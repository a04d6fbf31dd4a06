# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Mesh TLS that ends here: from a ClientHello to a downstream whose identity is known.
#
# Rule 1: nothing is dialled for a STRICT connection before its peer is known.
# Rule 2: no way leads from a handshake that failed to plaintext.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from proxy.fast.begin cimport begin_http, begin_may_be_http, begin_serve
from proxy.fast.buf cimport buf_at, buf_give, buf_length
from proxy.fast.conn cimport conn_arm_timer, conn_close, conn_queue_ready
from proxy.fast.limits cimport BUF_BYTES
from proxy.fast.platform cimport EAGAIN, EINTR, MSG_PEEK, errno, recv
from proxy.fast.policy cimport policy_has_probe
from proxy.fast.reasons cimport (
    FP_AGAIN, FP_DONE, HANDLING_OPAQUE, REASON_NO_IDENTITY, REASON_NO_MEMORY, REASON_OK,
    REASON_OPEN, REASON_PLAINTEXT_REFUSED, REASON_TLS_FAILED, SPEAKER_DOWNSTREAM,
)
from proxy.fast.relay cimport relay_failure
from proxy.fast.shake cimport shake_inner, shake_is_possible, shake_pump
from proxy.fast.side cimport side_note_read
from proxy.fast.tls cimport tls_feed, tls_new
from proxy.fast.types cimport DOWNSTREAM, MODE_TLS, conn_t, worker_t

cdef enum:
    TLS_HANDSHAKE_RECORD = 0x16         # RFC 8446 section 5.1


# Begin with what the downstream said so far, borrowed until this returns.
cdef inline void terminate_begin(
    worker_t* w, conn_t* c, const char* source, uint32_t length,
) noexcept nogil:
    c.mode = MODE_TLS
    c.may_be_mesh = 0
    if not shake_is_possible(w):
        conn_close(w, c, REASON_NO_IDENTITY)
        return
    c.down.tls = tls_new(w, w.snapshot.server_context, True)
    if c.down.tls == NULL or not tls_feed(c.down.tls, source, length):
        conn_close(w, c, REASON_NO_MEMORY)
        return
    terminate_shake(w, c)


# The same with the bytes that were held back while they were looked at.
cdef inline void terminate_held(worker_t* w, conn_t* c) noexcept nogil:
    terminate_begin(w, c, buf_at(c.pending, c.pending.start), buf_length(c.pending))
    buf_give(&w.bufs, c.pending)
    c.pending = NULL


# Who it is, is known: from here on the connection is like any other.
cdef inline void terminate_done(worker_t* w, conn_t* c) noexcept nogil:
    cdef bint is_http = False
    cdef uint8_t reason = REASON_OPEN
    if shake_inner(c.down.tls, &is_http) == HANDLING_OPAQUE:
        c.handling = HANDLING_OPAQUE
    c.active_ms = w.now_ms
    c.is_mesh = 1
    if is_http and begin_may_be_http(w, c):
        begin_http(w, c)
    else:
        reason = begin_serve(w, c)
    if reason != REASON_OPEN:
        conn_close(w, c, reason)
        return
    conn_arm_timer(w, c)
    conn_queue_ready(w, c)              # it may have said something already


cdef inline void terminate_shake(worker_t* w, conn_t* c) noexcept nogil:
    cdef int status = shake_pump(w, c, &c.down, NULL)
    if status == FP_DONE:
        conn_close(w, c, REASON_TLS_FAILED)
    elif status != FP_AGAIN:
        terminate_done(w, c)


# Who speaks plaintext where only TLS is let in may be the kubelet, which proves nothing: where our
# own pod's definition names probes of this port it is heard, and h1_request.pxd answers those only.
cdef inline void terminate_probe(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint8_t reason = REASON_PLAINTEXT_REFUSED
    if begin_may_be_http(w, c):
        c.is_probe_only = 1
        c.active_ms = w.now_ms
        reason = begin_serve(w, c)
    if reason != REASON_OPEN:
        conn_close(w, c, reason)
        return
    conn_arm_timer(w, c)
    conn_queue_ready(w, c)


# May a connection to this port be one of the kubelet's probes, though it speaks plaintext?
cdef inline bint terminate_may_be_probe(const worker_t* w, const conn_t* c) noexcept nogil:
    return c.is_judged and policy_has_probe(w.snapshot, c.original_dst.port)


# The first bytes where only TLS is let in.
cdef inline void terminate_first(worker_t* w, conn_t* c) noexcept nogil:
    cdef int64_t n
    if not c.down.is_readable:
        return
    if terminate_may_be_probe(w, c) and recv(c.down.fd, w.cipher, 1, MSG_PEEK) == 1 and (
            <uint8_t>w.cipher[0] != TLS_HANDSHAKE_RECORD):
        terminate_probe(w, c)
        return
    n = recv(c.down.fd, w.cipher, BUF_BYTES, 0)
    if n == 0:
        conn_close(w, c, REASON_OK)     # said nothing, wants nothing: a probe of the port
    elif n < 0 and errno == EAGAIN:
        c.down.is_readable = 0
    elif n < 0 and errno != EINTR:
        conn_close(w, c, relay_failure(DOWNSTREAM, errno))
    elif n > 0:
        side_note_read(&c.down, n, BUF_BYTES)
        c.speaker = SPEAKER_DOWNSTREAM
        if <uint8_t>w.cipher[0] == TLS_HANDSHAKE_RECORD:
            c.speaker = 0               # who speaks first within TLS is what counts
            terminate_begin(w, c, w.cipher, <uint32_t>n)
        else:
            conn_close(w, c, REASON_PLAINTEXT_REFUSED)


# Something happened on a connection whose TLS is not up yet.
cdef inline void terminate_pump(worker_t* w, conn_t* c) noexcept nogil:
    if c.down.tls == NULL:
        terminate_first(w, c)
    else:
        terminate_shake(w, c)
