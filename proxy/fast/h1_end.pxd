# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. How HTTP connections end, and the answers that we give in the upstream's place.
#
# Rule 1: an answer of ours is the last resort: once response bytes went out, the connection is cut.
# Rule 2: where framing is lost, the connection ends with the answer.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from proxy.fast.buf cimport buf_give
from proxy.fast.conn cimport (
    conn_arm_timer, conn_close, conn_drop_flow, conn_drop_upstream, conn_queue_ready,
)
from proxy.fast.exchange cimport exchange_begin, exchange_end
from proxy.fast.golden cimport golden_of
from proxy.fast.limits cimport BUF_BYTES, FLOW_TURN_BYTES
from proxy.fast.pick cimport pick_end
from proxy.fast.platform cimport EAGAIN, EINTR, errno, recv
from proxy.fast.reasons cimport (
    FLAG_DPE, FLAG_UC, FLAG_UF, FLAG_UPE, FLAG_UT, FP_AGAIN, FP_OK, METHOD_HEAD, METHOD_OTHER,
    OUTCOME_LOCAL, OUTCOME_NONE, REASON_DOWNSTREAM_RESET, REASON_OK, REASON_UPSTREAM_RESET,
    ROUTE_UNKNOWN,
)
from proxy.fast.relay cimport relay_write
from proxy.fast.reply cimport reply_write
from proxy.fast.request_log cimport h1_log_request
from proxy.fast.side cimport side_is_written, side_shutdown
from proxy.fast.types cimport (
    DOWNSTREAM, MODE_LINGER, REQUEST_DONE, RESPONSE_HEAD, UPSTREAM, conn_t, exchange_t, worker_t,
)


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
    c.mode = MODE_LINGER
    c.active_ms = w.now_ms
    conn_arm_timer(w, c)
    h1_pump_linger(w, c)


# Throw away what a lingering downstream sends; its FIN, or the timer, ends it. (Records are thrown
# away as they are.)
cdef inline void h1_pump_linger(worker_t* w, conn_t* c) noexcept nogil:
    cdef int64_t turn_bytes = FLOW_TURN_BYTES
    cdef int64_t n
    if not c.flows[UPSTREAM].has_passed_fin:
        c.flows[UPSTREAM].has_passed_fin = side_shutdown(w, &c.down) != FP_AGAIN
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
    if side_is_written(c, UPSTREAM):
        h1_linger(w, c)


# What an endpoint is to be told of when we answer in its place.
cdef inline uint8_t h1_outcome(uint8_t flag) noexcept nogil:
    return OUTCOME_LOCAL if flag in (FLAG_UF, FLAG_UC, FLAG_UPE, FLAG_UT) else OUTCOME_NONE


# Answer in the upstream's place. Once response bytes went out it is too late: cut the connection,
# so that nobody takes the part for the whole.
# `fields` are whole lines, to be added. `reason` NULL: it is no error.
cdef inline void h1_reply_with(
    worker_t* w, conn_t* c, uint16_t status, uint8_t flag, const char* reason, const char* fields,
    uint32_t fields_bytes,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef bint is_head = False
    cdef bint closes = True
    pick_end(w, c, h1_outcome(flag), 0)
    conn_drop_upstream(w, c, True)
    conn_drop_flow(w, c, DOWNSTREAM)
    c.broken_side = 0
    if x == NULL:
        # Not even a request line: still an exchange, or the fault would not be counted.
        x = exchange_begin(
            w, golden_of(w, c, ROUTE_UNKNOWN), METHOD_OTHER, c.head_us if c.head_us else w.now_us)
        c.exchange = x
        if x != NULL:
            x.must_close = 1
            if w.records_enabled:
                h1_log_request(w, c, NULL, NULL)
    if x != NULL:
        x.flag = flag
        if x.response_state != RESPONSE_HEAD:
            conn_close(w, c, REASON_DOWNSTREAM_RESET if flag == FLAG_DPE else REASON_UPSTREAM_RESET)
            return
        is_head = x.method == METHOD_HEAD
        closes = x.must_close or x.request_state != REQUEST_DONE
        x.status = status
        exchange_end(w, x, flag)
        c.exchange = NULL
        c.tried_count = 0
    c.head_us = 0
    if relay_write(w, c, UPSTREAM, w.out, reply_write(
            w.out, status, reason, fields, fields_bytes, is_head, closes)) != FP_OK:
        return
    if closes:
        h1_end_downstream(w, c)
    elif c.pending != NULL or c.down.is_readable:
        conn_queue_ready(w, c)      # the next request is here already; a timer may have called us


cdef inline void h1_reply(
    worker_t* w, conn_t* c, uint16_t status, uint8_t flag, const char* reason,
) noexcept nogil:
    h1_reply_with(w, c, status, flag, reason, NULL, 0)


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
