# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. TLS handshakes on either side of a connection, up to "this is who it is".
#
# OpenSSL verifies the chain while it shakes hands. Then the identity: known from an earlier
# connection, or asked of Python, which answers by COMMAND_PEER; the connection waits, its timer
# runs.
#
# Rule 1: whatever fails fails closed and is counted once, in shake_failed().
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from proxy.fast.buf cimport buf_append
from proxy.fast.conn cimport conn_queue_ready
from proxy.fast.limits cimport ASK_AGAIN_MS, BUF_BYTES, SHA256_BYTES
from proxy.fast.messages cimport COMMAND_PEER, command_t, peer_answer_t, peer_question_t
from proxy.fast.openssl cimport openssl
from proxy.fast.peer cimport peer_find, peer_free, peer_new
from proxy.fast.platform cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, EAGAIN, EINTR, clock_us, errno, recv,
)
from proxy.fast.reasons cimport (
    FP_AGAIN, FP_DONE, FP_OK, HANDLING_DETECT, HANDLING_OPAQUE, TLS_FAILED_CLOSED,
    TLS_FAILED_NO_CERTIFICATE, TLS_FAILED_RESOURCES, TLS_FAILED_UNEXPECTED,
)
from proxy.fast.ring cimport ring_peek, ring_post, ring_reserve, ring_take
from proxy.fast.side cimport side_decrypt, side_flush, side_note_read, side_push
from proxy.fast.snapshot cimport mesh_t
from proxy.fast.stats cimport count, observe
from proxy.fast.tls cimport tls_end_handshake, tls_feed, tls_shake, tls_take_over
from proxy.fast.types cimport (
    PEER_ASKED, PEER_KNOWN, PEER_REFUSED, TLS_ASKING, TLS_OPEN, TLS_SHAKING, conn_t, peer_t,
    side_t, tls_t, worker_t,
)


# May new mesh connections be made? Not without a certificate, nor with one that has ended.
cdef inline bint shake_is_possible(const worker_t* w) noexcept nogil:
    if w.snapshot.server_context == NULL:
        return False
    return clock_us(CLOCK_REALTIME) // 1000000 < w.snapshot.identity_ends_s


# Count a failed handshake of ours. `failure` is used when OpenSSL gave no reason.
cdef inline void shake_failed(worker_t* w, tls_t* tls, uint8_t failure) noexcept nogil:
    if tls.state == TLS_OPEN:
        return
    if tls.failure == 0:
        tls.failure = failure
    count(&w.stats.tls_failed[tls.is_server][tls.failure])


# Ask Python who this is. False: too many questions.
cdef inline bint shake_ask(worker_t* w, peer_t* peer, void* certificate) noexcept nogil:
    cdef peer_question_t* question = <peer_question_t*>ring_reserve(&w.questions)
    if question == NULL:
        return False
    question.certificate = certificate
    question.bundle_generation = peer.bundle_generation
    memcpy(question.digest, peer.digest, SHA256_BYTES)
    peer.asked_ms = w.now_ms
    ring_post(&w.questions)
    w.must_wake_python = 1
    return True


# Did the answer get lost? Whoever comes next asks again, or nobody with that certificate would ever
# be let in. An answer that comes twice is heard once.
cdef inline bint shake_is_late(const worker_t* w, const peer_t* peer) noexcept nogil:
    return peer.state == PEER_ASKED and w.now_ms - peer.asked_ms >= ASK_AGAIN_MS


# The handshake is over: find the peer of the certificate, or ask. FP_OK: tls.peer is there, and
# maybe not known yet. FP_DONE: failed.
cdef inline int shake_meet(worker_t* w, tls_t* tls) noexcept nogil:
    cdef void* certificate = openssl.SSL_get_peer_certificate(tls.ssl)     # own
    cdef uint8_t digest[SHA256_BYTES]
    cdef unsigned int length = SHA256_BYTES
    cdef peer_t* peer
    if certificate == NULL:
        tls.failure = TLS_FAILED_NO_CERTIFICATE
        return FP_DONE
    if w.digest == NULL:
        w.digest = openssl.EVP_get_digestbyname(b"SHA256")
    # Without memory there is no digest, and what stands there is that of somebody else.
    if w.digest == NULL or openssl.X509_digest(certificate, w.digest, digest, &length) != 1:
        openssl.X509_free(certificate)
        tls.failure = TLS_FAILED_RESOURCES
        return FP_DONE
    peer = peer_find(w, digest, tls.bundle_generation)
    if peer == NULL:
        peer = peer_new(w, digest, tls.bundle_generation)
        if peer == NULL or not shake_ask(w, peer, certificate):
            if peer != NULL:
                peer_free(w, peer)              # nobody has met it yet
            openssl.X509_free(certificate)
            tls.failure = TLS_FAILED_RESOURCES
            return FP_DONE
    elif not shake_is_late(w, peer) or not shake_ask(w, peer, certificate):
        openssl.X509_free(certificate)
    tls.peer = peer
    peer.use_count += 1
    return FP_OK


# Is the peer the one that the configuration expects behind this address?
cdef inline bint shake_is_expected(const tls_t* tls, const mesh_t* mesh) noexcept nogil:
    return tls.peer.id_bytes == mesh.id_bytes and memcmp(
        tls.peer.id, mesh.id, mesh.id_bytes) == 0


# What Python said of the peer. FP_AGAIN: nothing yet, `c` is queued once it has.
cdef inline int shake_judge(
    worker_t* w, conn_t* c, tls_t* tls, const mesh_t* mesh,
) noexcept nogil:
    cdef peer_t* peer = tls.peer
    if peer.state == PEER_ASKED:
        if tls.waiter == NULL:
            tls.waiter = c
            tls.next_waiter = peer.first_waiter
            peer.first_waiter = tls
        return FP_AGAIN
    if peer.state == PEER_REFUSED:
        tls.failure = peer.failure
        return FP_DONE
    if mesh != NULL and not shake_is_expected(tls, mesh):
        tls.failure = TLS_FAILED_UNEXPECTED
        return FP_DONE
    tls.state = TLS_OPEN
    count(&w.stats.tls_open[tls.is_server])
    count(&w.stats.tls_handshakes[tls.is_server])
    observe(w.stats.tls_bucket[tls.is_server], &w.stats.tls_sum_us[tls.is_server],
            clock_us(CLOCK_MONOTONIC) - tls.began_us)
    return FP_OK


# OpenSSL has what it wants: keep what the peer said behind its handshake, and look who it is.
cdef inline int shake_finish(worker_t* w, side_t* side) noexcept nogil:
    cdef tls_t* tls = side.tls
    cdef uint32_t n
    if not tls_take_over(tls):
        tls.failure = TLS_FAILED_RESOURCES
        return FP_DONE
    n = side_decrypt(w, side)
    if side_push(w, side) != FP_OK:             # what TLS answers to what stood behind it
        tls.failure = TLS_FAILED_CLOSED
        return FP_DONE
    tls.state = TLS_ASKING
    if n > 0 and not buf_append(&w.bufs, &tls.plain, w.scratch, n):
        tls.failure = TLS_FAILED_RESOURCES
        return FP_DONE
    if tls.plain != NULL:
        side.is_readable = 1
    if shake_meet(w, tls) != FP_OK:
        return FP_DONE
    tls_end_handshake(tls)
    return FP_OK


# More of the peer's side of the handshake, from the socket. FP_DONE: it went away.
cdef inline int shake_recv(worker_t* w, side_t* side) noexcept nogil:
    cdef int64_t n
    if not side.is_readable:
        return FP_AGAIN
    n = recv(side.fd, w.cipher, BUF_BYTES, 0)
    if n > 0:
        side_note_read(side, n, BUF_BYTES)
        if tls_feed(side.tls, w.cipher, <uint32_t>n):
            return FP_OK
        side.tls.failure = TLS_FAILED_RESOURCES
        return FP_DONE
    if n < 0 and errno == EAGAIN:
        side.is_readable = 0
        return FP_AGAIN
    if n < 0 and errno == EINTR:
        return FP_OK
    side.tls.failure = TLS_FAILED_CLOSED
    return FP_DONE


# Go on with the handshake of a side of `c`; records may have been fed before. `mesh`: who must be
# there, NULL for a downstream. FP_OK: it is over and
# the peer known, tls.plain has what it said already. FP_AGAIN: an event or the worker comes back.
# FP_DONE: it failed, and was counted.
cdef inline int shake_pump(
    worker_t* w, conn_t* c, side_t* side, const mesh_t* mesh,
) noexcept nogil:
    cdef tls_t* tls = side.tls
    cdef int status = FP_OK
    while tls.state == TLS_SHAKING and status == FP_OK:
        status = tls_shake(tls)
        # Also the alert that says why it failed; who is gone already does not change why.
        if side_push(w, side) != FP_OK or side_flush(w, side) == FP_DONE:
            status = FP_DONE
        if status == FP_OK:
            status = shake_finish(w, side)
        elif status == FP_AGAIN:
            status = shake_recv(w, side)
    if status == FP_OK and tls.state == TLS_ASKING:
        status = side_flush(w, side)            # our last flight, where the socket was full
    if status == FP_OK and tls.state == TLS_ASKING:
        status = shake_judge(w, c, tls, mesh)
    if status == FP_DONE:
        shake_failed(w, tls, TLS_FAILED_CLOSED)
    return status


# What the downstream said it speaks, by ALPN: HANDLING_DETECT for what must be looked at.
cdef inline uint8_t shake_inner(const tls_t* tls, bint* is_http) noexcept nogil:
    is_http[0] = tls.alpn_bytes == 15 or tls.alpn_bytes == 8    # remora-http/1.1, http/1.1
    return HANDLING_OPAQUE if tls.alpn_bytes == 10 else HANDLING_DETECT     # remora-tcp


# Python's answer. Takes over `answer`.
cdef inline void shake_answered(worker_t* w, peer_answer_t* answer) noexcept nogil:
    cdef peer_t* peer = peer_find(w, answer.digest, answer.bundle_generation)
    cdef tls_t* tls
    if peer != NULL and peer.state == PEER_ASKED:
        peer.state = PEER_REFUSED
        peer.failure = answer.failure if answer.failure else <uint8_t>TLS_FAILED_RESOURCES
        if answer.failure == 0:
            peer.id = <char*>malloc(answer.id_bytes)
        if peer.id != NULL:
            memcpy(peer.id, <char*>answer + sizeof(peer_answer_t), answer.id_bytes)
            peer.state = PEER_KNOWN
            peer.id_bytes = answer.id_bytes
            peer.namespace_at = answer.namespace_at
            peer.namespace_bytes = answer.namespace_bytes
            peer.account_at = answer.account_at
            peer.account_bytes = answer.account_bytes
            peer.trust_domain_bytes = answer.trust_domain_bytes
        while peer.first_waiter != NULL:
            tls = peer.first_waiter
            peer.first_waiter = tls.next_waiter
            conn_queue_ready(w, tls.waiter)
            tls.waiter = NULL
    free(answer)


# Certificates that nobody looked at, and answers that nobody heard.
cdef inline void shake_free_questions(worker_t* w) noexcept nogil:
    cdef peer_question_t* question
    cdef command_t* command
    if w.questions.items != NULL:
        question = <peer_question_t*>ring_peek(&w.questions)
        while question != NULL:
            openssl.X509_free(question.certificate)
            ring_take(&w.questions)
            question = <peer_question_t*>ring_peek(&w.questions)
    if w.commands.items != NULL:
        command = <command_t*>ring_peek(&w.commands)
        while command != NULL:
            if command.op == COMMAND_PEER:
                free(command.pointer)
            ring_take(&w.commands)
            command = <command_t*>ring_peek(&w.commands)
