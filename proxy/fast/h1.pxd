# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. HTTP/1.1 between a downstream and upstreams: requests in, responses out, one at a time.
#
# Rule 1: a connection has at most one exchange. Pipelined requests wait, unread or in `pending`, until
#         the response before them is on its way; so answers keep their order and depth costs nothing.
# Rule 2: nothing is read from a side whose other side has not taken what was read before.
# Rule 3: what framing cannot vouch for is never reused: an upstream connection goes back to its pool
#         only after a whole response to a whole request with not one byte behind it.
# Rule 4: h1_pump() is the only way in. It goes round until nothing moves any more; whatever fails in
#         between leaves a mark (broken_side, close_reason) that h1_settle() turns into an answer.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from proxy.fast.body cimport (
    BODY_BROKEN, BODY_COMPLETE, BODY_TRAILERS, body_feed, body_ran, body_run, body_start,
)
from proxy.fast.buf cimport buf_append, buf_at, buf_consume, buf_give, buf_length
from proxy.fast.chars cimport CHAR_TOKEN, char_is, chars_equal
from proxy.fast.check cimport FP_ASSERT
from proxy.fast.conn cimport (
    conn_arm_timer, conn_close, conn_drop_flow, conn_drop_upstream, conn_queue_ready,
)
from proxy.fast.emit cimport emit_address, emit_field_again, emit_head, emit_hex, emit_text
from proxy.fast.exchange cimport exchange_answered, exchange_begin, exchange_end
from proxy.fast.http1 cimport (
    H1_BAD, H1_OK, h1_is_idempotent, h1_parse_request, h1_parse_response, h1_parse_trailers,
    h1_scan, h1_scan_trailers, h1_skip_empty_lines,
)
from proxy.fast.limits cimport (
    BODY_JOIN_BYTES_MAX, BUF_BYTES, EXCHANGES_PER_TURN_MAX, FLOW_TURN_BYTES, LOG_AGENT_BYTES_MAX,
    LOG_HOST_BYTES_MAX, LOG_ID_BYTES_MAX, LOG_METHOD_BYTES_MAX, LOG_TARGET_BYTES_MAX,
    SPLICE_BYTES_MIN,
)
from proxy.fast.platform cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, EAGAIN, EINTR, SHUT_WR, clock_us, errno, recv, shutdown,
)
from proxy.fast.pool cimport (
    pool_adopt, pool_find, pool_get, pool_stop_waiting, pool_take_idle, pool_wait, up_release,
)
from proxy.fast.random cimport random_next
from proxy.fast.reasons cimport (
    BODY_CHUNKED, BODY_NONE, BODY_TUNNEL, BODY_UNTIL_CLOSE, EVENT_RETRIED, FLAG_DPE, FLAG_NONE,
    FLAG_OM, FLAG_SI, FLAG_UC, FLAG_UF, FLAG_UO, FLAG_UPE, FLAG_UT, FP_AGAIN, FP_DONE, FP_OK,
    HEADER_HOST, HEADER_TRACEPARENT, HEADER_UPGRADE, HEADER_USER_AGENT, HEADER_X_FORWARDED_FOR,
    HEADER_X_FORWARDED_PROTO, HEADER_X_REQUEST_ID, METHOD_CONNECT, METHOD_HEAD, METHOD_OTHER,
    PHASE_CONNECTING, REASON_CONNECT_TIMEOUT, REASON_DOWNSTREAM_RESET, REASON_FLUSH_TIMEOUT,
    REASON_IDLE_TIMEOUT, REASON_NO_FDS, REASON_NO_MEMORY, REASON_OK, REASON_OPEN,
    REASON_UPSTREAM_RESET,
)
from proxy.fast.relay cimport (
    relay_count_read, relay_failure, relay_flush, relay_splice, relay_write,
)
from proxy.fast.reply cimport reply_write
from proxy.fast.slab cimport slab_take
from proxy.fast.stats cimport count
from proxy.fast.types cimport (
    DOWNSTREAM, FLOW_COPY, FLOW_SPLICE, MODE_HTTP, MODE_LINGER, MODE_RELAY, REQUEST_BODY,
    REQUEST_CUT, REQUEST_DONE, REQUEST_HEAD, REQUEST_WAITS, RESPONSE_BODY, RESPONSE_DONE,
    RESPONSE_HEAD, UPSTREAM, body_t, buf_t, conn_t, exchange_t, h1_field_t, h1_head_t, pool_t,
    request_log_t, up_t, worker_t,
)
from proxy.fast.upstream cimport upstream_dial


# ---- ends -------------------------------------------------------------------------------------

# Everything was said. Send our FIN and listen a little to what nobody wants to hear: closing now,
# with unread bytes, would send a RST that can overtake the answer (RFC 9112 section 9.6).
cdef inline void h1_linger(worker_t* w, conn_t* c) noexcept nogil:
    if c.flows[DOWNSTREAM].has_eof:
        conn_close(w, c, REASON_OK)
        return
    conn_drop_upstream(w, c, True)
    if c.pending != NULL:
        buf_give(&w.bufs, c.pending)
        c.pending = NULL
    shutdown(c.down.fd, SHUT_WR)
    c.mode = MODE_LINGER
    c.active_ms = w.now_ms
    conn_arm_timer(w, c)
    h1_pump_linger(w, c)


# Throw away what a lingering downstream sends; its FIN, or the timer, ends it.
cdef inline void h1_pump_linger(worker_t* w, conn_t* c) noexcept nogil:
    cdef int64_t turn_bytes = FLOW_TURN_BYTES
    cdef int64_t n
    while c.down.is_readable:
        if turn_bytes <= 0:
            conn_queue_ready(w, c)
            return
        n = recv(c.down.fd, w.scratch, BUF_BYTES, 0)
        if n > 0:
            turn_bytes -= n
            continue
        if n < 0 and errno == EAGAIN:
            c.down.is_readable = 0
        elif n == 0 or errno != EINTR:
            conn_close(w, c, REASON_OK)
            return


# The downstream connection ends once what it still gets is written.
cdef inline void h1_end_downstream(worker_t* w, conn_t* c) noexcept nogil:
    c.must_end = 1
    if c.flows[UPSTREAM].held == NULL and c.flows[UPSTREAM].pipe == NULL:
        h1_linger(w, c)


# Answer in the upstream's place. Once response bytes went out it is too late: cut the connection,
# so that nobody takes the part for the whole.
cdef inline void h1_reply(
    worker_t* w, conn_t* c, uint16_t status, uint8_t flag, const char* reason,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef bint is_head = False
    cdef bint closes = True
    conn_drop_upstream(w, c, True)
    conn_drop_flow(w, c, DOWNSTREAM)
    c.broken_side = 0
    if x == NULL:
        # Not even a request line: still an exchange, or the fault would not be counted.
        x = exchange_begin(w, c.direction, METHOD_OTHER, c.head_us if c.head_us else w.now_us)
        c.exchange = x
        if x != NULL:
            x.must_close = 1
    if x != NULL:
        x.flag = flag
        if x.response_state != RESPONSE_HEAD:
            conn_close(w, c, REASON_UPSTREAM_RESET)
            return
        is_head = x.method == METHOD_HEAD
        closes = x.must_close or x.request_state != REQUEST_DONE
        x.status = status
        exchange_end(w, c.direction, x, flag)
        c.exchange = NULL
    c.head_us = 0
    if relay_write(w, c, UPSTREAM, w.out, reply_write(
            w.out, status, reason, is_head, closes)) != FP_OK:
        return
    if closes:
        h1_end_downstream(w, c)


cdef inline const char* h1_fault_word(int status) noexcept nogil:
    if status == 414:
        return b"request_line_too_long"
    if status == 417:
        return b"expectation_unknown"
    if status == 431:
        return b"header_too_large"
    if status == 501:
        return b"coding_unknown"
    if status == 505:
        return b"version_unknown"
    return b"request_malformed"


# Where bytes to be understood are: in `pending`, or fresh in the scratch.
cdef inline int h1_window(
    worker_t* w, conn_t* c, const char** source, uint32_t* length,
) noexcept nogil:
    cdef int64_t n
    if c.pending != NULL and c.is_pending_new:
        source[0] = buf_at(c.pending, c.pending.start)
        length[0] = buf_length(c.pending)
        return FP_OK
    if not c.down.is_readable or c.flows[DOWNSTREAM].has_eof:
        return FP_AGAIN
    n = recv(c.down.fd, w.scratch, BUF_BYTES, 0)
    if n <= 0:
        if n == 0:
            c.flows[DOWNSTREAM].has_eof = 1
            return FP_DONE
        if errno == EAGAIN:
            c.down.is_readable = 0
            return FP_AGAIN
        conn_close(w, c, relay_failure(DOWNSTREAM, errno))
        return FP_AGAIN
    relay_count_read(w, c, DOWNSTREAM, n)
    if n < BUF_BYTES:
        c.down.is_readable = c.down.is_hungup | c.down.is_urgent
    if c.pending == NULL:
        source[0] = w.scratch
        length[0] = <uint32_t>n
        return FP_OK
    if not buf_append(&w.bufs, &c.pending, w.scratch, <uint32_t>n):
        conn_close(w, c, REASON_NO_MEMORY)
        return FP_AGAIN
    source[0] = buf_at(c.pending, c.pending.start)
    length[0] = buf_length(c.pending)
    return FP_OK


# The first `used` bytes of the window are done with; keep the rest. `is_new`: look at them again
# without waiting for more.
cdef inline void h1_window_used(
    worker_t* w, conn_t* c, const char* source, uint32_t length, uint32_t used, bint is_new,
) noexcept nogil:
    c.is_pending_new = is_new
    if c.pending != NULL:
        buf_consume(&w.bufs, &c.pending, used)
    elif used < length and not buf_append(&w.bufs, &c.pending, source + used, length - used):
        conn_close(w, c, REASON_NO_MEMORY)


# ---- upstreams --------------------------------------------------------------------------------

# The dial for an exchange failed: 504 for a time-out, else 503 (RFC 9110 section 15.6).
cdef inline void h1_dial_failed(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
    if reason == REASON_CONNECT_TIMEOUT:
        h1_reply(w, c, 504, FLAG_UF, b"connect_timeout")
    elif reason in (REASON_NO_FDS, REASON_NO_MEMORY):
        h1_reply(w, c, 503, FLAG_OM, b"no_resources")
    else:
        h1_reply(w, c, 503, FLAG_UF, b"connect_failed")


# Get a connection for the exchange. FP_OK: c.up is connected. FP_AGAIN: dialled or queued; the
# worker comes back. FP_DONE: answered.
cdef inline int h1_acquire(worker_t* w, conn_t* c) noexcept nogil:
    cdef pool_t* pool
    cdef uint8_t reason
    if c.up == NULL:
        pool = pool_find(w, c.direction, &c.upstream)
        if pool != NULL and pool_take_idle(w, pool, c):
            return FP_OK
        if pool != NULL and pool.live_count >= w.snapshot.pool_connections_max:
            c.dialled_ms = w.now_ms
            pool_wait(w, pool, c)
            conn_arm_timer(w, c)
            return FP_AGAIN
        reason = upstream_dial(w, c)
        if reason != REASON_OPEN:
            h1_dial_failed(w, c, reason)
            return FP_DONE
    if c.up.pool == NULL:
        pool = pool_get(w, c.direction, &c.upstream)
        if pool != NULL:
            pool_adopt(w, pool, c.up)
    if c.phase == PHASE_CONNECTING:
        conn_arm_timer(w, c)
        return FP_AGAIN
    return FP_OK


# A reused connection died before it said a word. Send the request again on a new one where that is
# safe; else say so. Returns FP_OK when the exchange goes on.
cdef inline int h1_retry(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint8_t reason
    if x.replay == NULL or x.attempt_count > 1:
        return FP_DONE
    conn_drop_upstream(w, c, True)
    conn_drop_flow(w, c, DOWNSTREAM)
    c.broken_side = 0
    count(&w.stats.events[EVENT_RETRIED])
    x.attempt_count += 1
    FP_ASSERT(c.flows[DOWNSTREAM].held == NULL)
    c.flows[DOWNSTREAM].held = x.replay
    x.replay = NULL
    reason = upstream_dial(w, c)        # a new one: the other idle ones may be just as dead
    if reason != REASON_OPEN:
        h1_dial_failed(w, c, reason)
        return FP_OK
    if c.up.pool == NULL and pool_get(w, c.direction, &c.upstream) != NULL:
        pool_adopt(w, pool_get(w, c.direction, &c.upstream), c.up)
    c.up.request_count = 1
    conn_arm_timer(w, c)
    return FP_OK


# ---- requests ---------------------------------------------------------------------------------

# The last field of that name, dropped to be written again behind the others; NULL when there is none.
cdef inline const h1_field_t* h1_drop_last(h1_head_t* head, uint8_t id) noexcept nogil:
    cdef int i
    for i in range(head.field_count - 1, -1, -1):
        if head.fields[i].id == id:
            head.fields[i].is_dropped = 1
            head.dropped_count += 1
            return &head.fields[i]
    return NULL


# Does the target name another host than Host does? The target wins (RFC 9112 section 3.2.2).
cdef inline bint h1_has_other_host(const h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field
    if head.authority_bytes == 0 or head.first[HEADER_HOST] < 0:
        return False
    field = &head.fields[head.first[HEADER_HOST]]
    return field.value_bytes != head.authority_bytes or memcmp(
        source + field.value, source + head.authority, field.value_bytes) != 0


# The head with, if it must be, the Host that its target names.
cdef inline uint32_t h1_emit_host(
    char* out, h1_head_t* head, const char* source, bint is_other,
) noexcept nogil:
    cdef uint32_t at
    if not is_other:
        return emit_head(out, head, source)
    head.fields[head.first[HEADER_HOST]].is_dropped = 1
    head.dropped_count += 1
    at = emit_head(out, head, source)
    at = emit_text(out, at, b"Host: ", 6)
    at = emit_text(out, at, source + head.authority, head.authority_bytes)
    return emit_text(out, at, b"\r\n", 2)


# The fields that we add to a request, behind those that it came with.
cdef inline uint32_t h1_emit_request(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source,
) noexcept nogil:
    cdef const h1_field_t* forwarded = NULL
    cdef request_log_t* log = c.exchange.log
    cdef char* out = w.out
    cdef uint32_t at
    cdef bint is_forwarding = w.snapshot.forwarded[c.direction]
    if is_forwarding:
        forwarded = h1_drop_last(head, HEADER_X_FORWARDED_FOR)
    at = h1_emit_host(out, head, source, h1_has_other_host(head, source))
    if is_forwarding:
        if forwarded != NULL:
            at = emit_field_again(out, at, source, forwarded)
        else:
            at = emit_text(out, at, b"x-forwarded-for: ", 17)
        at = emit_address(out, at, &c.downstream)
        at = emit_text(out, at, b"\r\n", 2)
        if head.first[HEADER_X_FORWARDED_PROTO] < 0:
            at = emit_text(out, at, b"x-forwarded-proto: http\r\n", 25)
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


# The parsed request goes upstream with as much of its body as is here. Returns the bytes used, or
# -1 when it was answered.
cdef inline int64_t h1_forward_request(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source, uint32_t length,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint32_t at, body_bytes
    body_start(&x.request_body, head.body, head.content_length)
    if head.method == METHOD_CONNECT:
        x.request_body.state = BODY_COMPLETE
    body_bytes = body_feed(
        &x.request_body, source + head.head_bytes, length - head.head_bytes)
    if x.request_body.state == BODY_BROKEN:     # nothing of it went upstream
        h1_reply(w, c, H1_BAD, FLAG_DPE, b"request_malformed")
        return -1
    x.request_state = REQUEST_DONE if x.request_body.state == BODY_COMPLETE else REQUEST_BODY
    x.sent_us = w.now_us
    c.up.request_count += 1
    at = h1_emit_request(w, c, head, source)
    if c.up.request_count > 1 and x.attempt_count == 1 and head.body == BODY_NONE and (
            h1_is_idempotent(head.method) and not head.has_upgrade):
        buf_append(&w.bufs, &x.replay, w.out, at)       # no memory: no second try
    if body_bytes <= BODY_JOIN_BYTES_MAX:
        at = emit_text(w.out, at, source + head.head_bytes, body_bytes)
        relay_write(w, c, DOWNSTREAM, w.out, at)
    elif relay_write(w, c, DOWNSTREAM, w.out, at) == FP_OK:
        relay_write(w, c, DOWNSTREAM, source + head.head_bytes, body_bytes)
    return head.head_bytes + body_bytes


# Keep up to `room` bytes of a word; returns how many.
cdef inline uint16_t h1_keep(
    char* target, uint32_t room, const char* source, uint32_t length,
) noexcept nogil:
    if length > room:
        length = room
    memcpy(target, source, length)
    return <uint16_t>length


# Keep the value of a field, if it is there.
cdef inline uint16_t h1_keep_field(
    char* target, uint32_t room, const h1_head_t* head, const char* source, int id,
) noexcept nogil:
    cdef const h1_field_t* field
    if head.first[id] < 0:
        return 0
    field = &head.fields[head.first[id]]
    return h1_keep(target, room, source + field.value, field.value_bytes)


# What the access log wants of a request. Without memory it does without.
cdef inline void h1_log_request(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source,
) noexcept nogil:
    cdef request_log_t* log = <request_log_t*>slab_take(&w.request_logs)
    c.exchange.log = log
    if log == NULL:
        return
    log.connection_id = c.id
    log.started_unix_us = clock_us(CLOCK_REALTIME)
    log.downstream = c.downstream
    log.upstream = c.upstream
    log.method_bytes = h1_keep(log.method, LOG_METHOD_BYTES_MAX, source, head.method_bytes)
    log.target_bytes = h1_keep(
        log.target, LOG_TARGET_BYTES_MAX, source + head.target, head.target_bytes)
    log.host_bytes = h1_keep_field(log.host, LOG_HOST_BYTES_MAX, head, source, HEADER_HOST)
    log.agent_bytes = h1_keep_field(
        log.agent, LOG_AGENT_BYTES_MAX, head, source, HEADER_USER_AGENT)
    log.request_id_bytes = h1_keep_field(
        log.request_id, LOG_ID_BYTES_MAX, head, source, HEADER_X_REQUEST_ID)
    log.trace_bytes = h1_keep_field(log.trace, LOG_ID_BYTES_MAX, head, source, HEADER_TRACEPARENT)


# Look at what may be a request head. Returns the bytes used: 0 when it is not whole, or when it
# waits for an upstream; -1 when it was answered.
cdef inline int64_t h1_on_request_head(
    worker_t* w, conn_t* c, const char* source, uint32_t length,
) noexcept nogil:
    cdef h1_head_t* head = &w.h1
    cdef exchange_t* x = c.exchange
    cdef uint32_t skipped = 0
    cdef int64_t n
    cdef int status
    if x == NULL and c.scanned_bytes == 0:
        skipped = h1_skip_empty_lines(source, length)
        if skipped:
            return skipped
        if length == 1 and source[0] == c'\r':
            return 0
    n = h1_scan(source, length, 0 if x != NULL else c.scanned_bytes)
    if n == 0:
        c.scanned_bytes = length
        if c.head_us == 0:
            c.head_us = clock_us(CLOCK_MONOTONIC)
            conn_arm_timer(w, c)
        return 0
    c.scanned_bytes = 0
    if n < 0:
        h1_reply(w, c, <uint16_t>-n, FLAG_DPE, h1_fault_word(<int>-n))
        return -1
    status = h1_parse_request(head, source, <uint32_t>n)
    if status == H1_OK:
        h1_keep_upgrade(head, source)
    if x == NULL:
        x = exchange_begin(w, c.direction, head.method if status == H1_OK else METHOD_OTHER,
                           c.head_us if c.head_us else clock_us(CLOCK_MONOTONIC))
        if x == NULL:
            conn_close(w, c, REASON_NO_MEMORY)
            return -1
        c.exchange = x
        c.head_us = 0
        x.minor = head.minor
        x.attempt_count = 1
        x.must_close = status != H1_OK or not head.is_persistent
        x.wants_upgrade = status == H1_OK and head.has_upgrade
        if w.records_enabled and status == H1_OK:
            h1_log_request(w, c, head, source)
    if status != H1_OK:
        h1_reply(w, c, <uint16_t>status, FLAG_DPE, h1_fault_word(status))
        return -1
    if x.request_state == REQUEST_WAITS:
        return 0
    status = h1_acquire(w, c)
    if status == FP_OK:
        return h1_forward_request(w, c, head, source, length)
    if status == FP_AGAIN:
        x.request_state = REQUEST_WAITS
        return 0
    return -1


# More of the request's body. Returns the bytes used, or -1 when it was answered.
cdef inline int64_t h1_on_request_body(
    worker_t* w, conn_t* c, const char* source, uint32_t length,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef int64_t n
    cdef uint32_t used
    if x.request_body.state == BODY_TRAILERS:
        n = h1_scan_trailers(source, length, c.scanned_bytes)
        c.scanned_bytes = length if n == 0 else 0
        if n == 0:
            return 0
        if n > 0 and h1_parse_trailers(&w.h1, source, <uint32_t>n) == H1_OK:
            used = emit_head(w.out, &w.h1, source)
            used = emit_text(w.out, used, b"\r\n", 2)
            x.request_body.state = BODY_COMPLETE
            x.request_state = REQUEST_DONE
            relay_write(w, c, DOWNSTREAM, w.out, used)
            return n
        x.request_body.state = BODY_BROKEN
    if x.request_body.state == BODY_BROKEN:
        h1_reply(w, c, H1_BAD, FLAG_DPE, b"request_malformed")
        return -1
    used = body_feed(&x.request_body, source, length)
    if x.request_body.state == BODY_COMPLETE:
        x.request_state = REQUEST_DONE
    if used:
        relay_write(w, c, DOWNSTREAM, source, used)
    elif x.request_body.state == BODY_BROKEN:
        h1_reply(w, c, H1_BAD, FLAG_DPE, b"request_malformed")
        return -1
    return used


# The downstream said FIN where more was to come. Between requests that is the end; a request that it
# cuts short is cancelled. (After a whole request nobody reads, and the answer goes out.)
cdef inline void h1_on_downstream_eof(worker_t* w, conn_t* c) noexcept nogil:
    if c.exchange != NULL or c.head_us or c.pending != NULL:
        conn_close(w, c, REASON_DOWNSTREAM_RESET)
    else:
        h1_end_downstream(w, c)


# Move the rest of a large body by splice(2), as far as it goes. Returns 1 when it did something or
# must wait; 0: copy.
cdef inline bint h1_splice(
    worker_t* w, conn_t* c, int i, body_t* body, buf_t* pending, int64_t* turn_bytes,
) noexcept nogil:
    cdef uint64_t run = body_run(body)
    cdef uint64_t before = c.flows[i].read_bytes
    if (run < SPLICE_BYTES_MIN and c.flows[i].mode != FLOW_SPLICE) or pending != NULL:
        return False
    if run == 0 or not w.snapshot.splice_enabled or c.sides[1 - i].fd < 0:
        c.flows[i].mode = FLOW_COPY
        return False
    c.flows[i].mode = FLOW_SPLICE
    c.flows[i].streak = 0
    c.is_spliced = 1
    relay_splice(w, c, i, run, turn_bytes)
    if c.flows[i].mode != FLOW_SPLICE and c.flows[i].read_bytes == before:
        return False
    body_ran(body, c.flows[i].read_bytes - before)
    c.flows[i].streak = 0
    return True


# Requests: from the downstream to an upstream, as far as they go now.
cdef inline void h1_pump_request(worker_t* w, conn_t* c, int64_t* turn_bytes) noexcept nogil:
    cdef exchange_t* x
    cdef const char* source = NULL
    cdef uint32_t length = 0
    cdef int64_t used
    cdef int status
    while c.close_reason == REASON_OPEN and c.mode == MODE_HTTP and not c.must_end:
        x = c.exchange
        if c.broken_side or turn_bytes[0] <= 0:
            return
        if x != NULL:
            if x.request_state == REQUEST_WAITS:
                return
            if relay_flush(w, c, DOWNSTREAM) != FP_OK or x.request_state >= REQUEST_DONE:
                return
            if x.request_state == REQUEST_BODY and c.down.is_readable and h1_splice(
                    w, c, DOWNSTREAM, &x.request_body, c.pending, turn_bytes):
                if x.request_body.state == BODY_COMPLETE:
                    x.request_state = REQUEST_DONE
                if c.flows[DOWNSTREAM].has_eof:
                    h1_on_downstream_eof(w, c)
                    return
                if not c.down.is_readable and c.flows[DOWNSTREAM].pipe == NULL:
                    return
                continue
        elif c.flows[UPSTREAM].held != NULL or c.flows[UPSTREAM].pipe != NULL:
            return                          # the answer before is not taken yet
        elif turn_bytes[0] <= 0:
            return
        status = h1_window(w, c, &source, &length)
        if status == FP_DONE:
            h1_on_downstream_eof(w, c)
            return
        if status != FP_OK:
            return
        turn_bytes[0] -= length
        if x == NULL or x.request_state == REQUEST_HEAD:
            used = h1_on_request_head(w, c, source, length)
        else:
            used = h1_on_request_body(w, c, source, length)
        if used < 0 or c.close_reason != REASON_OPEN or c.mode != MODE_HTTP:
            return
        x = c.exchange
        h1_window_used(w, c, source, length, <uint32_t>used,
                       used > 0 or (x != NULL and x.request_state == REQUEST_WAITS))


# ---- responses --------------------------------------------------------------------------------

# The head of a response, as the downstream gets it.
cdef inline uint32_t h1_emit_response(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef char* out = w.out
    cdef uint32_t at = emit_head(out, head, source)
    if x.minor == 1 and head.minor == 0:
        out[7] = c'1'                       # our version, not the upstream's (RFC 9110 section 6.2)
    if head.status == 101:
        at = emit_text(out, at, b"connection: upgrade\r\n", 21)
    elif head.status >= 200 and head.body != BODY_TUNNEL:
        if x.must_close:
            at = emit_text(out, at, b"connection: close\r\n", 19)
        elif x.minor == 0:
            at = emit_text(out, at, b"connection: keep-alive\r\n", 24)
    return emit_text(out, at, b"\r\n", 2)


# From here on it is not HTTP any more: 101, or 2xx to CONNECT.
cdef inline void h1_become_tunnel(worker_t* w, conn_t* c) noexcept nogil:
    exchange_end(w, c.direction, c.exchange, FLAG_NONE)
    c.exchange = NULL
    c.mode = MODE_RELAY
    c.flows[DOWNSTREAM].mode = FLOW_COPY
    c.flows[UPSTREAM].mode = FLOW_COPY
    if c.pending != NULL:                   # what the downstream said ahead of the answer
        relay_write(w, c, DOWNSTREAM, buf_at(c.pending, c.pending.start), buf_length(c.pending))
        buf_give(&w.bufs, c.pending)
        c.pending = NULL
    c.down.is_readable = 1


# A whole response head. Returns the bytes used, or -1 when the upstream's answer was replaced.
cdef inline int64_t h1_on_response_head(
    worker_t* w, conn_t* c, const char* source, uint32_t length,
) noexcept nogil:
    cdef h1_head_t* head = &w.h1
    cdef exchange_t* x = c.exchange
    cdef int64_t n = h1_scan(source, length, c.up.scanned_bytes)
    cdef uint32_t at, body_bytes
    if n == 0:
        c.up.scanned_bytes = length
        return 0
    c.up.scanned_bytes = 0
    if n < 0 or h1_parse_response(head, source, <uint32_t>n, x.method) != H1_OK or (
            head.status == 101 and not x.wants_upgrade) or (
            head.body == BODY_CHUNKED and x.minor == 0):
        h1_reply(w, c, 502, FLAG_UPE, b"response_malformed")
        return -1
    if x.replay != NULL:
        buf_give(&w.bufs, x.replay)
        x.replay = NULL
    if head.status < 200 and head.status != 101:
        if x.minor == 1:                    # RFC 9110 section 15.2: not to HTTP/1.0
            relay_write(w, c, UPSTREAM, w.out, h1_emit_response(w, c, head, source))
        return n
    exchange_answered(w, c.direction, x, clock_us(CLOCK_MONOTONIC))
    x.status = head.status
    x.response_state = RESPONSE_BODY
    x.upstream_persists = head.is_persistent
    if (head.body == BODY_UNTIL_CLOSE or x.request_state != REQUEST_DONE
            or (w.draining >> c.direction) & 1):
        x.must_close = 1
    if head.status == 101:
        head.has_upgrade = head.first[HEADER_UPGRADE] >= 0
        h1_keep_upgrade(head, source)
    body_start(&x.response_body, head.body, head.content_length)
    body_bytes = body_feed(&x.response_body, source + n, length - <uint32_t>n)
    at = h1_emit_response(w, c, head, source)
    if body_bytes <= BODY_JOIN_BYTES_MAX:
        at = emit_text(w.out, at, source + n, body_bytes)
        relay_write(w, c, UPSTREAM, w.out, at)
    elif relay_write(w, c, UPSTREAM, w.out, at) == FP_OK:
        relay_write(w, c, UPSTREAM, source + n, body_bytes)
    if x.response_body.kind == BODY_TUNNEL:
        h1_become_tunnel(w, c)
    elif x.response_body.state == BODY_COMPLETE:
        x.response_state = RESPONSE_DONE
    return n + body_bytes


# More of the response's body. Returns the bytes used, or -1 when the connection was cut.
cdef inline int64_t h1_on_response_body(
    worker_t* w, conn_t* c, const char* source, uint32_t length,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef int64_t n
    cdef uint32_t used
    if x.response_body.state == BODY_TRAILERS:
        n = h1_scan_trailers(source, length, c.up.scanned_bytes)
        c.up.scanned_bytes = length if n == 0 else 0
        if n == 0:
            return 0
        if n > 0 and h1_parse_trailers(&w.h1, source, <uint32_t>n) == H1_OK:
            used = emit_head(w.out, &w.h1, source)
            used = emit_text(w.out, used, b"\r\n", 2)
            x.response_body.state = BODY_COMPLETE
            x.response_state = RESPONSE_DONE
            relay_write(w, c, UPSTREAM, w.out, used)
            return n
        x.response_body.state = BODY_BROKEN
    used = 0
    if x.response_body.state != BODY_BROKEN:
        used = body_feed(&x.response_body, source, length)
    if x.response_body.state == BODY_COMPLETE:
        x.response_state = RESPONSE_DONE
    if used:
        relay_write(w, c, UPSTREAM, source, used)
    elif x.response_body.state == BODY_BROKEN:
        x.flag = FLAG_UPE
        conn_close(w, c, REASON_UPSTREAM_RESET)
        return -1
    return used


# Has the upstream nothing more to say? Only a read that filled its buffer leaves that open.
cdef inline bint h1_is_silent(up_t* up) noexcept nogil:
    cdef char byte = 0
    if not up.side.is_readable:
        return True
    if recv(up.side.fd, &byte, 1, 0) < 0 and errno == EAGAIN:
        up.side.is_readable = 0
        return True
    return False


# The response is whole: the upstream connection is free again, the downstream's goes on or ends.
cdef inline void h1_finish(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef up_t* up = c.up
    cdef bint is_whole = x.request_state == REQUEST_DONE and (
        c.flows[DOWNSTREAM].held == NULL and c.flows[DOWNSTREAM].pipe == NULL)
    cdef bint closes = x.must_close or not is_whole
    cdef bint reusable = (
        x.upstream_persists and is_whole and up.pool != NULL and up.pending == NULL
        and not up.side.is_hungup and h1_is_silent(up))
    exchange_end(w, c.direction, x, FLAG_NONE)
    c.exchange = NULL
    c.flows[DOWNSTREAM].mode = FLOW_COPY
    c.flows[UPSTREAM].mode = FLOW_COPY
    c.flows[UPSTREAM].has_eof = 0
    if reusable:
        c.up = NULL
        c.sides[UPSTREAM] = &w.nobody
        up_release(w, up)
    else:
        conn_drop_flow(w, c, DOWNSTREAM)
        conn_drop_upstream(w, c, False)
    c.active_ms = w.now_ms
    c.finished_count += 1
    if not closes:
        return
    if is_whole and c.pending == NULL and not c.down.is_readable and (
            c.flows[UPSTREAM].held == NULL and c.flows[UPSTREAM].pipe == NULL):
        conn_close(w, c, REASON_OK)         # nothing unread: closing sends FIN, no RST
    else:
        h1_end_downstream(w, c)


# The upstream said FIN or RST (`error`), or took no more bytes, in the middle of an exchange.
cdef inline void h1_on_upstream_gone(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if x.response_state == RESPONSE_BODY and x.response_body.kind == BODY_UNTIL_CLOSE and (
            c.flows[UPSTREAM].has_eof and not c.broken_side):
        x.response_body.state = BODY_COMPLETE
        x.response_state = RESPONSE_DONE
        x.upstream_persists = 0
        h1_finish(w, c)
    elif x.response_state != RESPONSE_HEAD:
        x.flag = FLAG_UC
        conn_close(w, c, REASON_UPSTREAM_RESET)
    elif c.up.request_count > 1 and c.up.pending == NULL and h1_retry(w, c) == FP_OK:
        return
    else:
        h1_reply(w, c, 503, FLAG_UC, b"upstream_closed")


# Responses: from the upstream to the downstream, as far as they go now.
cdef inline void h1_pump_response(worker_t* w, conn_t* c, int64_t* turn_bytes) noexcept nogil:
    cdef exchange_t* x
    cdef up_t* up
    cdef const char* source
    cdef uint32_t length
    cdef int64_t n, used
    while c.close_reason == REASON_OPEN and c.mode == MODE_HTTP:
        x = c.exchange
        up = c.up
        if relay_flush(w, c, UPSTREAM) != FP_OK or turn_bytes[0] <= 0:
            return
        if x == NULL or up == NULL or not up.is_connected:
            return
        if x.response_state == RESPONSE_DONE:
            h1_finish(w, c)
            return
        if not up.side.is_readable:
            return
        if x.response_state == RESPONSE_BODY and h1_splice(
                w, c, UPSTREAM, &x.response_body, up.pending, turn_bytes):
            if x.response_body.state == BODY_COMPLETE:
                x.response_state = RESPONSE_DONE
            elif c.flows[UPSTREAM].has_eof:
                if relay_flush(w, c, UPSTREAM) == FP_OK:
                    h1_on_upstream_gone(w, c)
                return
            if c.flows[UPSTREAM].pipe == NULL and not up.side.is_readable and (
                    x.response_state != RESPONSE_DONE):
                return
            continue
        n = recv(up.side.fd, w.scratch, BUF_BYTES, 0)
        if n <= 0:
            if n < 0 and errno == EAGAIN:
                up.side.is_readable = 0
                return
            c.flows[UPSTREAM].has_eof = n == 0
            h1_on_upstream_gone(w, c)
            return
        relay_count_read(w, c, UPSTREAM, n)
        turn_bytes[0] -= n
        if n < BUF_BYTES:
            up.side.is_readable = up.side.is_hungup | up.side.is_urgent
        source = w.scratch
        length = <uint32_t>n
        if up.pending != NULL:
            if not buf_append(&w.bufs, &up.pending, w.scratch, length):
                conn_close(w, c, REASON_NO_MEMORY)
                return
            source = buf_at(up.pending, up.pending.start)
            length = buf_length(up.pending)
        h1_take_response(w, c, source, length)


# Understand as much of source[0:length] as there is; keep the rest in up.pending.
cdef inline void h1_take_response(
    worker_t* w, conn_t* c, const char* source, uint32_t length,
) noexcept nogil:
    cdef up_t* up = c.up
    cdef uint32_t at = 0
    cdef int64_t used = 1
    while at < length and used > 0 and c.exchange != NULL and c.mode == MODE_HTTP and (
            c.close_reason == REASON_OPEN):
        if c.exchange.response_state == RESPONSE_DONE:
            break
        if c.exchange.response_state == RESPONSE_HEAD:
            used = h1_on_response_head(w, c, source + at, length - at)
        else:
            used = h1_on_response_body(w, c, source + at, length - at)
        if used > 0:
            at += <uint32_t>used
    if c.up != up or up == NULL or up.is_dead:
        return
    if c.mode == MODE_RELAY and at < length:
        relay_write(w, c, UPSTREAM, source + at, length - at)
        at = length
    if up.pending != NULL:
        buf_consume(&w.bufs, &up.pending, at)
    elif at < length and not buf_append(&w.bufs, &up.pending, source + at, length - at):
        conn_close(w, c, REASON_NO_MEMORY)


# ---- the way in -------------------------------------------------------------------------------

# A side took no more bytes. The upstream: what it still says is read first (an early answer); the
# downstream: the end.
cdef inline void h1_settle(worker_t* w, conn_t* c, int64_t* turn_bytes) noexcept nogil:
    cdef uint8_t side = c.broken_side
    if not side or c.close_reason != REASON_OPEN:
        return
    if side == 1 + DOWNSTREAM:
        conn_close(w, c, REASON_DOWNSTREAM_RESET)
        return
    if c.exchange != NULL and c.up != NULL:
        c.up.side.is_readable = 1
        h1_pump_response(w, c, turn_bytes)
    if c.broken_side and c.close_reason == REASON_OPEN and c.exchange != NULL and c.up != NULL:
        if c.exchange.response_state == RESPONSE_HEAD:
            h1_on_upstream_gone(w, c)
        else:
            c.exchange.request_state = REQUEST_CUT      # answered early: the rest is not wanted
    c.broken_side = 0


# A number that changes with everything that moves.
cdef inline uint64_t h1_progress(const conn_t* c) noexcept nogil:
    return (c.finished_count + c.flows[0].read_bytes + c.flows[0].written_bytes
            + c.flows[1].read_bytes + c.flows[1].written_bytes)


# Move both ways until nothing moves, or the turn is over.
cdef inline void h1_pump(worker_t* w, conn_t* c) noexcept nogil:
    cdef int64_t turn_bytes = FLOW_TURN_BYTES
    cdef uint64_t finished = c.finished_count
    cdef uint64_t before = ~<uint64_t>0
    while c.close_reason == REASON_OPEN and c.mode == MODE_HTTP and h1_progress(c) != before:
        before = h1_progress(c)
        if c.must_end:
            if relay_flush(w, c, UPSTREAM) == FP_OK:
                h1_linger(w, c)
            break
        h1_pump_request(w, c, &turn_bytes)
        h1_pump_response(w, c, &turn_bytes)
        h1_settle(w, c, &turn_bytes)
        if c.finished_count - finished >= EXCHANGES_PER_TURN_MAX or turn_bytes <= 0:
            conn_queue_ready(w, c)
            break
    if c.close_reason == REASON_OPEN and c.mode == MODE_HTTP:
        conn_arm_timer(w, c)
    elif c.close_reason == REASON_OPEN and c.mode == MODE_RELAY:
        conn_queue_ready(w, c)          # became a tunnel: its flows get a turn of their own


# The wait for an upstream is over: look at the request again.
cdef inline void h1_resume(worker_t* w, conn_t* c) noexcept nogil:
    if c.exchange != NULL and c.exchange.request_state == REQUEST_WAITS:
        c.exchange.request_state = REQUEST_HEAD
        c.is_pending_new = 1
    h1_pump(w, c)


# We drain: a connection that asks nothing ends now, the others after their answer.
cdef inline void h1_drain(worker_t* w, conn_t* c) noexcept nogil:
    if c.mode == MODE_HTTP and c.exchange == NULL and c.head_us == 0 and c.pending == NULL:
        h1_end_downstream(w, c)


# The timer of an HTTP connection fired, and it is too late.
cdef inline void h1_on_timeout(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if c.flows[UPSTREAM].held != NULL or c.flows[UPSTREAM].pipe != NULL:
        conn_close(w, c, REASON_FLUSH_TIMEOUT)
    elif c.is_waiting:
        pool_stop_waiting(w, c)
        h1_reply(w, c, 503, FLAG_UO, b"pool_exhausted")
    elif x == NULL and c.head_us:
        h1_reply(w, c, 408, FLAG_SI, b"request_timeout")
    elif x == NULL:
        h1_end_downstream(w, c)             # keep-alive is over, nothing was asked
    elif x.request_state != REQUEST_DONE and x.response_state == RESPONSE_HEAD:
        h1_reply(w, c, 408, FLAG_SI, b"request_timeout")
    elif x.response_state == RESPONSE_HEAD:
        h1_reply(w, c, 504, FLAG_UT, b"upstream_timeout")
    else:
        x.flag = FLAG_UT
        conn_close(w, c, REASON_IDLE_TIMEOUT)
