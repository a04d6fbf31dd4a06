# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. Protocol detection: what do the first bytes of a connection look like? Sans-I/O.
#
# Rule 1: resumable at every byte and without a buffer: the state of a look that needs more bytes is
#         the 32 bytes of detect_t. Nothing is held back and nothing is read twice.
# Rule 2: a verdict is a label, never a licence: HTTP is said once "METHOD target HTTP/" was seen
#         (RFC 9112 section 3), HTTP/2 after the whole preface (RFC 9113 section 3.4), TLS after a
#         whole ClientHello (RFC 8446 section 4.1.2). Everything else is opaque.
# Rule 3: linear: every byte is looked at once, or skipped.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from proxy.fast.limits cimport CLIENT_HELLO_BYTES_MAX, METHOD_BYTES_MAX, SNI_BYTES_MAX
from proxy.fast.reasons cimport PROTOCOL_HTTP1, PROTOCOL_HTTP2, PROTOCOL_OPAQUE, PROTOCOL_TLS
from proxy.fast.types cimport detect_t, sni_t

cdef extern from *:
    """
    static const unsigned char remora_preface[] = "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n";
    static const unsigned char remora_version[] = "HTTP/";
    static const unsigned char remora_mesh[] = "remora";
    /* RFC 9110 section 5.6.2: tchar */
    static inline int remora_is_tchar(unsigned char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
            || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
    }
    static inline int remora_is_host_char(unsigned char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
            || c == '-' || c == '.' || c == '_';
    }
    """
    const unsigned char http2_preface "remora_preface"[]
    const unsigned char http_version "remora_version"[]
    const unsigned char mesh_name "remora_mesh"[]
    bint is_tchar "remora_is_tchar"(unsigned char c) nogil
    bint is_host_char "remora_is_host_char"(unsigned char c) nogil

cdef enum:
    PREFACE_BYTES = 24
    VERSION_BYTES = 5               # "HTTP/"; the digit after it decides
    MESH_BYTES = 6                  # "remora", alone or with "-" and the protocol inside
    EXTENSION_SERVER_NAME = 0       # RFC 6066 section 3
    EXTENSION_ALPN = 16             # RFC 7301 section 3.1

cdef enum:                          # detect_t.state
    DETECT_START = 0
    DETECT_METHOD = 1
    DETECT_TARGET = 2
    DETECT_VERSION = 3
    DETECT_PREFACE = 4              # "PRI * HTTP/2": the rest of the preface must follow
    # A ClientHello. From HELLO_TYPE on: fields of the handshake message, in wire order.
    HELLO_TYPE = 10
    HELLO_LENGTH = 11
    HELLO_RANDOM = 12               # skipped, with the legacy version
    HELLO_SESSION_LENGTH = 13
    HELLO_SESSION = 14
    HELLO_CIPHERS_LENGTH = 15
    HELLO_CIPHERS = 16
    HELLO_COMPRESSION_LENGTH = 17
    HELLO_COMPRESSION = 18
    HELLO_EXTENSIONS_LENGTH = 19
    HELLO_EXTENSION_TYPE = 20
    HELLO_EXTENSION_LENGTH = 21
    HELLO_EXTENSION = 22            # skipped
    HELLO_SNI_LIST_LENGTH = 23
    HELLO_SNI_TYPE = 24
    HELLO_SNI_NAME_LENGTH = 25
    HELLO_SNI_NAME = 26             # copied
    HELLO_ALPN_LIST_LENGTH = 27
    HELLO_ALPN_LENGTH = 28
    HELLO_ALPN_NAME = 29            # compared
    DETECT_DONE = 255


cdef inline void detect_verdict(detect_t* d, uint8_t protocol) noexcept nogil:
    d.protocol = protocol
    d.state = DETECT_DONE


# One byte of what may be a request line or the HTTP/2 preface.
cdef inline void detect_line_byte(detect_t* d, uint8_t byte, uint32_t bytes_max) noexcept nogil:
    if d.preface_count == d.seen_bytes and d.preface_count < PREFACE_BYTES:
        d.preface_count += byte == http2_preface[d.preface_count]
    if d.seen_bytes < 0xFFFF:                   # it saturates: 0 again would match the preface
        d.seen_bytes += 1
    if d.state == DETECT_METHOD:
        if byte == c' ' and d.word_count > 0:
            d.state = DETECT_TARGET
            d.word_count = 0
        elif is_tchar(byte) and d.word_count < METHOD_BYTES_MAX:
            d.word_count += 1
        else:
            detect_verdict(d, PROTOCOL_OPAQUE)
    elif d.state == DETECT_TARGET:
        if byte == c' ' and d.word_count > 0:
            d.state = DETECT_VERSION
            d.word_count = 0
        elif byte <= 0x20 or byte == 0x7f:
            detect_verdict(d, PROTOCOL_OPAQUE)
        else:
            d.word_count = 1
            if d.seen_bytes >= bytes_max:       # a long target: nothing but HTTP looks like this
                detect_verdict(d, PROTOCOL_HTTP1)
    elif d.state == DETECT_VERSION:
        if d.word_count < VERSION_BYTES:
            if byte == http_version[d.word_count]:
                d.word_count += 1
            else:
                detect_verdict(d, PROTOCOL_OPAQUE)
        elif d.preface_count == d.seen_bytes:
            d.state = DETECT_PREFACE
        else:
            detect_verdict(
                d, PROTOCOL_HTTP1 if byte >= c'0' and byte <= c'9' else PROTOCOL_OPAQUE)
    elif d.preface_count != d.seen_bytes:       # DETECT_PREFACE
        detect_verdict(d, PROTOCOL_OPAQUE)
    elif d.preface_count == PREFACE_BYTES:
        detect_verdict(d, PROTOCOL_HTTP2)


# Bytes of the integer that a state reads; 0 for a state that skips or copies.
cdef inline uint16_t hello_integer_bytes(uint8_t state) noexcept nogil:
    if state == HELLO_LENGTH:
        return 3
    if state in (HELLO_TYPE, HELLO_SESSION_LENGTH, HELLO_COMPRESSION_LENGTH, HELLO_SNI_TYPE,
                 HELLO_ALPN_LENGTH):
        return 1
    if state in (HELLO_RANDOM, HELLO_SESSION, HELLO_CIPHERS, HELLO_COMPRESSION, HELLO_EXTENSION,
                 HELLO_SNI_NAME, HELLO_ALPN_NAME):
        return 0
    return 2


# Go to a field that has `length` bytes to be skipped or copied; one that cannot be is malformed.
cdef inline void hello_skip(detect_t* d, uint8_t state, uint32_t length) noexcept nogil:
    if length > d.hello_left:
        detect_verdict(d, PROTOCOL_OPAQUE)
        return
    d.state = state
    d.skip_left = length


# Go to such a field if its length is one that the RFC allows.
cdef inline void hello_field(
    detect_t* d, uint8_t state, uint32_t length, bint is_allowed,
) noexcept nogil:
    if is_allowed:
        hello_skip(d, state, length)
    else:
        detect_verdict(d, PROTOCOL_OPAQUE)


# Go to the next integer if this one was as it must be.
cdef inline void hello_expect(detect_t* d, uint8_t state, bint is_allowed) noexcept nogil:
    if is_allowed:
        d.state = state
    else:
        detect_verdict(d, PROTOCOL_OPAQUE)


# The skipped field is over: what comes next.
cdef inline void hello_after_skip(detect_t* d) noexcept nogil:
    if d.state == HELLO_RANDOM:
        d.state = HELLO_SESSION_LENGTH
    elif d.state == HELLO_SESSION:
        d.state = HELLO_CIPHERS_LENGTH
    elif d.state == HELLO_CIPHERS:
        d.state = HELLO_COMPRESSION_LENGTH
    elif d.state == HELLO_COMPRESSION:
        d.state = HELLO_EXTENSIONS_LENGTH
    elif d.state == HELLO_ALPN_NAME and d.extension_left > 0:
        d.state = HELLO_ALPN_LENGTH
    else:
        d.state = HELLO_EXTENSION_TYPE


# A name of the ALPN list begins. Ours are "remora" and what begins with "remora-".
cdef inline void hello_alpn_name(detect_t* d, uint32_t length) noexcept nogil:
    if length == 0 or length + 1 > d.extension_left:
        detect_verdict(d, PROTOCOL_OPAQUE)
        return
    d.extension_left -= <uint16_t>(length + 1)
    d.name_count = 0
    hello_skip(d, HELLO_ALPN_NAME, length)


# Bytes of that name; `is_last`: its last ones are among them.
cdef inline void hello_compare_name(
    detect_t* d, const uint8_t* source, uint32_t length, bint is_last,
) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        if d.name_count == MESH_BYTES and source[i] == c'-':
            d.is_mesh = 1
        if d.name_count < MESH_BYTES and source[i] == mesh_name[d.name_count]:
            d.name_count += 1
        else:
            d.name_count = MESH_BYTES + 1       # another one
    if is_last and d.name_count == MESH_BYTES:
        d.is_mesh = 1


# The integer `d.number` of the current state is complete. A server_name extension holds one list
# with one host_name and nothing else (RFC 6066 section 3), and there is one of it at most.
cdef inline void hello_integer(detect_t* d) noexcept nogil:
    cdef uint32_t number = d.number
    if d.state == HELLO_TYPE:
        if number != 1:
            detect_verdict(d, PROTOCOL_OPAQUE)
        else:
            d.state = HELLO_LENGTH
    elif d.state == HELLO_LENGTH:
        if number < 38 or number > CLIENT_HELLO_BYTES_MAX:
            detect_verdict(d, PROTOCOL_OPAQUE)
        else:
            d.hello_left = number
            hello_skip(d, HELLO_RANDOM, 34)
    elif d.state == HELLO_SESSION_LENGTH:
        hello_field(d, HELLO_SESSION, number, number <= 32)
    elif d.state == HELLO_CIPHERS_LENGTH:
        hello_field(d, HELLO_CIPHERS, number, number >= 2 and number & 1 == 0)
    elif d.state == HELLO_COMPRESSION_LENGTH:
        hello_field(d, HELLO_COMPRESSION, number, number >= 1)
    elif d.state == HELLO_EXTENSIONS_LENGTH:
        if number != d.hello_left:
            detect_verdict(d, PROTOCOL_OPAQUE)
        else:
            d.state = HELLO_EXTENSION_TYPE
    elif d.state == HELLO_EXTENSION_TYPE:
        d.skip_left = number                # the type, until the length is known
        d.state = HELLO_EXTENSION_LENGTH
    elif d.state == HELLO_EXTENSION_LENGTH:
        if d.skip_left == EXTENSION_ALPN and number >= 4 and number <= d.hello_left:
            d.extension_left = <uint16_t>number
            d.state = HELLO_ALPN_LIST_LENGTH
        elif d.skip_left != EXTENSION_SERVER_NAME:
            hello_skip(d, HELLO_EXTENSION, number)
        elif d.has_name or number < 5 or number > d.hello_left:
            detect_verdict(d, PROTOCOL_OPAQUE)
        else:
            d.has_name = 1
            d.extension_left = <uint16_t>number
            d.state = HELLO_SNI_LIST_LENGTH
    elif d.state == HELLO_SNI_LIST_LENGTH:
        hello_expect(d, HELLO_SNI_TYPE, number + 2 == d.extension_left)
    elif d.state == HELLO_ALPN_LIST_LENGTH:
        d.extension_left -= 2
        hello_expect(d, HELLO_ALPN_LENGTH, number == d.extension_left)
    elif d.state == HELLO_ALPN_LENGTH:
        hello_alpn_name(d, number)
    elif d.state == HELLO_SNI_TYPE:         # no other type was ever defined
        hello_expect(d, HELLO_SNI_NAME_LENGTH, number == 0)
    else:                                   # HELLO_SNI_NAME_LENGTH
        hello_field(d, HELLO_SNI_NAME, number,
                    number + 5 == d.extension_left and 1 <= number <= SNI_BYTES_MAX)


# Keep bytes of the server name. A name with a character that no host name has is forgotten: it
# would go to logs and metrics as it stands.
cdef inline void hello_copy_name(
    detect_t* d, sni_t* sni, const uint8_t* source, uint32_t length,
) noexcept nogil:
    cdef uint32_t i
    if sni == NULL:
        return
    for i in range(length):
        if not is_host_char(source[i]):
            sni.length = SNI_BYTES_MAX + 1          # poisoned: cleared when the hello is over
            return
    if sni.length + length <= SNI_BYTES_MAX:
        memcpy(sni.name + sni.length, source, length)
        sni.length += length


# Bytes of the handshake message, without record headers. Returns how many were used: all, unless
# the verdict came first.
cdef inline uint32_t hello_feed(
    detect_t* d, const uint8_t* source, uint32_t length, sni_t* sni,
) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint32_t step
    while i < length and d.state != DETECT_DONE:
        if hello_integer_bytes(d.state) == 0:
            step = d.skip_left if d.skip_left < length - i else length - i
            if d.state == HELLO_SNI_NAME:
                hello_copy_name(d, sni, source + i, step)
            elif d.state == HELLO_ALPN_NAME:
                hello_compare_name(d, source + i, step, step == d.skip_left)
            d.skip_left -= step
            d.hello_left -= step
            i += step
        else:
            d.number = (d.number << 8) | source[i]
            d.header_count += 1
            i += 1
            if d.state > HELLO_LENGTH:
                d.hello_left -= 1
            if d.header_count == hello_integer_bytes(d.state):
                hello_integer(d)
                d.number = 0
                d.header_count = 0
        # A field of no bytes, or one just finished: go on to the next.
        while d.state != DETECT_DONE and hello_integer_bytes(d.state) == 0 and d.skip_left == 0:
            hello_after_skip(d)
        if d.state > HELLO_LENGTH and d.state != DETECT_DONE and d.hello_left == 0:
            # The message ends here. It may do so between extensions, or before there are any.
            if d.header_count == 0 and d.state in (HELLO_EXTENSION_TYPE, HELLO_EXTENSIONS_LENGTH):
                detect_verdict(d, PROTOCOL_TLS)
            else:
                detect_verdict(d, PROTOCOL_OPAQUE)
    return i


# Bytes of TLS records. The record header is read with the state set aside in `record_left` == 0.
cdef inline void detect_tls(
    detect_t* d, const uint8_t* source, uint32_t length, sni_t* sni,
) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint32_t step
    while i < length and d.state != DETECT_DONE:
        if d.record_left == 0:
            # word_count counts header bytes: type 22, version 3.x, length (2).
            if d.word_count == 0 and source[i] != 0x16 or d.word_count == 1 and source[i] != 3:
                detect_verdict(d, PROTOCOL_OPAQUE)
                return
            if d.word_count >= 3:
                d.seen_bytes = <uint16_t>((d.seen_bytes << 8) | source[i])
            d.word_count += 1
            i += 1
            if d.word_count == 5:
                d.record_left = d.seen_bytes
                d.word_count = 0
                d.seen_bytes = 0
                if d.record_left == 0 or d.record_left > CLIENT_HELLO_BYTES_MAX:
                    detect_verdict(d, PROTOCOL_OPAQUE)
            continue
        step = d.record_left if d.record_left < length - i else length - i
        step = hello_feed(d, source + i, step, sni)
        d.record_left -= <uint16_t>step
        i += step


# Look at the next bytes that the downstream said. Returns 1 once there is a verdict
# (d.protocol); later bytes are not looked at. `sni` (borrowed, may be NULL) receives the server
# name; its length is 0 when there was none.
cdef inline bint detect_feed(
    detect_t* d, const uint8_t* source, uint32_t length, uint32_t bytes_max, sni_t* sni,
) noexcept nogil:
    cdef uint32_t i = 0
    if d.state == DETECT_START and length > 0:
        d.state = HELLO_TYPE if source[0] == 0x16 else DETECT_METHOD
    if d.state >= HELLO_TYPE and d.state != DETECT_DONE:
        detect_tls(d, source, length, sni)
    else:
        while i < length and d.state != DETECT_DONE:
            detect_line_byte(d, source[i], bytes_max)
            i += 1
    if d.state == DETECT_DONE and sni != NULL:
        if d.protocol != PROTOCOL_TLS or sni.length > SNI_BYTES_MAX:
            sni.length = 0
    return d.state == DETECT_DONE


# The look was cut short: the other side spoke, or the bytes ended. The best that can be said.
# A name that was not read to its end is forgotten: half a name is another name.
cdef inline void detect_finish(detect_t* d, sni_t* sni) noexcept nogil:
    if sni != NULL and (d.state == HELLO_SNI_NAME or sni.length > SNI_BYTES_MAX):
        sni.length = 0
    if d.state == DETECT_VERSION or d.state == DETECT_TARGET and d.word_count > 0:
        detect_verdict(d, PROTOCOL_HTTP1)
    elif d.state > HELLO_LENGTH and d.state != DETECT_DONE:
        detect_verdict(d, PROTOCOL_TLS)
    elif d.state != DETECT_DONE:
        detect_verdict(d, PROTOCOL_OPAQUE)


# The upstream spoke first. An HTTP/2 server may (its SETTINGS, RFC 9113 section 3.4); otherwise it
# is a protocol that we have no word for.
cdef inline void detect_upstream_first(
    detect_t* d, const uint8_t* source, uint32_t length,
) noexcept nogil:
    if (length >= 9 and source[0] == 0 and source[1] == 0 and source[2] % 6 == 0
            and source[3] == 4 and source[4] == 0
            and source[5] == 0 and source[6] == 0 and source[7] == 0 and source[8] == 0):
        detect_verdict(d, PROTOCOL_HTTP2)
    else:
        detect_verdict(d, PROTOCOL_OPAQUE)
