# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. HTTP/1.1 requests: from the downstream to an upstream.
#
# Rule 1: nothing is read from the downstream before the upstream has taken what was read before,
#         and nothing behind a request before its response is on its way.
# Rule 2: used bytes are counted where they were understood: a window is consumed by what the codec
#         took, and the rest waits in conn.pending.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from proxy.fast.authz cimport AUTHZ_DENIED, AUTHZ_OK, AUTHZ_PLAINTEXT, authz_is_due, authz_request
from proxy.fast.body cimport (
    BODY_BROKEN, BODY_COMPLETE, BODY_TOO_LARGE, BODY_TRAILERS, body_feed, body_ran, body_run,
    body_start,
)
from proxy.fast.buf cimport buf_append, buf_at, buf_consume, buf_length
from proxy.fast.conn cimport conn_arm_timer, conn_close, conn_queue_ready
from proxy.fast.emit cimport emit_head, emit_text
from proxy.fast.exchange cimport exchange_begin, exchange_is_routed
from proxy.fast.golden cimport golden_of
from proxy.fast.h1_end cimport h1_end_downstream, h1_fault_word, h1_reply
from proxy.fast.h1_retry cimport retry_restart
from proxy.fast.h1_rewrite cimport h1_emit_request, h1_emit_tail, h1_keep_upgrade
from proxy.fast.h1_route cimport h1_choose, h1_route, h1_route_apply, h1_route_number, routed_t
from proxy.fast.h1_upstream cimport h1_acquire
from proxy.fast.http1 cimport (
    H1_BAD, H1_OK, h1_is_idempotent, h1_parse_request, h1_parse_trailers, h1_scan,
    h1_scan_trailers, h1_skip_empty_lines,
)
from proxy.fast.limits cimport (
    BODY_JOIN_BYTES_MAX, BUF_BYTES, REPLAY_BYTES_MAX, SPLICE_BYTES_MIN, TRIES_MAX,
)
from proxy.fast.pick cimport pick_failed
from proxy.fast.platform cimport CLOCK_MONOTONIC, EAGAIN, clock_us, errno
from proxy.fast.reasons cimport (
    BODY_LENGTH, BODY_NONE, FLAG_DPE, FLAG_UAEX, FP_AGAIN, FP_DONE, FP_OK, METHOD_CONNECT,
    METHOD_OTHER, OUTCOME_NONE, REASON_DOWNSTREAM_RESET, REASON_NO_MEMORY, REASON_OPEN,
)
from proxy.fast.relay cimport (
    relay_count_read, relay_failure, relay_flush, relay_splice, relay_write,
)
from proxy.fast.replay cimport replay_add, replay_begin, replay_drop
from proxy.fast.request_log cimport h1_log_peer, h1_log_request
from proxy.fast.side cimport side_both_plain, side_is_written, side_recv, side_turn_bytes
from proxy.fast.types cimport (
    DOWNSTREAM, FLOW_COPY, FLOW_SPLICE, MODE_HTTP, REQUEST_BODY, REQUEST_DONE, REQUEST_HEAD,
    REQUEST_WAITS, UPSTREAM, body_t, buf_t, conn_t, exchange_t, h1_head_t, worker_t,
)


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
    n = side_recv(w, &c.down, BUF_BYTES)
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


# Move the rest of a large body by splice(2), as far as it goes. Returns 1 when it did something or
# must wait; 0: copy.
cdef inline bint h1_splice(
    worker_t* w, conn_t* c, int i, body_t* body, buf_t* pending, int64_t* turn_bytes,
) noexcept nogil:
    cdef uint64_t run = body_run(body)
    cdef uint64_t before = c.flows[i].read_bytes
    if (run < SPLICE_BYTES_MIN and c.flows[i].mode != FLOW_SPLICE) or pending != NULL:
        return False
    if run == 0 or not w.snapshot.splice_enabled or c.sides[1 - i].fd < 0 or (
            not side_both_plain(c)):
        c.flows[i].mode = FLOW_COPY
        return False
    if i == DOWNSTREAM:
        replay_drop(w, c.exchange)          # too large, and nobody will see its bytes
    c.flows[i].mode = FLOW_SPLICE
    c.flows[i].streak = 0
    c.is_spliced = 1
    relay_splice(w, c, i, run, turn_bytes)
    if c.flows[i].mode != FLOW_SPLICE and c.flows[i].read_bytes == before:
        return False
    body_ran(body, c.flows[i].read_bytes - before)
    c.flows[i].streak = 0
    return True


# The trailers of body `i` (flow `i` carries it), passed on without those that frame, route or
# authenticate. Returns the bytes used: 0 when they are not whole. -1: broken, and so is the body.
cdef inline int64_t h1_on_trailers(
    worker_t* w, conn_t* c, int i, body_t* body, uint32_t* scanned_bytes, const char* source,
    uint32_t length,
) noexcept nogil:
    cdef int64_t n = h1_scan_trailers(source, length, scanned_bytes[0])
    cdef uint32_t at
    scanned_bytes[0] = length if n == 0 else 0
    if n == 0:
        return 0
    if n < 0 or h1_parse_trailers(&w.h1, source, <uint32_t>n) != H1_OK:
        body.state = BODY_BROKEN
        return -1
    body.state = BODY_COMPLETE
    at = emit_head(w.out, &w.h1, source)
    at = emit_text(w.out, at, b"\r\n", 2)
    if i == DOWNSTREAM:
        replay_add(w, c.exchange, w.out, at)
    relay_write(w, c, i, w.out, at)
    return n


# The request's body is not what we pass on: answer, or cut where the response is on its way.
cdef inline void h1_refuse_body(worker_t* w, conn_t* c) noexcept nogil:
    if c.exchange.request_body.state == BODY_TOO_LARGE:
        h1_reply(w, c, 413, FLAG_DPE, b"body_too_large")
    else:
        h1_reply(w, c, H1_BAD, FLAG_DPE, b"request_malformed")


# The parsed request goes upstream with as much of its body as is here. Returns the bytes used, or
# -1 when it was answered.
cdef inline int64_t h1_forward_request(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source, uint32_t length,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef uint64_t before = c.flows[DOWNSTREAM].written_bytes
    cdef uint32_t at, body_bytes
    if head.method == METHOD_CONNECT:
        x.request_body.state = BODY_COMPLETE
    body_bytes = body_feed(
        &x.request_body, source + head.head_bytes, length - head.head_bytes)
    if x.request_body.state >= BODY_BROKEN:     # nothing of it went upstream
        h1_refuse_body(w, c)
        return -1
    x.request_state = REQUEST_DONE if x.request_body.state == BODY_COMPLETE else REQUEST_BODY
    x.sent_us = clock_us(CLOCK_MONOTONIC)
    h1_log_peer(c)
    c.up.request_count += 1
    at = h1_emit_request(w, c, head, source)
    replay_drop(w, x)                           # of a try that was taken back
    x.may_repeat = h1_may_repeat(c, head)
    if x.may_repeat or x.mirror_count and h1_fits_replay(head):
        replay_begin(w, x, w.out, at)           # no memory: no second try
        replay_add(w, x, source + head.head_bytes, body_bytes)
    at = h1_emit_tail(w, x, w.out, at)
    if body_bytes <= BODY_JOIN_BYTES_MAX:
        at = emit_text(w.out, at, source + head.head_bytes, body_bytes)
        relay_write(w, c, DOWNSTREAM, w.out, at)
    elif relay_write(w, c, DOWNSTREAM, w.out, at) == FP_OK:
        relay_write(w, c, DOWNSTREAM, source + head.head_bytes, body_bytes)
    if c.broken_side and c.flows[DOWNSTREAM].written_bytes == before and h1_take_back(w, c):
        return 0
    return head.head_bytes + body_bytes


# Not a byte of the request went out: the connection was dead already, so whatever was asked for can
# be asked of another one. Returns 0 when enough were tried.
cdef inline bint h1_take_back(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if x.attempt_count >= TRIES_MAX:
        return False
    if c.up.request_count == 1:             # a fresh one: another endpoint may do better
        pick_failed(w, c, OUTCOME_NONE, 0)
    retry_restart(w, c, True)
    x.wake_ms = w.now_ms
    conn_queue_ready(w, c)
    return True


cdef inline bint h1_fits_replay(const h1_head_t* head) noexcept nogil:
    return not head.has_upgrade and (
        head.body != BODY_LENGTH or head.content_length <= REPLAY_BYTES_MAX)


# Is what is sent kept, so that it can be sent again? A pooled connection may be dead, and services
# say when to retry.
cdef inline bint h1_may_repeat(const conn_t* c, const h1_head_t* head) noexcept nogil:
    cdef const exchange_t* x = c.exchange
    if not h1_is_idempotent(head.method) or head.has_upgrade:
        return False
    if exchange_is_routed(x) and x.attempt_count <= x.retry.attempts:
        return h1_fits_replay(head)
    return c.up.request_count > 1 and x.attempt_count == 1 and head.body == BODY_NONE


# May the request come in? Returns 0 when it may, the bytes used when it was answered and the next
# one can follow, else -1.
cdef inline int64_t h1_authorize(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source, bint is_new,
) noexcept nogil:
    cdef int status = authz_request(w, c, head, source, is_new)
    if status == AUTHZ_OK:
        return 0
    if status == AUTHZ_DENIED or status == AUTHZ_PLAINTEXT:
        if head.body == BODY_NONE and head.method != METHOD_CONNECT:
            c.exchange.request_state = REQUEST_DONE     # nothing of it is left to be skipped
        if status == AUTHZ_DENIED:
            h1_reply(w, c, 403, FLAG_UAEX, b"denied")
        else:
            h1_reply(w, c, 403, FLAG_UAEX, b"plaintext_refused")
        return head.head_bytes if c.exchange == NULL and head.body == BODY_NONE else -1
    h1_reply(w, c, 400, FLAG_DPE, b"path_ambiguous")
    return -1


# The request begins: counted under its route and under what carries it. `status` is that of its
# head. False: no memory, and the connection is closed.
cdef inline bint h1_begin(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source, int status, routed_t* to,
) noexcept nogil:
    cdef exchange_t* x
    if status == H1_OK:
        h1_route(w, c, head, source, to)
        h1_choose(w, c, head, source, to)
    x = exchange_begin(w, golden_of(w, c, h1_route_number(to)),
                       head.method if status == H1_OK else METHOD_OTHER,
                       c.head_us if c.head_us else clock_us(CLOCK_MONOTONIC))
    if x == NULL:
        conn_close(w, c, REASON_NO_MEMORY)
        return False
    c.exchange = x
    c.head_us = 0
    x.minor = head.minor
    x.attempt_count = 1
    x.must_close = status != H1_OK or not head.is_persistent or c.is_mirror
    x.wants_upgrade = status == H1_OK and head.has_upgrade and head.minor == 1
    if w.records_enabled:
        h1_log_request(w, c, head if status == H1_OK else NULL, source)
    return True


# A request that may come in and knows where to go: find a connection, or wait for one. Returns the
# bytes used, -1 when it was answered.
cdef inline int64_t h1_serve(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source, uint32_t length,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    body_start(&x.request_body, head.body, head.content_length, w.snapshot.body_bytes_max)
    if x.request_body.state >= BODY_BROKEN:     # told by its length, before anybody is dialled
        h1_refuse_body(w, c)
        return -1
    if x.wake_ms > w.now_ms:                    # delayed on purpose
        x.request_state = REQUEST_WAITS
        conn_arm_timer(w, c)
        return 0
    x.wake_ms = 0
    if h1_acquire(w, c) == FP_OK:
        return h1_forward_request(w, c, head, source, length)
    if c.exchange == x and x.request_state <= REQUEST_WAITS:
        x.request_state = REQUEST_WAITS         # dialled, queued, or to be tried again
        return 0
    return -1


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
    cdef bint is_new = x == NULL
    cdef routed_t to
    to.rule = NULL
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
    if status == H1_OK and head.minor == 0:
        head.has_upgrade = 0        # RFC 9110 section 7.8: HTTP/1.0 cannot ask for it
    if status == H1_OK:
        h1_keep_upgrade(head, source)
    if is_new and not h1_begin(w, c, head, source, status, &to):
        return -1
    if status != H1_OK:
        h1_reply(w, c, <uint16_t>status, FLAG_DPE, h1_fault_word(status))
        return -1
    if c.exchange.request_state == REQUEST_WAITS:
        return 0
    if authz_is_due(w, c):
        n = h1_authorize(w, c, head, source, is_new)
        if n:
            return n
    if is_new:
        n = h1_route_apply(w, c, head, source, &to)
        if n:
            return n
    return h1_serve(w, c, head, source, length)


# More of the request's body. Returns the bytes used, or -1 when it was answered.
cdef inline int64_t h1_on_request_body(
    worker_t* w, conn_t* c, const char* source, uint32_t length,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef int64_t used
    if x.request_body.state == BODY_TRAILERS:
        used = h1_on_trailers(
            w, c, DOWNSTREAM, &x.request_body, &c.scanned_bytes, source, length)
    else:
        used = body_feed(&x.request_body, source, length)
        if used:
            replay_add(w, x, source, <uint32_t>used)
            relay_write(w, c, DOWNSTREAM, source, <uint32_t>used)
    if x.request_body.state == BODY_COMPLETE:
        x.request_state = REQUEST_DONE
    elif x.request_body.state >= BODY_BROKEN and used <= 0:
        h1_refuse_body(w, c)
        return -1
    return used


# The downstream said FIN where more was to come. Between requests that is the end; a request that
# it cuts short is cancelled. (After a whole request nobody reads, and the answer goes out.)
cdef inline void h1_on_downstream_eof(worker_t* w, conn_t* c) noexcept nogil:
    if c.exchange != NULL or c.head_us or c.pending != NULL:
        conn_close(w, c, REASON_DOWNSTREAM_RESET)
    else:
        h1_end_downstream(w, c)


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
            if x.request_state == REQUEST_WAITS or x.must_resend:
                return                      # what is read now would overtake what was kept
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
        elif not side_is_written(c, UPSTREAM):
            return                          # the answer before is not taken yet
        elif turn_bytes[0] <= 0:
            return
        status = h1_window(w, c, &source, &length)
        if status == FP_DONE:
            h1_on_downstream_eof(w, c)
            return
        if status != FP_OK:
            return
        turn_bytes[0] -= side_turn_bytes(&c.down, length)
        if x == NULL or x.request_state == REQUEST_HEAD:
            used = h1_on_request_head(w, c, source, length)
        else:
            used = h1_on_request_body(w, c, source, length)
        if used < 0 or c.close_reason != REASON_OPEN or c.mode != MODE_HTTP:
            return
        x = c.exchange
        h1_window_used(w, c, source, length, <uint32_t>used,
                       used > 0 or (x != NULL and x.request_state == REQUEST_WAITS))
