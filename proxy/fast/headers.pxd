# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. The field names that mean something to us. Sans-I/O.
from libc.stdint cimport uint8_t, uint32_t

from proxy.fast.chars cimport chars_equal
from proxy.fast.reasons cimport (
    HEADER_ATTEMPTS, HEADER_AUTHORIZATION, HEADER_CLIENT_CERT, HEADER_CLIENT_ID,
    HEADER_CONNECTION, HEADER_CONTENT_LENGTH, HEADER_EXPECT, HEADER_HOST, HEADER_HTTP2_SETTINGS,
    HEADER_KEEP_ALIVE, HEADER_NONE, HEADER_PROXY_CONNECTION, HEADER_RETRY_AFTER, HEADER_TE,
    HEADER_TIMEOUT, HEADER_TRACEPARENT, HEADER_TRAILER, HEADER_TRANSFER_ENCODING, HEADER_UPGRADE,
    HEADER_USER_AGENT, HEADER_X_FORWARDED_FOR, HEADER_X_FORWARDED_PROTO, HEADER_X_REQUEST_ID,
)

cdef enum:
    HEADER_BYTES_MIN = 2
    HEADER_BYTES_MAX = 23


# HEADER_* of a field name, HEADER_NONE for all that pass through unread (RFC 9110 section 5.1:
# names have no case). The length tells most names apart before a letter is looked at.
cdef inline uint8_t header_id(const char* name, uint32_t length) noexcept nogil:
    if length < HEADER_BYTES_MIN or length > HEADER_BYTES_MAX:
        return HEADER_NONE
    if length == 2 and chars_equal(name, length, b"te", 2):
        return HEADER_TE
    elif length == 4 and chars_equal(name, length, b"host", 4):
        return HEADER_HOST
    elif length == 6 and chars_equal(name, length, b"expect", 6):
        return HEADER_EXPECT
    elif length == 7 and chars_equal(name, length, b"upgrade", 7):
        return HEADER_UPGRADE
    elif length == 7 and chars_equal(name, length, b"trailer", 7):
        return HEADER_TRAILER
    elif length == 10 and chars_equal(name, length, b"connection", 10):
        return HEADER_CONNECTION
    elif length == 10 and chars_equal(name, length, b"keep-alive", 10):
        return HEADER_KEEP_ALIVE
    elif length == 10 and chars_equal(name, length, b"user-agent", 10):
        return HEADER_USER_AGENT
    elif length == 11 and chars_equal(name, length, b"traceparent", 11):
        return HEADER_TRACEPARENT
    elif length == 11 and chars_equal(name, length, b"retry-after", 11):
        return HEADER_RETRY_AFTER
    elif length == 12 and chars_equal(name, length, b"x-request-id", 12):
        return HEADER_X_REQUEST_ID
    elif length == 13 and chars_equal(name, length, b"authorization", 13):
        return HEADER_AUTHORIZATION
    elif length == 14 and chars_equal(name, length, b"content-length", 14):
        return HEADER_CONTENT_LENGTH
    elif length == 14 and chars_equal(name, length, b"http2-settings", 14):
        return HEADER_HTTP2_SETTINGS
    elif length == 15 and chars_equal(name, length, b"x-forwarded-for", 15):
        return HEADER_X_FORWARDED_FOR
    elif length == 16 and chars_equal(name, length, b"proxy-connection", 16):
        return HEADER_PROXY_CONNECTION
    elif length == 17 and chars_equal(name, length, b"transfer-encoding", 17):
        return HEADER_TRANSFER_ENCODING
    elif length == 17 and chars_equal(name, length, b"x-forwarded-proto", 17):
        return HEADER_X_FORWARDED_PROTO
    elif length == 16 and chars_equal(name, length, b"remora-client-id", 16):
        return HEADER_CLIENT_ID
    elif length == 17 and chars_equal(name, length, b"remora-timeout-ms", 17):
        return HEADER_TIMEOUT
    elif length == 20 and chars_equal(name, length, b"remora-attempt-count", 20):
        return HEADER_ATTEMPTS
    elif length == 23 and chars_equal(name, length, b"x-forwarded-client-cert", 23):
        return HEADER_CLIENT_CERT
    return HEADER_NONE


# May this field stand in a trailer section? RFC 9110 section 6.5.1: not what frames, routes or
# authenticates the message.
cdef inline bint header_may_trail(uint8_t id) noexcept nogil:
    return id == HEADER_NONE or id == HEADER_USER_AGENT


# Fields that a Connection header may not talk us into dropping: they frame or route the message,
# or tell the upstream what we know of its peer.
cdef inline bint header_is_kept(uint8_t id) noexcept nogil:
    return id in (
        HEADER_HOST, HEADER_CONTENT_LENGTH, HEADER_TRANSFER_ENCODING, HEADER_AUTHORIZATION,
        HEADER_X_REQUEST_ID, HEADER_X_FORWARDED_FOR, HEADER_X_FORWARDED_PROTO, HEADER_TRACEPARENT,
        HEADER_CLIENT_CERT, HEADER_CLIENT_ID)
