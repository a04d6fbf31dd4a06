# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. HTTP/1.1 heads: bytes in, fields and framing out. Sans-I/O.
#
# Rule 1: no socket, clock, allocation or policy. A head is parsed in place: h1_head_t holds offsets
#         from its first byte, valid as long as the caller keeps the bytes where they are.
# Rule 2: stricter than our peers. What two parsers could read differently is refused, never
#         repaired: bare LF, obs-fold, space before a colon, CL with TE, two CLs, two Hosts
#         (RFC 9112 sections 2.2, 5, 6.3, 11.2). A verdict is a status to answer with (H1_*).
# Rule 3: linear. h1_scan() finds the end of a head and never looks at a byte twice, however the
#         bytes arrive; the head is parsed once, when it is whole.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from proxy.fast.chars cimport (
    CHAR_HOST, CHAR_TARGET, CHAR_TOKEN, CHAR_VALUE, char_is, char_lower, chars_are, chars_equal,
    chars_value_end,
)
from proxy.fast.headers cimport header_id, header_is_kept, header_may_trail
from proxy.fast.limits cimport (
    H1_CONNECTION_TOKENS_MAX, H1_FIELDS_MAX, H1_HEAD_BYTES_MAX, H1_LINE_BYTES_MAX,
)
from proxy.fast.reasons cimport (
    BODY_CHUNKED, BODY_LENGTH, BODY_NONE, BODY_TUNNEL, BODY_UNTIL_CLOSE, HEADER_CONNECTION,
    HEADER_CONTENT_LENGTH, HEADER_COUNT, HEADER_EXPECT, HEADER_HOST, HEADER_HTTP2_SETTINGS,
    HEADER_KEEP_ALIVE, HEADER_PROXY_CONNECTION, HEADER_TE, HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE, METHOD_CONNECT, METHOD_DELETE, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS,
    METHOD_OTHER, METHOD_PATCH, METHOD_POST, METHOD_PUT, METHOD_TRACE,
)
from proxy.fast.types cimport h1_field_t, h1_head_t

cdef enum:                          # verdicts: 0, or the status that says what is wrong
    H1_OK = 0
    H1_BAD = 400
    H1_URI_TOO_LONG = 414
    H1_EXPECTATION = 417
    H1_FIELDS_TOO_LARGE = 431
    H1_NOT_IMPLEMENTED = 501
    H1_BAD_GATEWAY = 502            # the upstream's head is not HTTP
    H1_VERSION = 505


# ---- the end of the head ----------------------------------------------------------------------

# Empty lines before a request line: RFC 9112 section 2.2 asks servers to skip at least one.
cdef inline uint32_t h1_skip_empty_lines(const char* source, uint32_t length) noexcept nogil:
    if length >= 2 and source[0] == c'\r' and source[1] == c'\n':
        return 2
    return 0


# Look for the empty line that ends a head. `seen` is what an earlier call already looked at (0 at
# first). Returns the length of the head, 0 when it is not whole, or -H1_*: a line that does not end
# with CRLF, or too many bytes.
cdef inline int64_t h1_scan(const char* source, uint32_t length, uint32_t seen) noexcept nogil:
    cdef const char* at
    cdef uint32_t i = seen
    while i < length:
        at = <const char*>memchr(source + i, c'\n', length - i)
        if at == NULL:
            break
        i = <uint32_t>(at - source)
        if i == 0 or source[i - 1] != c'\r':
            return -H1_BAD
        if i == 1:
            return -H1_BAD                  # no first line at all
        if source[i - 2] == c'\n':
            return -H1_FIELDS_TOO_LARGE if i + 1 > H1_HEAD_BYTES_MAX else i + 1
        i += 1
    if length > H1_HEAD_BYTES_MAX:
        return -H1_FIELDS_TOO_LARGE
    if length > H1_LINE_BYTES_MAX and memchr(source, c'\n', H1_LINE_BYTES_MAX) == NULL:
        return -H1_URI_TOO_LONG
    return 0


# ---- first lines ------------------------------------------------------------------------------

cdef inline uint8_t h1_method(const char* name, uint32_t length) noexcept nogil:
    if length == 3:
        if memcmp(name, b"GET", 3) == 0:
            return METHOD_GET
        if memcmp(name, b"PUT", 3) == 0:
            return METHOD_PUT
    elif length == 4:
        if memcmp(name, b"POST", 4) == 0:
            return METHOD_POST
        if memcmp(name, b"HEAD", 4) == 0:
            return METHOD_HEAD
    elif length == 5:
        if memcmp(name, b"PATCH", 5) == 0:
            return METHOD_PATCH
        if memcmp(name, b"TRACE", 5) == 0:
            return METHOD_TRACE
    elif length == 6 and memcmp(name, b"DELETE", 6) == 0:
        return METHOD_DELETE
    elif length == 7:
        if memcmp(name, b"OPTIONS", 7) == 0:
            return METHOD_OPTIONS
        if memcmp(name, b"CONNECT", 7) == 0:
            return METHOD_CONNECT
    return METHOD_OTHER


# May a request of this method be sent twice? RFC 9110 section 9.2.2.
cdef inline bint h1_is_idempotent(uint8_t method) noexcept nogil:
    return method in (
        METHOD_GET, METHOD_HEAD, METHOD_PUT, METHOD_DELETE, METHOD_OPTIONS, METHOD_TRACE)


# "HTTP/1.1" or "HTTP/1.0" (RFC 9112 section 2.3): H1_OK and `minor`, H1_VERSION for another
# version, H1_BAD for what is none.
cdef inline int h1_version(const char* source, uint8_t* minor) noexcept nogil:
    if memcmp(source, b"HTTP/", 5) != 0 or source[6] != c'.':
        return H1_BAD
    if source[5] < c'0' or source[5] > c'9' or source[7] < c'0' or source[7] > c'9':
        return H1_BAD
    if source[5] != c'1' or source[7] > c'1':
        return H1_VERSION
    minor[0] = source[7] - c'0'
    return H1_OK


# RFC 9112 section 3: method SP request-target SP HTTP-version CRLF, single spaces.
cdef inline int h1_request_line(h1_head_t* head, const char* source) noexcept nogil:
    cdef uint32_t end = head.line_bytes - 2
    cdef uint32_t i = 0
    while i < end and char_is(source[i], CHAR_TOKEN):
        i += 1
    if i == 0 or i >= end or source[i] != c' ':
        return H1_BAD
    head.method_bytes = i
    head.method = h1_method(source, i)
    i += 1
    head.target = i
    while i < end and char_is(source[i], CHAR_TARGET):
        i += 1
    head.target_bytes = i - head.target
    if head.target_bytes == 0 or i >= end or source[i] != c' ' or end - i != 9:
        return H1_BAD
    return h1_version(source + i + 1, &head.minor)


# RFC 9112 section 4: HTTP-version SP status-code SP [reason]. The last space is often missing.
cdef inline int h1_status_line(h1_head_t* head, const char* source) noexcept nogil:
    cdef uint32_t end = head.line_bytes - 2
    cdef int i
    if end < 12 or h1_version(source, &head.minor) != H1_OK or source[8] != c' ':
        return H1_BAD_GATEWAY
    head.status = 0
    for i in range(9, 12):
        if source[i] < c'0' or source[i] > c'9':
            return H1_BAD_GATEWAY
        head.status = head.status * 10 + (source[i] - c'0')
    if head.status < 100 or head.status > 599 or end > 12 and source[12] != c' ':
        return H1_BAD_GATEWAY
    if not chars_are(source + 12, end - 12, CHAR_VALUE):
        return H1_BAD_GATEWAY
    return H1_OK


# ---- fields -----------------------------------------------------------------------------------

# One field line that starts at `at` (RFC 9112 section 5). Sets `at` behind it.
cdef inline int h1_field(h1_head_t* head, const char* source, uint32_t* at) noexcept nogil:
    cdef h1_field_t* field
    cdef uint32_t i = at[0]
    cdef uint32_t end
    if head.field_count == H1_FIELDS_MAX:
        return H1_FIELDS_TOO_LARGE
    field = &head.fields[head.field_count]
    field.name = i
    while char_is(source[i], CHAR_TOKEN):
        i += 1
    if i == field.name or source[i] != c':' or i - field.name > 65535:
        return H1_BAD               # obs-fold and space before the colon end up here, too
    field.name_bytes = <uint16_t>(i - field.name)
    i += 1
    while source[i] == c' ' or source[i] == c'\t':
        i += 1
    field.value = i
    i = chars_value_end(source, i, head.head_bytes)
    if source[i] != c'\r' or source[i + 1] != c'\n':
        return H1_BAD               # NUL, bare CR, another control character
    end = i
    while end > field.value and (source[end - 1] == c' ' or source[end - 1] == c'\t'):
        end -= 1
    field.value_bytes = end - field.value
    field.end = i + 2
    field.id = header_id(source + field.name, field.name_bytes)
    field.is_dropped = 0
    if head.first[field.id] < 0:
        head.first[field.id] = head.field_count
    elif field.id in (HEADER_HOST, HEADER_CONTENT_LENGTH, HEADER_TRANSFER_ENCODING):
        return H1_BAD               # which one would the next parser believe?
    head.field_count += 1
    at[0] = field.end
    return H1_OK


# RFC 9110 section 8.6: digits only, no sign, no list, below 2^63.
cdef inline int h1_content_length(h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field = &head.fields[head.first[HEADER_CONTENT_LENGTH]]
    cdef uint64_t total = 0
    cdef uint32_t i
    if field.value_bytes == 0 or field.value_bytes > 19:
        return H1_BAD
    for i in range(field.value, field.value + field.value_bytes):
        if source[i] < c'0' or source[i] > c'9':
            return H1_BAD
        total = total * 10 + <uint64_t>(source[i] - c'0')
    if total > <uint64_t>0x7FFFFFFFFFFFFFFF:
        return H1_BAD
    head.content_length = total
    head.body = BODY_LENGTH if total else BODY_NONE
    return H1_OK


# Is the one and only coding "chunked"? H1_OK. Known to end with chunked: H1_NOT_IMPLEMENTED, for we
# forward no coding that we do not understand (RFC 9112 section 6.1). Else H1_BAD.
cdef inline int h1_transfer_encoding(h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field = &head.fields[head.first[HEADER_TRANSFER_ENCODING]]
    cdef const char* value = source + field.value
    if chars_equal(value, field.value_bytes, b"chunked", 7):
        head.body = BODY_CHUNKED
        return H1_OK
    if field.value_bytes > 8 and chars_equal(
            value + field.value_bytes - 7, 7, b"chunked", 7) and value[
            field.value_bytes - 8] in (c' ', c',', c'\t'):
        return H1_NOT_IMPLEMENTED
    return H1_BAD


# One name in Connection: what it says about the connection, or a field to be dropped.
cdef inline void h1_connection_token(
    h1_head_t* head, const char* source, const char* token, uint32_t length,
) noexcept nogil:
    cdef h1_field_t* field
    cdef uint32_t i, j
    if chars_equal(token, length, b"close", 5):
        head.has_close = 1
        return
    if chars_equal(token, length, b"keep-alive", 10):
        head.is_persistent = 1
        return
    if chars_equal(token, length, b"upgrade", 7):
        head.has_upgrade = head.first[HEADER_UPGRADE] >= 0
        return
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.name_bytes != length or field.is_dropped or header_is_kept(field.id):
            continue
        for j in range(length):
            if char_lower(<uint8_t>source[field.name + j]) != char_lower(<uint8_t>token[j]):
                break
        else:
            field.is_dropped = 1
            head.dropped_count += 1


# Mark what is meant for one hop only (RFC 9110 section 7.6.1), and learn what Connection says.
# Transfer-Encoding stays: the body is passed on in the coding that it came in.
cdef inline int h1_connection(h1_head_t* head, const char* source) noexcept nogil:
    cdef h1_field_t* field
    cdef uint32_t i, at, end, start
    cdef int tokens = 0
    head.is_persistent = head.minor
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id != HEADER_CONNECTION:
            continue
        at = field.value
        end = field.value + field.value_bytes
        while at < end:
            start = at
            while at < end and char_is(source[at], CHAR_TOKEN):
                at += 1
            if at > start:
                tokens += 1
                if tokens > H1_CONNECTION_TOKENS_MAX:
                    return H1_BAD
                h1_connection_token(head, source, source + start, at - start)
            elif source[at] not in (c',', c' ', c'\t'):
                return H1_BAD
            else:
                at += 1
    if head.has_close:
        head.is_persistent = 0
    for i in range(head.field_count):
        field = &head.fields[i]
        if not field.is_dropped and field.id in (
                HEADER_CONNECTION, HEADER_KEEP_ALIVE, HEADER_PROXY_CONNECTION, HEADER_TE,
                HEADER_UPGRADE, HEADER_HTTP2_SETTINGS):
            field.is_dropped = 1
            head.dropped_count += 1
    return H1_OK


# All the field lines of a whole head.
cdef inline int h1_fields(h1_head_t* head, const char* source) noexcept nogil:
    cdef uint32_t at = head.line_bytes
    cdef int verdict
    cdef int i
    head.field_count = 0
    head.dropped_count = 0
    for i in range(HEADER_COUNT):
        head.first[i] = -1
    while at < head.head_bytes - 2:
        verdict = h1_field(head, source, &at)
        if verdict != H1_OK:
            return verdict
    return H1_OK


# ---- requests ---------------------------------------------------------------------------------

# RFC 9112 section 3.2: exactly one Host in HTTP/1.1, and one that names a host.
cdef inline int h1_host(const h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field
    if head.first[HEADER_HOST] < 0:
        return H1_OK if head.minor == 0 else H1_BAD
    field = &head.fields[head.first[HEADER_HOST]]
    if not chars_are(source + field.value, field.value_bytes, CHAR_HOST):
        return H1_BAD
    return H1_OK


# The authority of an absolute-form target that starts behind `scheme_bytes`: it must name a host,
# and no user (RFC 9110 section 4.2).
cdef inline int h1_authority(
    h1_head_t* head, const char* source, uint32_t scheme_bytes,
) noexcept nogil:
    cdef uint32_t start = head.target + scheme_bytes
    cdef uint32_t end = head.target + head.target_bytes
    cdef uint32_t i = start
    while i < end and source[i] != c'/' and source[i] != c'?':
        if not char_is(<uint8_t>source[i], CHAR_HOST):
            return H1_BAD
        i += 1
    head.authority = start
    head.authority_bytes = i - start
    return H1_OK if i > start and source[start] != c':' else H1_BAD


# The form of the target (RFC 9112 section 3.2): "/path", "http://...", "host:port" for CONNECT
# only, "*" for OPTIONS only.
cdef inline int h1_target(h1_head_t* head, const char* source) noexcept nogil:
    cdef const char* target = source + head.target
    head.authority_bytes = 0
    if head.method == METHOD_CONNECT:
        return H1_OK if chars_are(target, head.target_bytes, CHAR_HOST) else H1_BAD
    if target[0] == c'/':
        return H1_OK
    if target[0] == c'*' and head.target_bytes == 1:
        return H1_OK if head.method == METHOD_OPTIONS else H1_BAD
    if head.target_bytes > 7 and chars_equal(target, 7, b"http://", 7):
        return h1_authority(head, source, 7)
    if head.target_bytes > 8 and chars_equal(target, 8, b"https://", 8):
        return h1_authority(head, source, 8)
    return H1_BAD


# The framing of the request's body (RFC 9112 section 6.3).
cdef inline int h1_request_body(h1_head_t* head, const char* source) noexcept nogil:
    head.body = BODY_NONE
    head.content_length = 0
    if head.first[HEADER_TRANSFER_ENCODING] >= 0:
        if head.first[HEADER_CONTENT_LENGTH] >= 0 or head.minor == 0:
            return H1_BAD
        return h1_transfer_encoding(head, source)
    if head.first[HEADER_CONTENT_LENGTH] >= 0:
        return h1_content_length(head, source)
    return H1_OK


# RFC 9110 section 10.1.1: 100-continue is the only expectation there is; 1.0 cannot have it.
cdef inline int h1_expect(h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field
    head.expects_continue = 0
    if head.first[HEADER_EXPECT] < 0 or head.minor == 0:
        return H1_OK
    field = &head.fields[head.first[HEADER_EXPECT]]
    if not chars_equal(source + field.value, field.value_bytes, b"100-continue", 12):
        return H1_EXPECTATION
    head.expects_continue = 1
    return H1_OK


# Parse the whole request head source[0:head_bytes], as found by h1_scan(). H1_OK, or the status to
# refuse it with.
cdef inline int h1_parse_request(
    h1_head_t* head, const char* source, uint32_t head_bytes,
) noexcept nogil:
    cdef int verdict
    head.head_bytes = head_bytes
    head.line_bytes = <uint32_t>(<const char*>memchr(source, c'\n', head_bytes) - source) + 1
    head.has_close = 0
    head.has_upgrade = 0
    head.has_new_path = 0
    head.status = 0
    if head.line_bytes > H1_LINE_BYTES_MAX:
        return H1_URI_TOO_LONG
    verdict = h1_request_line(head, source)
    if verdict == H1_OK:
        verdict = h1_target(head, source)
    if verdict == H1_OK:
        verdict = h1_fields(head, source)
    if verdict == H1_OK:
        verdict = h1_connection(head, source)
    if verdict == H1_OK:
        verdict = h1_host(head, source)
    if verdict == H1_OK:
        verdict = h1_request_body(head, source)
    if verdict == H1_OK and head.body != BODY_NONE and head.method in (
            METHOD_TRACE, METHOD_CONNECT):
        verdict = H1_BAD            # RFC 9110 sections 9.3.6 and 9.3.8: they have no content
    if verdict == H1_OK:
        verdict = h1_expect(head, source)
    return verdict


# ---- responses --------------------------------------------------------------------------------

# The framing of the response's body (RFC 9112 section 6.3), which the request's method is part of.
cdef inline int h1_response_body(
    h1_head_t* head, const char* source, uint8_t method,
) noexcept nogil:
    cdef int verdict = H1_OK
    head.body = BODY_UNTIL_CLOSE
    head.content_length = 0
    if head.first[HEADER_TRANSFER_ENCODING] >= 0:
        if head.first[HEADER_CONTENT_LENGTH] >= 0 or head.minor == 0:
            return H1_BAD_GATEWAY
        verdict = h1_transfer_encoding(head, source)
    elif head.first[HEADER_CONTENT_LENGTH] >= 0:
        verdict = h1_content_length(head, source)
    if verdict != H1_OK:
        return H1_BAD_GATEWAY
    if head.status == 101 or method == METHOD_CONNECT and 200 <= head.status < 300:
        head.body = BODY_TUNNEL
    elif (method == METHOD_HEAD or head.status < 200 or head.status == 204
            or head.status == 304):
        head.body = BODY_NONE
    return H1_OK


# Parse the whole response head source[0:head_bytes]; `method` is the request's. H1_OK or
# H1_BAD_GATEWAY.
cdef inline int h1_parse_response(
    h1_head_t* head, const char* source, uint32_t head_bytes, uint8_t method,
) noexcept nogil:
    head.head_bytes = head_bytes
    head.line_bytes = <uint32_t>(<const char*>memchr(source, c'\n', head_bytes) - source) + 1
    head.has_close = 0
    head.has_upgrade = 0
    head.expects_continue = 0
    head.method = method
    if h1_status_line(head, source) != H1_OK or h1_fields(head, source) != H1_OK:
        return H1_BAD_GATEWAY
    if h1_connection(head, source) != H1_OK:
        return H1_BAD_GATEWAY
    return h1_response_body(head, source, method)


# ---- trailers ---------------------------------------------------------------------------------

# The end of a trailer section: its length with the empty line, 0 when it is not whole, -H1_*.
cdef inline int64_t h1_scan_trailers(
    const char* source, uint32_t length, uint32_t seen,
) noexcept nogil:
    if length >= 2 and source[0] == c'\r' and source[1] == c'\n':
        return 2
    if length < 2:
        return 0
    return h1_scan(source, length, seen)


# Parse a whole trailer section; fields that may not stand there are marked as dropped. H1_OK or
# H1_BAD.
cdef inline int h1_parse_trailers(
    h1_head_t* head, const char* source, uint32_t length,
) noexcept nogil:
    cdef uint32_t i
    head.head_bytes = length
    head.line_bytes = 0
    if h1_fields(head, source) != H1_OK:
        return H1_BAD
    for i in range(head.field_count):
        if not header_may_trail(head.fields[i].id):
            head.fields[i].is_dropped = 1
            head.dropped_count += 1
    return H1_OK
