# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. HTTP/1.1 bodies: how many of the bytes at hand belong to this message? Sans-I/O.
#
# A body is passed on in the coding that it came in, so chunked is validated, not decoded
# (RFC 9112 section 7.1). Trailers need an edit, so the caller gets them apart.
#
# Rule 1: linear and resumable at every byte; no byte is passed on before it was found valid.
# Rule 2: nothing lenient: sizes are 1 to 15 hex digits, every line ends with CRLF, extensions are
#         short and printable.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.chars cimport CHAR_VALUE, char_is
from proxy.fast.limits cimport CHUNK_DIGITS_MAX, CHUNK_EXTENSION_BYTES_MAX
from proxy.fast.reasons cimport BODY_CHUNKED, BODY_LENGTH, BODY_NONE
from proxy.fast.types cimport body_t

cdef enum:                              # body_t.state
    BODY_DATA = 0                       # `left` bytes pass unread (all of them, until close)
    BODY_SIZE = 1                       # hex digits of a chunk size
    BODY_EXTENSION = 2
    BODY_SIZE_LF = 3
    BODY_DATA_CR = 4
    BODY_DATA_LF = 5
    BODY_TRAILERS = 6                   # the caller's: the section up to its empty line
    BODY_COMPLETE = 7
    BODY_BROKEN = 8                     # framing is lost: answer or cut, never go on
    BODY_TOO_LARGE = 9                  # its framing promises more than bytes_max: the same

cdef enum:
    BODY_UNBOUNDED = 0xFFFFFFFFFFFFFFFF


# Begin a body. `bytes_max`: payload allowed, told from sizes before a byte of them is passed.
cdef inline void body_start(
    body_t* body, uint8_t kind, uint64_t length, uint64_t bytes_max,
) noexcept nogil:
    body.kind = kind
    body.bytes_max = bytes_max
    body.data_bytes = 0
    body.digit_count = 0
    body.extension_bytes = 0
    body.left = length if kind == BODY_LENGTH else 0
    if kind == BODY_NONE:
        body.state = BODY_COMPLETE
    elif kind == BODY_CHUNKED:
        body.state = BODY_SIZE
    elif kind == BODY_LENGTH and length > bytes_max:
        body.state = BODY_TOO_LARGE
    else:
        body.state = BODY_DATA
        if kind != BODY_LENGTH:
            body.left = ~<uint64_t>0


# Bytes that may pass without being looked at, so by splice(2); 0 when the framing comes next.
cdef inline uint64_t body_run(const body_t* body) noexcept nogil:
    return body.left if body.state == BODY_DATA else 0


# `length` bytes of the run have passed.
cdef inline void body_ran(body_t* body, uint64_t length) noexcept nogil:
    body.data_bytes += length
    if body.kind == BODY_LENGTH or body.kind == BODY_CHUNKED:
        body.left -= length
        if body.left == 0:
            body.state = BODY_COMPLETE if body.kind == BODY_LENGTH else BODY_DATA_CR


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 0x20
    if c'a' <= c <= c'f':
        return c - c'a' + 10
    return -1


# One byte of chunk framing.
cdef inline void body_framing_byte(body_t* body, uint8_t c) noexcept nogil:
    cdef int digit
    if body.state == BODY_SIZE:
        digit = hex_digit(c)
        if digit >= 0 and body.digit_count < CHUNK_DIGITS_MAX:
            body.left = (body.left << 4) | <uint64_t>digit
            body.digit_count += 1
        elif body.digit_count == 0:
            body.state = BODY_BROKEN
        elif c == c'\r':
            body.state = BODY_SIZE_LF
        elif c == c';':
            body.state = BODY_EXTENSION
            body.extension_bytes = 1
        else:
            body.state = BODY_BROKEN
    elif body.state == BODY_EXTENSION:
        body.extension_bytes += 1
        if c == c'\r':
            body.state = BODY_SIZE_LF
        elif not char_is(c, CHAR_VALUE) or body.extension_bytes > CHUNK_EXTENSION_BYTES_MAX:
            body.state = BODY_BROKEN
    elif body.state == BODY_SIZE_LF:
        body.digit_count = 0
        if c != c'\n':
            body.state = BODY_BROKEN
        elif body.left > body.bytes_max - body.data_bytes:
            body.state = BODY_TOO_LARGE
        else:
            body.state = BODY_DATA if body.left else BODY_TRAILERS
    elif body.state == BODY_DATA_CR:
        body.state = BODY_DATA_LF if c == c'\r' else BODY_BROKEN
    elif body.state == BODY_DATA_LF:
        body.state = BODY_SIZE if c == c'\n' else BODY_BROKEN


# How many of source[0:length] may be passed on as they are. Stops behind the body's last byte
# (BODY_COMPLETE), before the trailers (BODY_TRAILERS), and at a fault (BODY_BROKEN and above).
cdef inline uint32_t body_feed(
    body_t* body, const char* source, uint32_t length,
) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint32_t step
    while i < length and body.state < BODY_TRAILERS:
        if body.state == BODY_DATA:
            step = <uint32_t>body.left if body.left < length - i else length - i
            body_ran(body, step)
            i += step
        else:
            body_framing_byte(body, source[i])
            if body.state >= BODY_BROKEN:
                return i
            i += 1
    return i
