# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. HTTP/1.1 responses: from an upstream to the downstream.
#
# Rule 1: an upstream connection goes back to its pool only after a whole response to a whole
#         request with not one byte behind it (RFC 9112 section 9.2).
# Rule 2: a response cut short is cut for the downstream, too; its connection never ends cleanly.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from proxy.fast.body cimport (
    BODY_BROKEN, BODY_COMPLETE, BODY_TRAILERS, BODY_UNBOUNDED, body_feed, body_start,
)
from proxy.fast.buf cimport buf_append, buf_at, buf_consume, buf_give, buf_length
from proxy.fast.conn cimport conn_close, conn_drop_flow, conn_drop_upstream
from proxy.fast.emit cimport emit_text
from proxy.fast.exchange cimport exchange_answered, exchange_end, exchange_is_routed
from proxy.fast.fleet cimport fleet_count
from proxy.fast.h1_end cimport h1_end_downstream, h1_reply
from proxy.fast.h1_request cimport h1_on_trailers, h1_splice
from proxy.fast.h1_retry cimport retry_after_ms, retry_begin, retry_is_code, retry_pause_ms
from proxy.fast.h1_rewrite cimport h1_emit_response, h1_keep_upgrade
from proxy.fast.h1_upstream cimport h1_replace
from proxy.fast.http1 cimport H1_OK, h1_parse_response, h1_scan
from proxy.fast.limits cimport BODY_JOIN_BYTES_MAX, BUF_BYTES
from proxy.fast.lookup cimport traffic_backend
from proxy.fast.mirror cimport mirror_send
from proxy.fast.pick cimport pick_answered, pick_end
from proxy.fast.platform cimport CLOCK_MONOTONIC, EAGAIN, clock_us, errno
from proxy.fast.pool cimport up_release
from proxy.fast.reasons cimport (
    BODY_CHUNKED, BODY_TUNNEL, BODY_UNTIL_CLOSE, FLAG_NONE, FLAG_UC, FLAG_UPE, FP_OK,
    HEADER_UPGRADE, OUTCOME_ERROR, OUTCOME_GATEWAY, OUTCOME_LOCAL, OUTCOME_OK, REASON_NO_MEMORY,
    REASON_OK, REASON_OPEN, REASON_UPSTREAM_RESET, TRAFFIC_RETRY_HELPED,
)
from proxy.fast.relay cimport relay_count_read, relay_flush, relay_write
from proxy.fast.replay cimport replay_drop
from proxy.fast.side cimport side_is_written, side_recv, side_trim, side_turn_bytes
from proxy.fast.traffic cimport backend_t
from proxy.fast.types cimport (
    DOWNSTREAM, FLOW_COPY, MODE_HTTP, MODE_RELAY, REQUEST_DONE, RESPONSE_BODY, RESPONSE_DONE,
    RESPONSE_HEAD, UPSTREAM, conn_t, exchange_t, h1_head_t, up_t, worker_t,
)


# From here on it is not HTTP any more: 101, or 2xx to CONNECT.
cdef inline void h1_become_tunnel(worker_t* w, conn_t* c) noexcept nogil:
    replay_drop(w, c.exchange)
    exchange_end(w, c.exchange, FLAG_NONE)
    c.exchange = NULL
    c.mode = MODE_RELAY
    c.flows[DOWNSTREAM].mode = FLOW_COPY
    c.flows[UPSTREAM].mode = FLOW_COPY
    if c.pending != NULL:                   # what the downstream said ahead of the answer
        relay_write(w, c, DOWNSTREAM, buf_at(c.pending, c.pending.start), buf_length(c.pending))
        buf_give(&w.bufs, c.pending)
        c.pending = NULL
    c.down.is_readable = 1


cdef inline uint8_t h1_status_outcome(uint16_t status) noexcept nogil:
    if status < 500:
        return OUTCOME_OK
    return OUTCOME_GATEWAY if 502 <= status <= 504 else OUTCOME_ERROR


# Is this an answer that the route would rather have from another endpoint? The request must have
# gone out whole: an early answer is the answer.
cdef inline bint h1_retry_answer(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint64_t pause_ms
    cdef int asked_ms
    if not retry_is_code(x, head.status):
        if x.attempt_count > 1 and exchange_is_routed(x):
            fleet_count(&w.fleet, x.backend, TRAFFIC_RETRY_HELPED)
        return False
    if x.request_state != REQUEST_DONE or not side_is_written(c, DOWNSTREAM):
        return False
    asked_ms = retry_after_ms(head, source)
    pause_ms = retry_pause_ms(w, x)
    if asked_ms < 0:
        return False
    if <uint64_t>asked_ms > pause_ms:
        pause_ms = asked_ms
    return retry_begin(w, c, h1_status_outcome(head.status), pause_ms, False)


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
    if head.status < 200 and head.status != 101:
        if x.minor == 1:                    # RFC 9110 section 15.2: not to HTTP/1.0
            x.has_told = 1
            relay_write(w, c, UPSTREAM, w.out, h1_emit_response(w, c, head, source))
        return n
    if h1_retry_answer(w, c, head, source):
        return -1
    mirror_send(w, c)
    replay_drop(w, x)
    exchange_answered(x, clock_us(CLOCK_MONOTONIC))
    x.status = head.status
    x.outcome = h1_status_outcome(head.status)
    pick_answered(w, c, x.outcome)
    x.latency_us = x.first_byte_us - x.try_us if x.first_byte_us > x.try_us else 1
    x.response_state = RESPONSE_BODY
    x.upstream_persists = head.is_persistent
    if (head.body == BODY_UNTIL_CLOSE or x.request_state != REQUEST_DONE
            or (w.draining >> c.direction) & 1):
        x.must_close = 1
    if head.status == 101:
        head.has_upgrade = head.first[HEADER_UPGRADE] >= 0
        h1_keep_upgrade(head, source)
    body_start(&x.response_body, head.body, head.content_length, BODY_UNBOUNDED)
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
    cdef int64_t used
    if x.response_body.state == BODY_TRAILERS:
        used = h1_on_trailers(
            w, c, UPSTREAM, &x.response_body, &c.up.scanned_bytes, source, length)
    else:
        used = body_feed(&x.response_body, source, length)
        if used:
            relay_write(w, c, UPSTREAM, source, <uint32_t>used)
    if x.response_body.state == BODY_COMPLETE:
        x.response_state = RESPONSE_DONE
    elif x.response_body.state == BODY_BROKEN and used <= 0:
        x.flag = FLAG_UPE
        conn_close(w, c, REASON_UPSTREAM_RESET)
        return -1
    return used


# Has the upstream nothing more to say? Only a read that filled its buffer leaves that open.
# The scratch is overwritten.
cdef inline bint h1_is_silent(worker_t* w, up_t* up) noexcept nogil:
    if not up.side.is_readable:
        return True
    if side_recv(w, &up.side, 1) < 0 and errno == EAGAIN:
        up.side.is_readable = 0
        return True
    return False


# The service's own limits of a connection, if it has some.
cdef inline const backend_t* h1_backend_of(const worker_t* w, const up_t* up) noexcept nogil:
    return traffic_backend(w.snapshot.traffic, up.backend) if up.has_backend else NULL


cdef inline bint h1_may_reuse(const worker_t* w, const up_t* up) noexcept nogil:
    cdef const backend_t* b = h1_backend_of(w, up)
    return b == NULL or not b.connection_requests_max or (
        up.request_count < b.connection_requests_max)


cdef inline uint64_t h1_pool_idle_ms(const worker_t* w, const up_t* up) noexcept nogil:
    cdef const backend_t* b = h1_backend_of(w, up)
    return b.idle_ms if b != NULL and b.idle_ms else w.snapshot.pool_idle_ms


# The response is whole: the upstream connection is free again, the downstream's goes on or ends.
cdef inline void h1_finish(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef up_t* up = c.up
    cdef bint is_whole = x.request_state == REQUEST_DONE and side_is_written(c, DOWNSTREAM)
    cdef bint closes = x.must_close or not is_whole or (w.draining >> c.direction) & 1
    cdef bint reusable = (
        x.upstream_persists and is_whole and up.pool != NULL and up.pending == NULL
        and not up.side.is_hungup and h1_may_reuse(w, up) and h1_is_silent(w, up))
    cdef uint64_t idle_ms = h1_pool_idle_ms(w, up)
    pick_end(w, c, x.outcome, x.latency_us)
    c.tried_count = 0
    exchange_end(w, x, FLAG_NONE)
    c.exchange = NULL
    side_trim(&c.down)
    side_trim(&up.side)
    c.flows[DOWNSTREAM].mode = FLOW_COPY
    c.flows[UPSTREAM].mode = FLOW_COPY
    c.flows[UPSTREAM].has_eof = 0
    if reusable:
        c.up = NULL
        c.sides[UPSTREAM] = &w.nobody
        up_release(w, up, idle_ms)
    else:
        conn_drop_flow(w, c, DOWNSTREAM)
        conn_drop_upstream(w, c, False)
    c.active_ms = w.now_ms
    c.finished_count += 1
    if not closes:
        return
    if is_whole and c.pending == NULL and not c.down.is_readable and side_is_written(c, UPSTREAM):
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
    elif c.up.request_count > 1 and c.up.pending == NULL and h1_replace(w, c) == FP_OK:
        return
    elif retry_begin(w, c, OUTCOME_LOCAL, retry_pause_ms(w, x), False):
        return
    else:
        h1_reply(w, c, 503, FLAG_UC, b"upstream_closed")


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


# Responses: from the upstream to the downstream, as far as they go now.
cdef inline void h1_pump_response(worker_t* w, conn_t* c, int64_t* turn_bytes) noexcept nogil:
    cdef exchange_t* x
    cdef up_t* up
    cdef const char* source
    cdef uint32_t length
    cdef int64_t n
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
        n = side_recv(w, &up.side, BUF_BYTES)
        if n <= 0:
            if n < 0 and errno == EAGAIN:
                up.side.is_readable = 0
                return
            c.flows[UPSTREAM].has_eof = n == 0
            h1_on_upstream_gone(w, c)
            return
        relay_count_read(w, c, UPSTREAM, n)
        turn_bytes[0] -= side_turn_bytes(&up.side, n)
        source = w.scratch
        length = <uint32_t>n
        if up.pending != NULL:
            if not buf_append(&w.bufs, &up.pending, w.scratch, length):
                conn_close(w, c, REASON_NO_MEMORY)
                return
            source = buf_at(up.pending, up.pending.start)
            length = buf_length(up.pending)
        h1_take_response(w, c, source, length)
