# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
"""The HTTP/1.1 codec of proxy/fast with a Python handle: test-only, built on demand, never shipped.

The same .pxd files as in the proxy, compiled with assertions and with undefined behaviour trapped.
Whatever is parsed lies right before a guard page, or right behind one (`is_low`).
"""
from collections import namedtuple

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from guarded cimport ROOM_BYTES, guarded_place, guarded_room

from proxy.fast.body cimport (
    BODY_BROKEN, BODY_COMPLETE, BODY_TRAILERS, BODY_UNBOUNDED, body_feed, body_ran, body_run,
    body_start,
)
from proxy.fast.chars cimport (
    CHAR_HOST, CHAR_TARGET, CHAR_TOKEN, CHAR_VALUE, char_is, char_lower, chars_are, chars_equal,
    chars_value_end,
)
from proxy.fast.emit cimport (
    emit_address, emit_field_again, emit_head, emit_hex, emit_number, emit_text,
)
from proxy.fast.headers cimport header_id, header_is_kept, header_may_trail
from proxy.fast.http1 cimport (
    H1_OK, h1_is_idempotent, h1_method, h1_parse_request, h1_parse_response, h1_parse_trailers,
    h1_scan, h1_scan_trailers, h1_skip_empty_lines,
)
from proxy.fast.limits cimport (
    CHUNK_EXTENSION_BYTES_MAX, H1_CONNECTION_TOKENS_MAX, H1_FIELDS_MAX, H1_HEAD_BYTES_MAX,
    H1_LINE_BYTES_MAX, OUT_EXTRA_BYTES,
)
from proxy.fast.reasons cimport (
    BODY_CHUNKED, BODY_LENGTH, BODY_NONE, BODY_TUNNEL, BODY_UNTIL_CLOSE, HEADER_COUNT,
)
from proxy.fast.reply cimport reply_write
from proxy.fast.address cimport addr_t
from proxy.fast.types cimport body_t, h1_field_t, h1_head_t

HEAD_BYTES_MAX = H1_HEAD_BYTES_MAX
LINE_BYTES_MAX = H1_LINE_BYTES_MAX
FIELDS_MAX = H1_FIELDS_MAX
CONNECTION_TOKENS_MAX = H1_CONNECTION_TOKENS_MAX
EXTENSION_BYTES_MAX = CHUNK_EXTENSION_BYTES_MAX
EXTRA_BYTES = OUT_EXTRA_BYTES

# Index order of the enums in proxy/fast/reasons.pxd.
BODIES = ("none", "length", "chunked", "until_close", "tunnel")
METHODS = ("OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")
HEADERS = (
    "", "host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te",
    "trailer", "keep-alive", "proxy-connection", "http2-settings", "x-request-id",
    "x-forwarded-for", "x-forwarded-proto", "traceparent", "authorization", "user-agent",
    "x-forwarded-client-cert", "remora-client-id", "remora-attempt-count", "remora-timeout-ms",
    "retry-after",
)
BODY_STATES = (
    "data", "size", "extension", "size_lf", "data_cr", "data_lf", "trailers", "complete", "broken",
    "too_large",
)

if len(HEADERS) != HEADER_COUNT or BODIES[BODY_TUNNEL] != "tunnel":
    raise ImportError("the probe's names and the enums of proxy/fast/reasons.pxd differ")

Field = namedtuple("Field", ("name", "value", "id", "is_dropped"))
Head = namedtuple("Head", (
    "method", "method_id", "target", "status", "minor", "body", "content_length", "persists", "closes",
    "upgrades", "expects_continue", "fields",
))
# `wire` is what would be written of it; text[start:end] what it was read from.
Message = namedtuple("Message", ("head", "body", "trailers", "wire", "start", "end"))

cdef char* _room = guarded_room()
if _room == NULL:
    raise MemoryError

# A place to write to, followed by nothing that may be touched either.
cdef char* _out_room = guarded_room()
if _out_room == NULL:
    raise MemoryError


cdef const char* place(bytes text, bint is_low=False) except NULL:
    if len(text) > ROOM_BYTES:
        raise ValueError("too long for the guarded room")
    return guarded_place(_room, text, <uint32_t>len(text), is_low)


# Where the proxy would write a head: exactly as much room as worker_t.out has.
cdef char* out_place() noexcept:
    return _out_room + ROOM_BYTES - (H1_HEAD_BYTES_MAX + OUT_EXTRA_BYTES)


# ---- characters and names ---------------------------------------------------------------------

def is_char(int byte, str kind):
    """Is the byte a "token", "value", "target" or "host" character?"""
    cdef int classes = {
        "token": CHAR_TOKEN, "value": CHAR_VALUE, "target": CHAR_TARGET, "host": CHAR_HOST}[kind]
    return bool(char_is(<uint8_t>byte, <uint8_t>classes))


def lower(int byte):
    return char_lower(<uint8_t>byte)


def value_end(bytes text):
    """Where the bytes end that may stand in a value."""
    return chars_value_end(place(text), 0, <uint32_t>len(text))


def is_host(bytes text):
    return bool(chars_are(place(text), <uint32_t>len(text), CHAR_HOST))


def is_word(bytes text, bytes word):
    """Is `text` the lower-case `word`, whatever its case?"""
    return bool(chars_equal(place(text), <uint32_t>len(text), word, <uint32_t>len(word)))


def name_id(bytes name):
    """The known name that this is, or ""."""
    return HEADERS[header_id(place(name), <uint32_t>len(name))]


def is_kept(str name):
    return bool(header_is_kept(<uint8_t>HEADERS.index(name)))


def may_trail(str name):
    return bool(header_may_trail(<uint8_t>HEADERS.index(name)))


def method_id(bytes name):
    return METHODS[h1_method(place(name), <uint32_t>len(name))]


def is_idempotent(str name):
    return bool(h1_is_idempotent(<uint8_t>METHODS.index(name)))


# ---- heads ------------------------------------------------------------------------------------

def scan(bytes text, uint32_t seen=0, *, is_low=False):
    """Length of the head, 0 when it is not whole, -status."""
    return h1_scan(place(text, is_low), <uint32_t>len(text), seen)


def scan_trailers(bytes text, uint32_t seen=0, *, is_low=False):
    return h1_scan_trailers(place(text, is_low), <uint32_t>len(text), seen)


cdef object fields_of(const h1_head_t* head, const char* source):
    cdef const h1_field_t* field
    cdef int i
    result = []
    dropped = 0
    for i in range(head.field_count):
        field = &head.fields[i]
        dropped += field.is_dropped
        result.append(Field(
            source[field.name:field.name + field.name_bytes],
            source[field.value:field.value + field.value_bytes],
            HEADERS[field.id], bool(field.is_dropped)))
    if dropped != head.dropped_count:
        raise AssertionError("dropped_count is wrong")
    return result


cdef object head_of(const h1_head_t* head, const char* source, bint is_request):
    return Head(
        source[:head.method_bytes] if is_request else b"",
        METHODS[head.method],
        source[head.target:head.target + head.target_bytes] if is_request else b"",
        head.status, head.minor, BODIES[head.body], head.content_length,
        bool(head.is_persistent), bool(head.has_close), bool(head.has_upgrade),
        bool(head.expects_continue), fields_of(head, source))


def request(bytes text, *, is_low=False):
    """Parse a whole request head: a Head, or the status to refuse it with."""
    cdef h1_head_t head
    cdef const char* source = place(text, is_low)
    memset(&head, 0xee, sizeof(head))
    cdef int verdict = h1_parse_request(&head, source, <uint32_t>len(text))
    return head_of(&head, source, True) if verdict == H1_OK else verdict


def response(bytes text, str method="GET", *, is_low=False):
    """Parse a whole response head to a request of that method: a Head, or the status 502."""
    cdef h1_head_t head
    cdef const char* source = place(text, is_low)
    cdef uint8_t number = METHODS.index(method)
    memset(&head, 0xee, sizeof(head))
    cdef int verdict = h1_parse_response(&head, source, <uint32_t>len(text), number)
    return head_of(&head, source, False) if verdict == H1_OK else verdict


def trailers(bytes text, *, is_low=False):
    """Parse a whole trailer section: its fields, or the status to refuse it with."""
    cdef h1_head_t head
    cdef const char* source = place(text, is_low)
    memset(&head, 0xee, sizeof(head))
    cdef int verdict = h1_parse_trailers(&head, source, <uint32_t>len(text))
    return fields_of(&head, source) if verdict == H1_OK else verdict


def emitted(bytes text, *, is_request=True):
    """What emit_head() makes of a whole head that can be parsed, without the empty line."""
    cdef h1_head_t head
    cdef const char* source = place(text)
    cdef int verdict
    if is_request:
        verdict = h1_parse_request(&head, source, <uint32_t>len(text))
    else:
        verdict = h1_parse_response(&head, source, <uint32_t>len(text), 1)
    if verdict != H1_OK:
        raise ValueError(verdict)
    cdef char* out = out_place()
    return out[:emit_head(out, &head, source)]


def emitted_again(bytes text, int number):
    """What emit_field_again() makes of the field of that number."""
    cdef h1_head_t head
    cdef const char* source = place(text)
    if h1_parse_request(&head, source, <uint32_t>len(text)) != H1_OK:
        raise ValueError(text)
    cdef char* out = out_place()
    return out[:emit_field_again(out, 0, source, &head.fields[number])]


def number_text(uint64_t number):
    cdef char* out = out_place()
    return out[:emit_number(out, 0, number)]


def hex_text(uint64_t bits, int digits):
    cdef char* out = out_place()
    return out[:emit_hex(out, 0, bits, digits)]


def address_text(bytes ip):
    """An address of 4 or 16 bytes as text."""
    cdef addr_t address
    cdef int i
    memset(&address, 0, sizeof(address))
    address.family = 4 if len(ip) == 4 else 6
    for i in range(<int>len(ip)):
        address.ip[i] = ip[i]
    cdef char* out = out_place()
    return out[:emit_address(out, 0, &address)]


def reply(uint16_t status, bytes reason, *, is_head=False, closes=True):
    cdef char* out = out_place()
    return out[:reply_write(out, status, reason, NULL, 0, is_head, closes)]


# ---- bodies -----------------------------------------------------------------------------------

cdef class Body:
    """body_t: the framing of one body. `kind` is one of BODIES."""

    cdef body_t body

    def __init__(self, str kind, uint64_t length=0, uint64_t bytes_max=BODY_UNBOUNDED):
        memset(&self.body, 0xee, sizeof(body_t))
        body_start(&self.body, <uint8_t>BODIES.index(kind), length, bytes_max)

    def feed(self, bytes text, *, is_low=False):
        """How many of the bytes may be passed on."""
        return body_feed(&self.body, place(text, is_low), <uint32_t>len(text))

    def ran(self, uint64_t length):
        body_ran(&self.body, length)

    @property
    def run(self):
        return body_run(&self.body)

    @property
    def state(self):
        return BODY_STATES[self.body.state]

    @property
    def data_bytes(self):
        return self.body.data_bytes


# ---- whole messages ---------------------------------------------------------------------------

# Decode what of source[0:length] belongs to a body; `used` is set to how many bytes do. The same bytes
# fed at once must come to the same end.
cdef object decode(body_t* body, const char* source, uint32_t length, uint32_t* used):
    cdef body_t at_once = body[0]
    cdef uint32_t fed = body_feed(&at_once, source, length)
    cdef uint32_t at = 0
    cdef uint64_t run
    result = bytearray()
    while at < length and body.state < BODY_TRAILERS:
        run = body_run(body)
        if run:
            if run > length - at:
                run = length - at
            result += source[at:at + <uint32_t>run]
            body_ran(body, run)
            at += <uint32_t>run
        else:
            at += body_feed(body, source + at, 1)
    if at != fed or body.state != at_once.state or body.left != at_once.left:
        raise AssertionError("the body ends elsewhere when it is fed at once")
    used[0] = at
    return bytes(result)


# One message behind its head: (body, trailers, wire, end), where `wire` is what would be written of
# it and `end` "whole", "more" or the status that refuses it.
cdef object rest_of(const h1_head_t* head, const char* source, uint32_t length, uint32_t* used):
    cdef h1_head_t section
    cdef body_t body
    cdef uint32_t taken = 0
    cdef int64_t n
    cdef char* out
    body_start(&body, head.body, head.content_length, BODY_UNBOUNDED)
    text = decode(&body, source, length, &taken)
    wire = source[:taken]
    used[0] = taken
    if body.state == BODY_BROKEN:
        return text, [], wire, 400
    if body.state == BODY_COMPLETE:
        return text, [], wire, "whole"
    if body.state != BODY_TRAILERS:
        return text, [], wire, "more"
    n = h1_scan_trailers(source + taken, length - taken, 0)
    if n == 0:
        return text, [], wire, "more"
    if n < 0 or h1_parse_trailers(&section, source + taken, <uint32_t>n) != H1_OK:
        return text, [], wire, 400
    out = out_place()
    wire += out[:emit_head(out, &section, source + taken)] + b"\r\n"
    fields = fields_of(&section, source + taken)
    used[0] = taken + <uint32_t>n
    return text, fields, wire, "whole"


def requests(bytes text):
    """The requests of a stream, as a connection takes them: ([Message], end, offset of the end).

    `end` is "more" when bytes are missing, a status when the rest was refused, "switch" behind a
    request after which the bytes are another protocol's.
    """
    cdef const char* source = place(text)
    cdef uint32_t length = <uint32_t>len(text)
    cdef uint32_t at = 0
    cdef uint32_t used = 0
    cdef h1_head_t head
    cdef int64_t n
    cdef int verdict
    cdef char* out
    messages = []
    while True:
        while h1_skip_empty_lines(source + at, length - at):
            at += 2
        if at == length:
            return messages, "more", at
        n = h1_scan(source + at, length - at, 0)
        if n <= 0:
            return messages, "more" if n == 0 else -n, at
        verdict = h1_parse_request(&head, source + at, <uint32_t>n)
        if verdict != H1_OK:
            return messages, verdict, at
        parsed = head_of(&head, source + at, True)
        out = out_place()
        wire = out[:emit_head(out, &head, source + at)] + b"\r\n"
        if parsed.method_id == "CONNECT":
            messages.append(Message(parsed, b"", [], wire, at, at + <uint32_t>n))
            return messages, "switch", at + <uint32_t>n
        body, fields, rest, end = rest_of(&head, source + at + n, length - at - <uint32_t>n, &used)
        if end != "whole":
            return messages, end, at
        messages.append(
            Message(parsed, body, fields, wire + rest, at, at + <uint32_t>n + used))
        at += <uint32_t>n + used


def answer(bytes text, str method):
    """One response to a request of that method: ([Message], end, offset), interim ones first.

    `end` as above; "close" for a body that ends with the connection, "switch" for a tunnel.
    """
    cdef const char* source = place(text)
    cdef uint32_t length = <uint32_t>len(text)
    cdef uint32_t at = 0
    cdef uint32_t used = 0
    cdef h1_head_t head
    cdef int64_t n
    cdef uint8_t number = METHODS.index(method)
    cdef char* out
    messages = []
    while True:
        n = h1_scan(source + at, length - at, 0)
        if n == 0:
            return messages, "more", at
        if n < 0 or h1_parse_response(&head, source + at, <uint32_t>n, number) != H1_OK:
            return messages, 502, at
        parsed = head_of(&head, source + at, False)
        out = out_place()
        wire = out[:emit_head(out, &head, source + at)] + b"\r\n"
        start = at
        at += <uint32_t>n
        if 100 <= head.status < 200 and head.status != 101:
            messages.append(Message(parsed, b"", [], wire, start, at))
            continue
        if head.body == BODY_TUNNEL:
            messages.append(Message(parsed, b"", [], wire, start, at))
            return messages, "switch", at
        body, fields, rest, end = rest_of(&head, source + at, length - at, &used)
        if head.body == BODY_UNTIL_CLOSE:
            end = "close"
        if end in ("whole", "close"):
            at += used
            messages.append(Message(parsed, body, fields, wire + rest, start, at))
        return messages, 502 if end == 400 else end, at
