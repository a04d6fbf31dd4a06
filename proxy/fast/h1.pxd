# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. HTTP/1.1 between a downstream and upstreams: requests in, responses out, one at a time.
#
# Rule 1: a connection has at most one exchange. Pipelined requests wait, unread or in `pending`,
#         until the response before them is on its way; so answers keep their order and depth costs
#         nothing.
# Rule 2: h1_pump() is the way in. It goes round until nothing moves any more; whatever fails in
#         between leaves a mark (broken_side, close_reason) that h1_settle() turns into an answer.
#
# h1_request and h1_response move the bytes, h1_upstream gets connections, h1_rewrite edits heads,
# h1_end ends connections and answers for the upstream.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from proxy.fast.conn cimport conn_arm_timer, conn_close, conn_queue_ready
from proxy.fast.fleet cimport fleet_count
from proxy.fast.h1_end cimport h1_end_downstream, h1_linger, h1_reply
from proxy.fast.h1_request cimport h1_pump_request
from proxy.fast.h1_response cimport h1_on_upstream_gone, h1_pump_response
from proxy.fast.h1_retry cimport retry_begin, retry_pause_ms
from proxy.fast.h1_upstream cimport h1_resend
from proxy.fast.limits cimport EXCHANGES_PER_TURN_MAX, FLOW_TURN_BYTES
from proxy.fast.pick cimport pick_failed
from proxy.fast.pool cimport pool_stop_waiting
from proxy.fast.reasons cimport (
    FLAG_SI, FLAG_UMSDR, FLAG_UO, FLAG_UT, FP_OK, OUTCOME_LOCAL, OUTCOME_NONE,
    REASON_DOWNSTREAM_RESET, REASON_FLUSH_TIMEOUT, REASON_IDLE_TIMEOUT, REASON_OPEN,
    TRAFFIC_TIMEOUT_REQUEST, TRAFFIC_TIMEOUT_TRY,
)
from proxy.fast.relay cimport relay_flush
from proxy.fast.side cimport side_is_written
from proxy.fast.types cimport (
    DOWNSTREAM, MODE_HTTP, MODE_RELAY, REQUEST_CUT, REQUEST_DONE, REQUEST_HEAD, REQUEST_WAITS,
    RESPONSE_HEAD, UPSTREAM, conn_t, exchange_t, worker_t,
)


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


# A downstream that closes while it waits for its answer has given up: that is what a FIN means of
# most software, and nginx, Envoy and Linkerd read it so. Work that nobody waits for is cancelled.
cdef inline bint h1_is_abandoned(const conn_t* c) noexcept nogil:
    return c.exchange != NULL and c.down.is_hungup and not c.must_end


# Move both ways until nothing moves, or the turn is over.
cdef inline void h1_pump(worker_t* w, conn_t* c) noexcept nogil:
    cdef int64_t turn_bytes = FLOW_TURN_BYTES
    cdef uint64_t finished = c.finished_count
    cdef uint64_t before = ~<uint64_t>0
    if c.exchange != NULL and c.exchange.wake_ms and h1_wake(w, c):
        return                              # it has pumped
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
        if h1_is_abandoned(c):
            conn_close(w, c, REASON_DOWNSTREAM_RESET)
            return
        conn_arm_timer(w, c)
    elif c.close_reason == REASON_OPEN and c.mode == MODE_RELAY:
        conn_queue_ready(w, c)          # became a tunnel: its flows get a turn of their own


# The wait for an upstream is over: look at the request again.
cdef inline void h1_resume(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if x != NULL and x.request_state == REQUEST_WAITS:
        x.request_state = REQUEST_HEAD
        c.is_pending_new = 1
    elif x != NULL and x.must_resend and not x.wake_ms:
        h1_resend(w, c)
    h1_pump(w, c)


# The pause before a request, or before its next try, is over.
cdef inline bint h1_wake(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if x == NULL or not x.wake_ms or w.now_ms < x.wake_ms:
        return False
    x.wake_ms = 0
    h1_resume(w, c)
    return True


# A try took too long: another one, or 504.
cdef inline void h1_try_timeout(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    h1_count_timeout(w, x, TRAFFIC_TIMEOUT_TRY)
    if x.response_state == RESPONSE_HEAD and retry_begin(
            w, c, OUTCOME_LOCAL, retry_pause_ms(w, x), x.request_state <= REQUEST_WAITS):
        return
    h1_reply(w, c, 504, FLAG_UT, b"try_timeout")


cdef inline void h1_count_timeout(worker_t* w, const exchange_t* x, int what) noexcept nogil:
    if x.has_backend:
        fleet_count(&w.fleet, x.backend, what)


# The timer of an HTTP connection fired: is it for its request? Then that is dealt with.
cdef inline bint h1_on_deadline(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if x == NULL:
        return False
    if x.deadline_ms and w.now_ms >= x.deadline_ms:
        h1_count_timeout(w, x, TRAFFIC_TIMEOUT_REQUEST)
        if c.is_waiting:
            pool_stop_waiting(w, c)
        h1_reply(w, c, 504, FLAG_UMSDR, b"request_deadline")
        return True
    if x.try_deadline_ms and w.now_ms >= x.try_deadline_ms:
        if c.is_waiting:
            pool_stop_waiting(w, c)
            pick_failed(w, c, OUTCOME_NONE, 0)      # a limit of ours: the endpoint knows nothing
        h1_try_timeout(w, c)
        return True
    return h1_wake(w, c)


# We drain: a connection that asks nothing ends now, the others after their answer.
cdef inline void h1_drain(worker_t* w, conn_t* c) noexcept nogil:
    if c.mode == MODE_HTTP and c.exchange == NULL and c.head_us == 0 and c.pending == NULL:
        h1_end_downstream(w, c)


# The timer of an HTTP connection fired, and it is too late.
cdef inline void h1_on_timeout(worker_t* w, conn_t* c) noexcept nogil:
    cdef exchange_t* x = c.exchange
    if not side_is_written(c, UPSTREAM):
        conn_close(w, c, REASON_FLUSH_TIMEOUT)
    elif c.is_waiting:
        pool_stop_waiting(w, c)
        h1_reply(w, c, 504, FLAG_UO, b"queue_timeout")
    elif x == NULL and c.head_us:
        h1_reply(w, c, 408, FLAG_SI, b"request_timeout")
    elif x == NULL:
        h1_end_downstream(w, c)             # keep-alive is over, nothing was asked
    elif x.request_state != REQUEST_DONE and x.response_state == RESPONSE_HEAD:
        h1_reply(w, c, 408, FLAG_SI, b"request_timeout")
    elif x.response_state == RESPONSE_HEAD:
        h1_reply(w, c, 504, FLAG_SI, b"upstream_timeout")
    else:
        x.flag = FLAG_UT
        conn_close(w, c, REASON_IDLE_TIMEOUT)
