# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. What we change in the heads that pass: hop-by-hop fields go, what the next hop should know
# comes.
#
# Rule 1: everything else stays byte for byte, in its order and case.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove
from proxy.fast.chars cimport CHAR_TOKEN, char_is, chars_equal
from proxy.fast.edits cimport EDIT_HOST, EDIT_PATH, edits_drop, edits_emit, edits_find
from proxy.fast.emit cimport (
    emit_address, emit_field_again, emit_head, emit_hex, emit_number, emit_text,
)
from proxy.fast.exchange cimport exchange_is_routed
from proxy.fast.limits cimport LOG_ID_BYTES_MAX, SHA256_BYTES
from proxy.fast.peer cimport conn_peer
from proxy.fast.random cimport random_next
from proxy.fast.reasons cimport (
    BODY_TUNNEL, DIRECTION_INBOUND, HEADER_ATTEMPTS, HEADER_CLIENT_CERT, HEADER_CLIENT_ID,
    HEADER_HOST, HEADER_TIMEOUT, HEADER_TRACEPARENT, HEADER_UPGRADE, HEADER_X_FORWARDED_FOR,
    HEADER_X_FORWARDED_PROTO, HEADER_X_REQUEST_ID,
)
from proxy.fast.request_log cimport h1_keep
from proxy.fast.types cimport (
    buf_t, conn_t, exchange_t, h1_field_t, h1_head_t, peer_t, request_log_t, worker_t,
)


# The last field of that name, dropped to be written again behind the others; NULL when there is
# none.
cdef inline const h1_field_t* h1_drop_last(h1_head_t* head, uint8_t id) noexcept nogil:
    cdef int i
    for i in range(head.field_count - 1, -1, -1):
        if head.fields[i].id == id:
            head.fields[i].is_dropped = 1
            head.dropped_count += 1
            return &head.fields[i]
    return NULL


# Strangers may not say who they are: what names the peer comes from us, or not at all.
cdef inline void h1_drop_claims(h1_head_t* head) noexcept nogil:
    cdef int i
    if head.first[HEADER_CLIENT_CERT] < 0 and head.first[HEADER_CLIENT_ID] < 0:
        return
    for i in range(head.field_count):
        if head.fields[i].id in (HEADER_CLIENT_CERT, HEADER_CLIENT_ID):
            head.fields[i].is_dropped = 1
            head.dropped_count += 1


# Who the downstream has proved to be, in Envoy's form and in one word.
cdef inline uint32_t h1_emit_peer(
    const worker_t* w, char* out, uint32_t at, const peer_t* peer,
) noexcept nogil:
    cdef int i
    at = emit_text(out, at, b"x-forwarded-client-cert: By=", 28)
    at = emit_text(out, at, w.snapshot.own_id, w.snapshot.own_id_bytes)
    at = emit_text(out, at, b";Hash=", 6)
    for i in range(SHA256_BYTES):
        at = emit_hex(out, at, peer.digest[i], 2)
    at = emit_text(out, at, b";URI=", 5)
    at = emit_text(out, at, peer.id, peer.id_bytes)
    at = emit_text(out, at, b"\r\nremora-client-id: ", 20)
    at = emit_text(out, at, peer.id, peer.id_bytes)
    return emit_text(out, at, b"\r\n", 2)


# Does the target name another host than Host does? The target wins (RFC 9112 section 3.2.2).
cdef inline bint h1_has_other_host(const h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field
    if head.authority_bytes == 0 or head.first[HEADER_HOST] < 0:
        return False
    field = &head.fields[head.first[HEADER_HOST]]
    return field.value_bytes != head.authority_bytes or memcmp(
        source + field.value, source + head.authority, field.value_bytes) != 0


# The head with, if it must be, another Host: `host` (NULL: none), or that which its target names.
cdef inline uint32_t h1_emit_host(
    char* out, h1_head_t* head, const char* source, const char* host, uint32_t bytes,
) noexcept nogil:
    cdef uint32_t at
    if host == NULL and h1_has_other_host(head, source):
        host = source + head.authority
        bytes = head.authority_bytes
    if host == NULL:
        return emit_head(out, head, source)
    if head.first[HEADER_HOST] >= 0:
        head.fields[head.first[HEADER_HOST]].is_dropped = 1
        head.dropped_count += 1
    at = emit_head(out, head, source)
    at = emit_text(out, at, b"Host: ", 6)
    at = emit_text(out, at, host, bytes)
    return emit_text(out, at, b"\r\n", 2)


# Other words in place of `old_bytes` from `place` on in the first line of out[:at]. Returns the new
# end.
cdef inline uint32_t h1_put(
    char* out, uint32_t at, uint32_t place, uint32_t old_bytes, const char* text, uint32_t bytes,
) noexcept nogil:
    memmove(out + place + bytes, out + place + old_bytes, at - place - old_bytes)
    memcpy(out + place, text, bytes)
    return at - old_bytes + bytes


# The head with host and path as the route, or the policies that judged it, will have them.
cdef inline uint32_t h1_emit_start(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source,
) noexcept nogil:
    cdef uint32_t bytes = 0
    cdef uint32_t at
    cdef buf_t* edits = c.exchange.edits
    cdef const char* host = edits_find(edits, EDIT_HOST, &bytes)
    cdef const char* path
    cdef bint has_path
    if edits != NULL:
        edits_drop(edits, False, head, source)
    at = h1_emit_host(w.out, head, source, host, bytes)
    path = edits_find(edits, EDIT_PATH, &bytes)
    if path != NULL:
        return h1_put(w.out, at, head.target, head.target_bytes, path, bytes)
    if host != NULL and head.authority_bytes:       # absolute-form: the host goes from the target
        bytes = head.authority + head.authority_bytes - head.target
        has_path = bytes < head.target_bytes and source[head.target + bytes] == c'/'
        return h1_put(w.out, at, head.target, bytes, b"/", 0 if has_path else 1)
    if head.has_new_path:
        return h1_put(w.out, at, head.path, head.path_bytes, w.path, w.path_bytes)
    return at


# What we tell of tries and deadlines ourselves, in h1_emit_tail().
cdef inline void h1_drop_own(const exchange_t* x, h1_head_t* head) noexcept nogil:
    cdef int i
    cdef bint tells_tries = exchange_is_routed(x)   # else the downstream's proxy did
    if (head.first[HEADER_TIMEOUT] < 0 or not x.deadline_ms) and (
            head.first[HEADER_ATTEMPTS] < 0 or not tells_tries):
        return
    for i in range(head.field_count):
        if (head.fields[i].id == HEADER_ATTEMPTS and tells_tries) or (
                head.fields[i].id == HEADER_TIMEOUT and x.deadline_ms):
            if not head.fields[i].is_dropped:
                head.fields[i].is_dropped = 1
                head.dropped_count += 1


# The fields that we add to a request, behind those that it came with; h1_emit_tail() ends it.
cdef inline uint32_t h1_emit_request(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source,
) noexcept nogil:
    cdef const h1_field_t* forwarded = NULL
    cdef request_log_t* log = c.exchange.log
    cdef const peer_t* peer = conn_peer(c)
    cdef char* out = w.out
    cdef uint32_t at
    cdef bint is_forwarding = w.snapshot.forwarded[c.direction]
    if c.direction == DIRECTION_INBOUND or c.is_judged or peer != NULL:
        h1_drop_claims(head)
    if is_forwarding:
        forwarded = h1_drop_last(head, HEADER_X_FORWARDED_FOR)
    h1_drop_own(c.exchange, head)
    at = h1_emit_start(w, c, head, source)
    if is_forwarding:
        if forwarded != NULL:
            at = emit_field_again(out, at, source, forwarded)
        else:
            at = emit_text(out, at, b"x-forwarded-for: ", 17)
        at = emit_address(out, at, &c.downstream)
        at = emit_text(out, at, b"\r\n", 2)
        if head.first[HEADER_X_FORWARDED_PROTO] < 0:
            at = emit_text(out, at, b"x-forwarded-proto: http\r\n", 25)
    if peer != NULL:
        at = h1_emit_peer(w, out, at, peer)
    if w.snapshot.request_ids and head.first[HEADER_X_REQUEST_ID] < 0:
        at = emit_text(out, at, b"x-request-id: ", 14)
        at = emit_hex(out, at, random_next(w.random), 16)
        at = emit_hex(out, at, random_next(w.random), 16)
        if log != NULL:
            log.request_id_bytes = h1_keep(log.request_id, LOG_ID_BYTES_MAX, out + at - 32, 32)
        at = emit_text(out, at, b"\r\n", 2)
    if w.snapshot.request_ids and head.first[HEADER_TRACEPARENT] < 0:
        # W3C Trace Context section 3.2; flags 00: we started it, nobody recorded it.
        at = emit_text(out, at, b"traceparent: 00-", 16)
        at = emit_hex(out, at, random_next(w.random), 16)
        at = emit_hex(out, at, random_next(w.random) | 1, 16)
        at = emit_text(out, at, b"-", 1)
        at = emit_hex(out, at, random_next(w.random) | 1, 16)
        at = emit_text(out, at, b"-00\r\n", 5)
        if log != NULL:
            log.trace_bytes = h1_keep(log.trace, LOG_ID_BYTES_MAX, out + at - 57, 55)
    if head.has_upgrade:
        at = emit_text(out, at, b"connection: upgrade\r\n", 21)
    return edits_emit(c.exchange.edits, False, out, at)


# Both ends hear of further tries.
cdef inline uint32_t h1_emit_attempts(
    const exchange_t* x, char* out, uint32_t at,
) noexcept nogil:
    if x.attempt_count <= 1 or not exchange_is_routed(x):
        return at
    at = emit_text(out, at, b"remora-attempt-count: ", 22)
    at = emit_number(out, at, x.attempt_count)
    return emit_text(out, at, b"\r\n", 2)


# Milliseconds that are left of the request's deadline, which must be set. The clock of a round of
# events may be older than the request: what is left is never more than was given.
cdef inline uint64_t h1_left_ms(const worker_t* w, const exchange_t* x) noexcept nogil:
    cdef uint64_t started_ms = x.started_us // 1000
    cdef uint64_t now_ms = w.now_ms if w.now_ms > started_ms else started_ms
    return x.deadline_ms - now_ms if x.deadline_ms > now_ms else 1


# The end of a request's head: what differs from try to try, and the empty line.
cdef inline uint32_t h1_emit_tail(
    const worker_t* w, const exchange_t* x, char* out, uint32_t at,
) noexcept nogil:
    if x.deadline_ms:
        at = emit_text(out, at, b"remora-timeout-ms: ", 19)
        at = emit_number(out, at, h1_left_ms(w, x))
        at = emit_text(out, at, b"\r\n", 2)
    at = h1_emit_attempts(x, out, at)
    return emit_text(out, at, b"\r\n", 2)


# Does any Upgrade field name h2c, alone or in a list?
cdef inline bint h1_names_h2c(const h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field
    cdef uint32_t i, at, end
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id != HEADER_UPGRADE:
            continue
        at = field.value
        end = field.value + field.value_bytes
        while at + 3 <= end:
            if chars_equal(source + at, 3, b"h2c", 3) and (
                    at == field.value or not char_is(<uint8_t>source[at - 1], CHAR_TOKEN)) and (
                    at + 3 == end or not char_is(<uint8_t>source[at + 3], CHAR_TOKEN)):
                return True
            at += 1
    return False


# Upgrade goes through as it came, but h2c never: we could not follow (RFC 9110 section 7.8 lets a
# server ignore it).
cdef inline void h1_keep_upgrade(h1_head_t* head, const char* source) noexcept nogil:
    cdef h1_field_t* field
    if not head.has_upgrade:
        return
    field = &head.fields[head.first[HEADER_UPGRADE]]
    if h1_names_h2c(head, source):
        head.has_upgrade = 0
    elif field.is_dropped:
        field.is_dropped = 0
        head.dropped_count -= 1


# The head of a response, as the downstream gets it.
cdef inline uint32_t h1_emit_response(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef char* out = w.out
    cdef uint32_t at
    if x.edits != NULL and head.status >= 200:
        edits_drop(x.edits, True, head, source)
    at = emit_head(out, head, source)
    if x.minor == 1 and head.minor == 0:
        out[7] = c'1'                       # our version, not the upstream's (RFC 9110 section 6.2)
    if head.status == 101:
        at = emit_text(out, at, b"connection: upgrade\r\n", 21)
    elif head.status >= 200 and head.body != BODY_TUNNEL:
        if x.must_close:
            at = emit_text(out, at, b"connection: close\r\n", 19)
        elif x.minor == 0:
            at = emit_text(out, at, b"connection: keep-alive\r\n", 24)
    if head.status >= 200:
        at = h1_emit_attempts(x, out, at)
        at = edits_emit(x.edits, True, out, at)
    return emit_text(out, at, b"\r\n", 2)
