# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. TLS as a codec: records in, plaintext out, and the other way. It knows no socket. OpenSSL
# makes the handshake; behind it records.pxd takes over, or OpenSSL goes on (crypto.pxd: where).
#
# Rule 1: OpenSSL reads from the memory that it was fed, which is read to its end before the next
#         call returns to the loop: what is left of a record stands in OpenSSL's own buffer.
# Rule 2: OpenSSL writes to a memory BIO, which is emptied after each call (side.pxd sends it). So
#         neither of them holds anything while nothing moves, and idle connections are small.
# Rule 3: after a failure nothing is asked of it any more but its last alert.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport strcmp

from proxy.fast.buf cimport buf_give
from proxy.fast.crypto cimport (
    CIPHER_AES_128_GCM, CIPHER_AES_256_GCM, CIPHER_CHACHA20_POLY1305, CIPHER_COUNT,
)
from proxy.fast.keyring cimport keys_t
from proxy.fast.limits cimport BUF_BYTES, TLS_KEPT_BYTES_MAX
from proxy.fast.openssl cimport (
    SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN, listen_for_secrets, openssl,
)
from proxy.fast.platform cimport CLOCK_MONOTONIC, clock_us
from proxy.fast.reasons cimport (
    FP_AGAIN, FP_DONE, FP_OK, TLS_FAILED_CLOSED, TLS_FAILED_EXPIRED, TLS_FAILED_NONE,
    TLS_FAILED_NOT_YET_VALID, TLS_FAILED_NO_CERTIFICATE, TLS_FAILED_PROTOCOL, TLS_FAILED_REFUSED,
    TLS_FAILED_UNTRUSTED, TLS_FAILED_USAGE, TLS_FAILED_VERSION,
)
from proxy.fast.records cimport (
    ALERT_CLOSE_NOTIFY, ALERT_WARNING, TLS_READ_AGAIN, TLS_READ_END, TLS_READ_FAILED,
    records_begin, records_feed, records_free, records_output, records_read, records_say_alert,
    records_write,
)
from proxy.fast.slab cimport slab_give, slab_take
from proxy.fast.types cimport TLS_SHAKING, tls_t, worker_t

cdef enum:                      # openssl/sslerr.h: reasons; from 1000 on alerts of the peer
    SSL_R_NO_SHARED_CIPHER = 193
    SSL_R_NO_CERTIFICATE = 199
    SSL_R_UNSUPPORTED_PROTOCOL = 258
    SSL_R_UNEXPECTED_EOF = 294
    SSL_R_NO_SUITABLE_GROUPS = 295
    SSL_R_NO_SUITABLE_KEY_SHARE = 101
    SSL_R_ALERT_FIRST = 1000
    SSL_R_ALERT_LAST = 1255

cdef enum:                      # openssl/x509_vfy.h
    X509_V_OK = 0
    X509_V_NOT_YET_VALID = 9
    X509_V_EXPIRED = 10
    X509_V_INVALID_CA = 79
    X509_V_INVALID_PURPOSE = 26
    X509_V_NO_CERTSIGN = 32


cdef inline void* tls_memory() noexcept nogil:
    return openssl.BIO_new(openssl.BIO_s_mem())


# Before a call whose outcome is asked (openssl.pxd, rule 2). The queue is nearly always empty, and
# to see that costs a tenth of wiping its sixteen places.
cdef inline void tls_forget_errors() noexcept nogil:
    if openssl.ERR_peek_error() != 0:
        openssl.ERR_clear_error()


# TLS of a fresh socket with a context of the snapshot; NULL without memory. side_free_tls() ends
# it.
cdef inline tls_t* tls_new(worker_t* w, void* context, bint is_server) noexcept nogil:
    cdef tls_t* tls = <tls_t*>slab_take(&w.tlss)
    if tls == NULL:
        return NULL
    tls_forget_errors()
    tls.ssl = openssl.SSL_new(context)
    tls.source = tls_memory()
    tls.target = tls_memory()
    if tls.ssl == NULL or tls.source == NULL or tls.target == NULL:
        openssl.SSL_free(tls.ssl)               # all three take NULL
        openssl.BIO_free(tls.source)
        openssl.BIO_free(tls.target)
        slab_give(&w.tlss, tls)
        return NULL
    openssl.SSL_set_bio(tls.ssl, tls.source, tls.target)        # both are its own from here on
    if is_server:
        openssl.SSL_set_accept_state(tls.ssl)
    else:
        openssl.SSL_set_connect_state(tls.ssl)
    tls.is_server = is_server
    tls.began_us = clock_us(CLOCK_MONOTONIC)
    tls.bundle_generation = w.snapshot.bundle_generation
    return tls


cdef inline void tls_free(worker_t* w, tls_t* tls) noexcept nogil:
    if tls.plain != NULL:
        buf_give(&w.bufs, tls.plain)
    if tls.unsent != NULL:
        buf_give(&w.bufs, tls.unsent)
    if w.sealed_by == tls:                      # whoever is given this place has said nothing yet
        w.sealed_by = NULL
    records_free(w, tls)
    openssl.SSL_free(tls.ssl)
    slab_give(&w.tlss, tls)


# Why the last call failed, in our words.
cdef inline uint8_t tls_failure_of(tls_t* tls) noexcept nogil:
    cdef int reason = openssl.ERR_GET_REASON(openssl.ERR_peek_error())
    cdef long verified = openssl.SSL_get_verify_result(tls.ssl)
    if SSL_R_ALERT_FIRST <= reason <= SSL_R_ALERT_LAST:
        return TLS_FAILED_REFUSED
    if reason == SSL_R_NO_CERTIFICATE:
        return TLS_FAILED_NO_CERTIFICATE
    if reason in (SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_GROUPS,
                  SSL_R_NO_SUITABLE_KEY_SHARE):
        return TLS_FAILED_VERSION
    if reason == SSL_R_UNEXPECTED_EOF:
        return TLS_FAILED_CLOSED
    if verified == X509_V_OK:
        return TLS_FAILED_PROTOCOL
    if verified == X509_V_EXPIRED:
        return TLS_FAILED_EXPIRED
    if verified == X509_V_NOT_YET_VALID:
        return TLS_FAILED_NOT_YET_VALID
    if verified in (X509_V_INVALID_PURPOSE, X509_V_INVALID_CA, X509_V_NO_CERTSIGN):
        return TLS_FAILED_USAGE
    return TLS_FAILED_UNTRUSTED


# Give it records to read, borrowed until they were read to their end (rule 1). False: no memory.
# They are read where they are. A source that stays would save four small allocations, and be a
# place in memory that is cold whenever its connection is served: that costs more (bench/README.md).
cdef inline bint tls_feed(tls_t* tls, const char* source, uint32_t length) noexcept nogil:
    cdef void* memory
    if tls.has_keys:
        records_feed(tls, <const uint8_t*>source, length)
        return True
    memory = openssl.BIO_new_mem_buf(source, <int>length)
    if memory == NULL:
        return False
    openssl.BIO_set_mem_eof_return(memory, -1)              # at its end: come again, no EOF
    openssl.SSL_set_bio(tls.ssl, memory, tls.target)        # frees the one before
    tls.source = memory
    return True


# Has all that it was fed been read?
cdef inline bint tls_is_drained(tls_t* tls) noexcept nogil:
    cdef char* data = NULL
    if tls.has_keys:
        return tls.records.fed_bytes == 0 and tls.partial == NULL
    return openssl.BIO_get_mem_data(tls.source, &data) == 0


# Has the handshake told us what its keys are made of, and is all that was agreed on ours to do?
cdef inline bint tls_may_take_over(const tls_t* tls) noexcept nogil:
    return (tls.records.read.secret_bytes > 0 and tls.records.write.secret_bytes > 0
            and not tls.stays and tls.records.cipher != CIPHER_COUNT)


# Forget what OpenSSL wrote. A server's last words are two tickets, under its first record numbers:
# nobody may resume, nobody has seen them, and so `records` can begin with these numbers itself.
cdef inline void tls_drop_output(tls_t* tls) noexcept nogil:
    cdef char trash[TLS_KEPT_BYTES_MAX]
    while openssl.BIO_read(tls.target, trash, TLS_KEPT_BYTES_MAX) > 0:
        pass


# Which cipher was agreed on: CIPHER_*, CIPHER_COUNT for another.
cdef inline uint8_t tls_cipher(const tls_t* tls) noexcept nogil:
    cdef const char* name = openssl.SSL_CIPHER_get_name(openssl.SSL_get_current_cipher(tls.ssl))
    if strcmp(name, b"TLS_AES_128_GCM_SHA256") == 0:
        return CIPHER_AES_128_GCM
    if strcmp(name, b"TLS_AES_256_GCM_SHA384") == 0:
        return CIPHER_AES_256_GCM
    if strcmp(name, b"TLS_CHACHA20_POLY1305_SHA256") == 0:
        return CIPHER_CHACHA20_POLY1305
    return CIPHER_COUNT


# The handshake is over, and what it wrote was sent: go on without OpenSSL, if its secrets are
# known. What was fed and not read yet is `records`' to read. False: no memory.
cdef inline bint tls_take_over(tls_t* tls) noexcept nogil:
    cdef char* data = NULL
    cdef long length = openssl.BIO_get_mem_data(tls.source, &data)
    cdef const uint8_t* name = NULL
    cdef unsigned int name_bytes = 0
    openssl.SSL_get0_alpn_selected(tls.ssl, &name, &name_bytes)
    tls.alpn_bytes = <uint8_t>name_bytes
    if not tls_may_take_over(tls):
        return True
    if not records_begin(tls):
        return False
    records_feed(tls, <const uint8_t*>data, <uint32_t>length if length > 0 else 0)
    tls.has_keys = 1
    return True


# Whoever wanted to see the handshake's certificate has: OpenSSL's part is over. Its connection is
# freed within the tick, unlike all else, because nothing of it is left: no caller further up holds
# more than `tls`, and whoever looks at tls.ssl asks has_keys before.
cdef inline void tls_end_handshake(tls_t* tls) noexcept nogil:
    if not tls.has_keys:
        return
    openssl.SSL_free(tls.ssl)
    tls.ssl = NULL
    tls.source = NULL
    tls.target = NULL


# A step of the handshake. FP_OK: it is over. FP_AGAIN: it needs more. FP_DONE: it failed.
cdef inline int tls_shake(tls_t* tls) noexcept nogil:
    cdef keys_t* client = &tls.records.read if tls.is_server else &tls.records.write
    cdef keys_t* server = &tls.records.write if tls.is_server else &tls.records.read
    cdef int result
    tls_forget_errors()
    listen_for_secrets(
        client.secret, &client.secret_bytes, server.secret, &server.secret_bytes,
        &tls.stays)
    result = openssl.SSL_do_handshake(tls.ssl)
    listen_for_secrets(NULL, NULL, NULL, NULL, NULL)
    if result == 1:
        tls.records.cipher = tls_cipher(tls)
        if tls.is_server and tls_may_take_over(tls):
            tls_drop_output(tls)
        return FP_OK
    if openssl.SSL_get_error(tls.ssl, result) == SSL_ERROR_WANT_READ:
        return FP_AGAIN
    if tls.failure == TLS_FAILED_NONE:
        tls.failure = tls_failure_of(tls)
    return FP_DONE


# Plaintext of one record at most; returns its length, or TLS_READ_*.
cdef inline int tls_read(
    worker_t* w, tls_t* tls, char* target, uint32_t room,
) noexcept nogil:
    cdef int n, error
    if tls.has_keys:
        return records_read(w, tls, <uint8_t*>target, room)
    tls_forget_errors()
    n = openssl.SSL_read(tls.ssl, target, <int>room)
    if n > 0:
        return n
    error = openssl.SSL_get_error(tls.ssl, n)
    if error == SSL_ERROR_WANT_READ:
        return TLS_READ_AGAIN
    if error == SSL_ERROR_ZERO_RETURN:
        return TLS_READ_END
    tls.failure = tls_failure_of(tls)
    return TLS_READ_FAILED


# Encrypt all of it; the records wait in the target. False: it cannot.
cdef inline bint tls_write(
    worker_t* w, tls_t* tls, const char* source, uint32_t length,
) noexcept nogil:
    if tls.has_keys:
        return records_write(w, tls, source, length)
    tls_forget_errors()
    return openssl.SSL_write(tls.ssl, source, <int>length) == <int>length


# Write close_notify, once.
cdef inline void tls_say_end(worker_t* w, tls_t* tls) noexcept nogil:
    if tls.has_said_end or tls.failure != TLS_FAILED_NONE:
        return
    tls.has_said_end = 1
    if tls.has_keys:
        records_say_alert(w, tls, ALERT_WARNING, ALERT_CLOSE_NOTIFY)
        return
    tls_forget_errors()
    openssl.SSL_shutdown(tls.ssl)


# Records that wait to be sent: where and how many bytes. Valid until the next call.
cdef inline uint32_t tls_output(worker_t* w, tls_t* tls, char** data) noexcept nogil:
    cdef long length
    if tls.has_keys:
        return records_output(w, tls, data)
    length = openssl.BIO_get_mem_data(tls.target, data)
    return <uint32_t>length if length > 0 else 0


# Give the target's memory back. OpenSSL wipes it, so that is not for every write; but a connection
# that is quiet must not keep the largest one that it made.
cdef inline void tls_trim(tls_t* tls) noexcept nogil:
    cdef void* fresh
    if tls.has_keys or not tls.is_target_large:
        return
    fresh = tls_memory()
    if fresh == NULL:
        return
    openssl.SSL_set_bio(tls.ssl, tls.source, fresh)             # frees the one before
    tls.target = fresh
    tls.is_target_large = 0


# All of `length` bytes of output were sent or kept elsewhere: empty the target. What a handshake
# took is given back at once. `room`: BUF_BYTES for large ones to be thrown into.
cdef inline void tls_output_taken(tls_t* tls, uint32_t length, char* room) noexcept nogil:
    cdef char trash[TLS_KEPT_BYTES_MAX]
    if tls.has_keys:
        return
    if length > TLS_KEPT_BYTES_MAX:
        tls.is_target_large = 1
    if tls.state == TLS_SHAKING:
        # Behind the handshake the source, which may be in `room`, can hold what was said already.
        while openssl.BIO_read(tls.target, trash, TLS_KEPT_BYTES_MAX) == TLS_KEPT_BYTES_MAX:
            pass
        tls.is_target_large = 1
        tls_trim(tls)
        return
    while openssl.BIO_read(tls.target, room, BUF_BYTES) == BUF_BYTES:
        pass
