# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. TLS 1.3 once the handshake is over: records in, plaintext out, and the other way (RFC 8446
# sections 4.6, 5 and 6). OpenSSL makes the handshake and is freed then: of an idle connection two
# sets of keys are left instead of 30 KiB. It knows no socket.
#
# Rule 1: what was fed is borrowed, and read to its end before the next call returns to the loop;
#         the beginning of a record whose rest did not come yet is kept in `partial`.
# Rule 2: what is written goes into w.sealed, which is of one connection at a time (w.sealed_by):
#         who wrote takes it by records_output() before anybody else writes, and nobody is ever
#         given another's.
# Rule 3: after a failure nothing is read or written any more but one alert.
from libc.stdint cimport uint8_t, uint32_t

from proxy.fast.buf cimport buf_append, buf_at, buf_give, buf_length
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.keys cimport (
    CONTENT_ALERT, CONTENT_DATA, CONTENT_HANDSHAKE, RECORD_HEAD_BYTES, TAG_BYTES, keys_begin,
    keys_free, keys_update, record_open, record_seal,
)
from proxy.fast.keyring cimport records_t
from proxy.fast.limits cimport (
    KEY_RECORDS_MAX, RECORD_CIPHER_BYTES_MAX, RECORD_EXTRA_BYTES, RECORD_PLAIN_BYTES_MAX,
    SEALED_BYTES, TLS_CONTROL_RECORDS_MAX, TLS_EMPTY_RECORDS_MAX,
)
from proxy.fast.reasons cimport (
    TLS_FAILED_NONE, TLS_FAILED_PROTOCOL, TLS_FAILED_REFUSED, TLS_FAILED_RESOURCES,
)
from proxy.fast.types cimport tls_t, worker_t

cdef enum:                      # what records_read() and tls_read() return beside a length
    TLS_READ_END = 0            # close_notify
    TLS_READ_AGAIN = -1         # nothing before more was fed
    TLS_READ_FAILED = -2        # tls.failure says why

cdef enum:                      # section 6
    ALERT_WARNING = 1
    ALERT_FATAL = 2
    ALERT_CLOSE_NOTIFY = 0
    ALERT_UNEXPECTED_MESSAGE = 10
    ALERT_BAD_RECORD_MAC = 20
    ALERT_RECORD_OVERFLOW = 22
    ALERT_ILLEGAL_PARAMETER = 47
    ALERT_INTERNAL_ERROR = 80
    ALERT_USER_CANCELED = 90

cdef enum:                      # section 4
    MESSAGE_NEW_SESSION_TICKET = 4
    MESSAGE_KEY_UPDATE = 24
    MESSAGE_HEAD_BYTES = 4

cdef enum:                      # records_t.update
    UPDATE_NONE = 0
    UPDATE_DUE = 1              # new keys of ours, before the next word


# Both directions, whose secrets are there already. False: no memory; records_free() is due.
cdef inline bint records_begin(tls_t* tls) noexcept nogil:
    return (keys_begin(&tls.records.read, tls.records.cipher, False)
            and keys_begin(&tls.records.write, tls.records.cipher, True))


cdef inline void records_free(worker_t* w, tls_t* tls) noexcept nogil:
    keys_free(&tls.records.read)
    keys_free(&tls.records.write)
    if tls.partial != NULL:
        buf_give(&w.bufs, tls.partial)
        tls.partial = NULL


# --- reading -------------------------------------------------------------------------------------

# More to read; all that was fed before has been (rule 1).
cdef inline void records_feed(tls_t* tls, const uint8_t* source, uint32_t length) noexcept nogil:
    FP_ASSERT(tls.records.fed_bytes == 0)
    tls.records.fed = source
    tls.records.fed_bytes = length
    tls.records.control_count = 0


cdef inline int records_fail(tls_t* tls, uint8_t failure, uint8_t alert) noexcept nogil:
    tls.failure = failure
    tls.records.alert = alert
    tls.records.fed_bytes = 0
    return TLS_READ_FAILED


cdef inline int records_broken(tls_t* tls, uint8_t alert) noexcept nogil:
    return records_fail(tls, TLS_FAILED_PROTOCOL, alert)


# How long the record is whose first bytes are these, head included; 0: they are none. Nothing but
# protected records comes after a handshake (section 5): what else names itself in the first byte.
cdef inline uint32_t records_length(tls_t* tls, const uint8_t* head) noexcept nogil:
    cdef uint32_t length = <uint32_t>head[3] << 8 | head[4]
    if head[0] != CONTENT_DATA:
        records_broken(tls, ALERT_UNEXPECTED_MESSAGE)
    elif length > RECORD_CIPHER_BYTES_MAX:
        records_broken(tls, ALERT_RECORD_OVERFLOW)
    elif length <= TAG_BYTES:
        records_broken(tls, ALERT_BAD_RECORD_MAC)
    else:
        return RECORD_HEAD_BYTES + length
    return 0


# Move what was fed behind the beginning of its record, until that has `wanted` bytes. False: it has
# not, and nothing is left; or there is no memory (tls.failure).
cdef inline bint records_fill(worker_t* w, tls_t* tls, uint32_t wanted) noexcept nogil:
    cdef records_t* r = &tls.records
    cdef uint32_t have = buf_length(tls.partial) if tls.partial != NULL else 0
    cdef uint32_t length
    if have >= wanted:
        return True
    length = wanted - have if wanted - have < r.fed_bytes else r.fed_bytes
    if length == 0:
        return False
    if not buf_append(&w.bufs, &tls.partial, <const char*>r.fed, length):
        records_fail(tls, TLS_FAILED_RESOURCES, ALERT_INTERNAL_ERROR)
        return False
    r.fed += length
    r.fed_bytes -= length
    return have + length >= wanted


# The next whole record, where it stands: in what was fed, or in `partial`. NULL: it is not whole
# yet, or is none (tls.failure). `length`: of all of it.
cdef inline const uint8_t* records_next(worker_t* w, tls_t* tls, uint32_t* length) noexcept nogil:
    cdef records_t* r = &tls.records
    cdef const uint8_t* at
    if tls.partial == NULL and r.fed_bytes >= RECORD_HEAD_BYTES:
        length[0] = records_length(tls, r.fed)
        if length[0] == 0:
            return NULL
        if r.fed_bytes >= length[0]:
            at = r.fed
            r.fed += length[0]
            r.fed_bytes -= length[0]
            return at
    if not records_fill(w, tls, RECORD_HEAD_BYTES):
        return NULL
    length[0] = records_length(tls, <uint8_t*>buf_at(tls.partial, tls.partial.start))
    if length[0] == 0 or not records_fill(w, tls, length[0]):
        return NULL
    return <uint8_t*>buf_at(tls.partial, tls.partial.start)


# A message that is whole: new keys of the peer, or a ticket, which nobody uses.
cdef inline bint records_on_message(tls_t* tls, uint8_t value) noexcept nogil:
    cdef records_t* r = &tls.records
    if r.message[0] == MESSAGE_NEW_SESSION_TICKET:
        return True
    if value > 1:
        records_broken(tls, ALERT_ILLEGAL_PARAMETER)
        return False
    if value == 1:
        r.update = UPDATE_DUE
    if not keys_update(&r.read):
        records_fail(tls, TLS_FAILED_RESOURCES, ALERT_INTERNAL_ERROR)
        return False
    return True


# May a message begin like this? Only new keys, or a server's ticket.
cdef inline bint records_may_begin(const tls_t* tls) noexcept nogil:
    cdef const records_t* r = &tls.records
    if r.message[0] == MESSAGE_KEY_UPDATE:
        return r.message_left == 1
    return r.message[0] == MESSAGE_NEW_SESSION_TICKET and not tls.is_server


# What a handshake record holds: messages, which may go on in the next one (section 5.1).
cdef inline bint records_on_handshake(
    tls_t* tls, const uint8_t* at, uint32_t length,
) noexcept nogil:
    cdef records_t* r = &tls.records
    cdef const uint8_t* end = at + length
    cdef uint32_t n
    while at < end:
        if r.message_have < MESSAGE_HEAD_BYTES:
            r.message[r.message_have] = at[0]
            r.message_have += 1
            at += 1
            if r.message_have < MESSAGE_HEAD_BYTES:
                continue
            r.message_left = (<uint32_t>r.message[1] << 16 | <uint32_t>r.message[2] << 8
                              | r.message[3])
            if not records_may_begin(tls):
                records_broken(tls, ALERT_UNEXPECTED_MESSAGE)
                return False
        n = <uint32_t>(end - at) if <uint32_t>(end - at) < r.message_left else r.message_left
        at += n
        r.message_left -= n
        if r.message_left == 0:
            r.message_have = 0
            if r.message[0] == MESSAGE_KEY_UPDATE and at < end:     # under which keys?
                records_broken(tls, ALERT_UNEXPECTED_MESSAGE)
                return False
            if not records_on_message(tls, (at - 1)[0]):
                return False
    return True


# The end, a failure, or nothing to speak of (TLS_READ_AGAIN).
cdef inline int records_on_alert(tls_t* tls, const uint8_t* at, uint32_t length) noexcept nogil:
    if length != 2:
        return records_broken(tls, ALERT_UNEXPECTED_MESSAGE)
    if at[1] == ALERT_CLOSE_NOTIFY:
        tls.records.fed_bytes = 0
        return TLS_READ_END
    if at[1] == ALERT_USER_CANCELED:
        return TLS_READ_AGAIN
    return records_fail(tls, TLS_FAILED_REFUSED, 0)     # no alert is answered by one


# What a record without a word in it says. TLS_READ_AGAIN: go on.
cdef inline int records_on_control(
    tls_t* tls, uint8_t content, const uint8_t* at, uint32_t length,
) noexcept nogil:
    cdef records_t* r = &tls.records
    if content == CONTENT_DATA:
        r.empty_count += 1
    else:
        r.control_count += 1
    if r.empty_count > TLS_EMPTY_RECORDS_MAX or r.control_count > TLS_CONTROL_RECORDS_MAX:
        return records_broken(tls, ALERT_UNEXPECTED_MESSAGE)
    if content == CONTENT_DATA and r.message_have == 0:
        return TLS_READ_AGAIN
    if content == CONTENT_HANDSHAKE and length > 0:
        return TLS_READ_AGAIN if records_on_handshake(tls, at, length) else TLS_READ_FAILED
    if content == CONTENT_ALERT and r.message_have == 0:
        return records_on_alert(tls, at, length)
    return records_broken(tls, ALERT_UNEXPECTED_MESSAGE)


# Plaintext of one record; returns its length, or TLS_READ_*. `room` must be enough for any.
cdef inline int records_read(
    worker_t* w, tls_t* tls, uint8_t* target, uint32_t room,
) noexcept nogil:
    cdef records_t* r = &tls.records
    cdef const uint8_t* record
    cdef uint8_t content = 0
    cdef uint32_t length = 0
    cdef uint32_t inner
    cdef int n, status
    while True:
        record = records_next(w, tls, &length)
        if record == NULL:
            return TLS_READ_AGAIN if tls.failure == TLS_FAILED_NONE else TLS_READ_FAILED
        if length > room:
            return records_fail(tls, TLS_FAILED_RESOURCES, ALERT_INTERNAL_ERROR)
        inner = length - RECORD_HEAD_BYTES - TAG_BYTES
        n = record_open(&r.read, record, length - RECORD_HEAD_BYTES, target, &content)
        if tls.partial != NULL:
            buf_give(&w.bufs, tls.partial)
            tls.partial = NULL
        if n < 0:
            return records_broken(tls, ALERT_BAD_RECORD_MAC)
        if inner > RECORD_PLAIN_BYTES_MAX + 1:          # section 5.4: its padding counts
            return records_broken(tls, ALERT_RECORD_OVERFLOW)
        if n > 0 and content == CONTENT_DATA and r.message_have == 0:
            r.empty_count = 0
            r.control_count = 0
            return n
        status = records_on_control(tls, content, target, <uint32_t>n)
        if status != TLS_READ_AGAIN:
            return status


# --- writing -------------------------------------------------------------------------------------

# Write a record behind what waits in w.sealed. False: it cannot; the keys are of no use any more.
cdef inline bint records_say(
    worker_t* w, tls_t* tls, uint8_t content, const uint8_t* source, uint32_t length,
) noexcept nogil:
    cdef uint32_t n
    if w.sealed_by != tls:
        w.sealed_by = tls
        w.sealed_bytes = 0
    FP_ASSERT(w.sealed_bytes + length + RECORD_EXTRA_BYTES <= SEALED_BYTES)
    n = record_seal(
        &tls.records.write, content, source, length, <uint8_t*>w.sealed + w.sealed_bytes)
    if n == 0:
        tls.failure = TLS_FAILED_RESOURCES
        tls.records.is_mute = 1
        return False
    w.sealed_bytes += n
    return True


# What must be said before the next word: new keys of ours, because the peer asked or because these
# have written as much as they may (section 5.5).
cdef inline bint records_say_update(worker_t* w, tls_t* tls) noexcept nogil:
    cdef uint8_t message[MESSAGE_HEAD_BYTES + 1]
    if tls.records.update == UPDATE_NONE and tls.records.write.sequence < KEY_RECORDS_MAX:
        return True
    tls.records.update = UPDATE_NONE
    message[0] = MESSAGE_KEY_UPDATE
    message[1] = 0
    message[2] = 0
    message[3] = 1
    message[4] = 0                                      # the peer need not change its own
    if not records_say(w, tls, CONTENT_HANDSHAKE, message, MESSAGE_HEAD_BYTES + 1):
        return False
    if keys_update(&tls.records.write):
        return True
    tls.failure = TLS_FAILED_RESOURCES
    tls.records.is_mute = 1
    return False


# Write all of it, TLS_WRITE_BYTES_MAX at most. False: it cannot.
cdef inline bint records_write(
    worker_t* w, tls_t* tls, const char* source, uint32_t length,
) noexcept nogil:
    cdef uint32_t n
    if tls.failure != TLS_FAILED_NONE:
        return False
    while length > 0:
        n = length if length < RECORD_PLAIN_BYTES_MAX else <uint32_t>RECORD_PLAIN_BYTES_MAX
        if not records_say_update(w, tls) or not records_say(
                w, tls, CONTENT_DATA, <const uint8_t*>source, n):
            w.sealed_by = NULL                          # a part of it is worse than nothing
            return False
        source += n
        length -= n
    return True


cdef inline bint records_say_alert(
    worker_t* w, tls_t* tls, uint8_t level, uint8_t alert,
) noexcept nogil:
    cdef uint8_t words[2]
    words[0] = level
    words[1] = alert
    return records_say(w, tls, CONTENT_ALERT, words, 2)


# Records that wait to be sent: where and how many bytes. They are the caller's to send or to keep,
# at once: the next word of anybody overwrites them.
cdef inline uint32_t records_output(worker_t* w, tls_t* tls, char** data) noexcept nogil:
    cdef records_t* r = &tls.records
    # Behind our close_notify nothing is said (section 6.1).
    if not r.is_mute and not tls.has_said_end:
        if tls.failure == TLS_FAILED_NONE:
            records_say_update(w, tls)
        elif r.alert != 0:
            records_say_alert(w, tls, ALERT_FATAL, r.alert)
    if tls.failure != TLS_FAILED_NONE:
        r.is_mute = 1
    if w.sealed_by != tls:
        return 0
    w.sealed_by = NULL
    data[0] = w.sealed
    return w.sealed_bytes
