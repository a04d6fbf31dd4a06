# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. A connection's end and its bookkeeping: closing, labelling, timing, freeing, reporting.
#
# Rule 1: conn_close() is the only way a connection ends; the first reason wins. It marks and
#         queues; nothing is freed before conn_reap(), at the end of the tick.
# Rule 2: an end that is not "FIN both ways" reaches both peers as RST: a truncated stream must
#         never look like a complete one.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from proxy.fast.atomics cimport store_relaxed
from proxy.fast.buf cimport buf_give
from proxy.fast.check cimport FP_ASSERT, FP_STATIC_ASSERT
from proxy.fast.detect cimport detect_finish
from proxy.fast.exchange cimport exchange_end
from proxy.fast.limits cimport CONN_BYTES_MAX, DIAL_FAILED_GRACE_MS, LINGER_MS
from proxy.fast.lookup cimport traffic_backend
from proxy.fast.messages cimport record_t
from proxy.fast.peer cimport peer_keep
from proxy.fast.pick cimport pick_end
from proxy.fast.pipes cimport pipe_give
from proxy.fast.platform cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, SOL_SOCKET, SO_LINGER, clock_us, close, linger, setsockopt,
)
from proxy.fast.pool cimport pool_stop_waiting, up_close, up_reap
from proxy.fast.reasons cimport (
    EVENT_RECORDS_DROPPED, FLAG_DC, FLAG_LR, FLAG_OM, FLAG_UC, OUTCOME_LOCAL, OUTCOME_NONE,
    PHASE_CONNECTING, PHASE_HALF_OPEN, PHASE_RELAYING, PROTOCOL_NONE, PROTOCOL_PENDING,
    PROTOCOL_TLS, REASON_CONNECT_FAILED, REASON_CONNECT_REFUSED, REASON_CONNECT_TIMEOUT,
    REASON_CONNECT_UNREACHABLE, REASON_DOWNSTREAM_RESET, REASON_DOWNSTREAM_TIMEOUT,
    REASON_FLUSH_TIMEOUT, REASON_NO_FDS, REASON_NO_MEMORY, REASON_OK, REASON_OPEN,
    REASON_TLS_FAILED, REASON_UPSTREAM_RESET, REASON_UPSTREAM_TIMEOUT, SPEAKER_NONE,
)
from proxy.fast.ring cimport ring_post, ring_reserve
from proxy.fast.side cimport side_free_tls, side_is_written, side_say_end
from proxy.fast.slab cimport slab_give, slab_take
from proxy.fast.stats cimport count, observe, uncount
from proxy.fast.timer cimport timer_arm, timer_cancel, timer_is_armed
from proxy.fast.traffic cimport backend_t
from proxy.fast.types cimport (
    DOWNSTREAM, MODE_HTTP, MODE_INTAKE, MODE_LINGER, MODE_TLS, TIMER_CONN, UPSTREAM, conn_t,
    exchange_t, worker_t,
)


cdef inline void conn_close(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
    FP_ASSERT(reason != REASON_OPEN)
    if c.close_reason != REASON_OPEN:
        return
    c.close_reason = reason
    c.next_dead = w.dead
    w.dead = c


# A new connection, counted and without a timer yet; it owns `fd`. NULL: there are as many as may
# be.
cdef inline conn_t* conn_new(worker_t* w, int fd, uint8_t direction) noexcept nogil:
    cdef conn_t* c = <conn_t*>slab_take(&w.conns)
    if c == NULL:
        return NULL
    c.down.fd = fd
    c.down.is_writable = 1
    c.sides[DOWNSTREAM] = &c.down
    c.sides[UPSTREAM] = &w.nobody
    c.direction = direction
    c.timer.kind = TIMER_CONN
    c.timer.owner = c
    c.opened_us = clock_us(CLOCK_MONOTONIC)
    c.opened_unix_us = clock_us(CLOCK_REALTIME)
    c.active_ms = w.now_ms
    c.connect_us = -1
    c.id = w.next_id
    w.next_id += 1
    count(&w.stats.opened[direction])
    count(&w.stats.open[direction][PROTOCOL_PENDING])
    return c


# What the connection speaks is known now: move it to its own gauge and count the verdict.
cdef inline void conn_label(worker_t* w, conn_t* c, uint8_t protocol) noexcept nogil:
    FP_ASSERT(c.protocol == PROTOCOL_PENDING)
    uncount(&w.stats.open[c.direction][PROTOCOL_PENDING])
    count(&w.stats.open[c.direction][protocol])
    count(&w.stats.detected[c.direction][protocol][c.speaker])
    c.protocol = protocol


# How long its dial, or its place in a queue, may take: the service's own, or the flags'.
cdef inline uint64_t conn_connect_ms(const worker_t* w, const conn_t* c) noexcept nogil:
    cdef const backend_t* b = NULL
    if c.pick.is_made:
        b = traffic_backend(w.snapshot.traffic, c.pick.backend)
    return b.connect_ms if b != NULL and b.connect_ms else w.snapshot.connect_ms[c.direction]


# How long it may be relayed without a byte.
cdef inline uint64_t conn_idle_ms(const worker_t* w, const conn_t* c) noexcept nogil:
    cdef const backend_t* b = NULL
    if c.pick.is_made:
        b = traffic_backend(w.snapshot.traffic, c.pick.backend)
    return b.tcp_idle_ms if b != NULL and b.tcp_idle_ms else w.snapshot.idle_ms


# Up to when the connection may stay as it is (monotonic ms). Idle timers are lazy (timer.pxd, rule
# 2): the time of the last byte moves, the timer does not.
cdef inline uint64_t conn_idle_deadline_ms(const worker_t* w, const conn_t* c) noexcept nogil:
    if c.mode == MODE_LINGER:
        return c.active_ms + LINGER_MS
    if c.mode == MODE_TLS and c.down.tls != NULL:
        return c.down.tls.began_us // 1000 + w.snapshot.tls_ms
    if c.mode == MODE_TLS:
        return c.opened_us // 1000 + w.snapshot.tls_ms
    if c.phase == PHASE_CONNECTING and c.up != NULL and c.up.side.tls != NULL:
        return c.up.side.tls.began_us // 1000 + w.snapshot.tls_ms
    if c.phase == PHASE_CONNECTING:
        return c.dialled_ms + conn_connect_ms(w, c)
    if c.mode == MODE_INTAKE and c.dial_reason:
        return c.dialled_ms + DIAL_FAILED_GRACE_MS
    if c.mode == MODE_INTAKE and c.may_be_mesh and c.sides[UPSTREAM].is_readable and (
            c.pending == NULL):
        return c.opened_us // 1000 + w.snapshot.server_first_ms + 1
    if c.mode == MODE_INTAKE and (c.pending != NULL or c.up == NULL):
        return c.active_ms + w.snapshot.detect_ms
    if c.mode != MODE_HTTP:
        if c.phase == PHASE_HALF_OPEN:
            return c.active_ms + w.snapshot.half_open_ms
        return c.active_ms + conn_idle_ms(w, c)
    if c.head_us:
        return c.head_us // 1000 + w.snapshot.head_ms
    if c.is_waiting:
        return c.dialled_ms + conn_connect_ms(w, c)
    if not side_is_written(c, UPSTREAM):
        return c.active_ms + w.snapshot.flush_ms
    return c.active_ms + w.snapshot.http_idle_ms


# The same, and when its request must be looked at: it waits, or its time is over.
cdef inline uint64_t conn_deadline_ms(const worker_t* w, const conn_t* c) noexcept nogil:
    cdef uint64_t at_ms = conn_idle_deadline_ms(w, c)
    cdef const exchange_t* x = c.exchange
    if x == NULL or c.mode != MODE_HTTP:
        return at_ms
    if x.wake_ms and x.wake_ms < at_ms:
        at_ms = x.wake_ms
    if x.deadline_ms and x.deadline_ms < at_ms:
        at_ms = x.deadline_ms
    if x.try_deadline_ms and x.try_deadline_ms < at_ms:
        at_ms = x.try_deadline_ms
    return at_ms


# Arm the one timer of a connection, or move it when its deadline came nearer.
cdef inline void conn_arm_timer(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint64_t at_ms = conn_deadline_ms(w, c)
    if not timer_is_armed(&c.timer) or at_ms < c.timer_ms:
        c.timer_ms = at_ms
        timer_arm(&w.wheel, &c.timer, at_ms)


cdef inline void conn_queue_ready(worker_t* w, conn_t* c) noexcept nogil:
    if c.is_ready_queued:
        return
    c.is_ready_queued = 1
    c.previous_ready = NULL
    c.next_ready = w.ready
    if w.ready != NULL:
        w.ready.previous_ready = c
    w.ready = c


cdef inline void conn_unqueue_ready(worker_t* w, conn_t* c) noexcept nogil:
    if not c.is_ready_queued:
        return
    c.is_ready_queued = 0
    if c.previous_ready != NULL:
        c.previous_ready.next_ready = c.next_ready
    else:
        w.ready = c.next_ready
    if c.next_ready != NULL:
        c.next_ready.previous_ready = c.previous_ready


# Copy what Python may know about a connection. `now_us` is monotonic.
cdef inline void conn_to_record(
    const worker_t* w, const conn_t* c, record_t* record, uint64_t now_us,
) noexcept nogil:
    record.id = c.id
    record.received_bytes = c.flows[DOWNSTREAM].read_bytes
    record.sent_bytes = c.flows[UPSTREAM].written_bytes
    record.opened_unix_us = c.opened_unix_us
    record.connect_us = c.connect_us
    record.duration_us = now_us - c.opened_us if now_us > c.opened_us else 0
    record.downstream = c.downstream
    record.original_dst = c.original_dst
    record.upstream = c.upstream
    record.service = c.service
    record.worker = <uint8_t>w.index
    record.direction = c.direction
    record.phase = c.phase
    record.protocol = c.protocol
    record.speaker = c.speaker
    record.reason = c.close_reason
    record.is_spliced = c.is_spliced
    record.is_mesh = c.is_mesh
    record.peer_bytes = peer_keep(c, record.peer)
    record.sni_length = 0
    if c.sni != NULL and c.protocol == PROTOCOL_TLS:
        record.sni_length = <uint8_t>c.sni.length
        memcpy(record.sni, c.sni.name, c.sni.length)


cdef inline void conn_post_record(worker_t* w, conn_t* c) noexcept nogil:
    cdef record_t* record
    if not w.records_enabled:
        return
    record = <record_t*>ring_reserve(&w.records)
    if record == NULL:
        count(&w.stats.events[EVENT_RECORDS_DROPPED])
        return
    conn_to_record(w, c, record, w.now_us)
    ring_post(&w.records)
    w.must_wake_python = 1


# Close the downstream's socket; `as_reset` sends RST instead of FIN and drops what is unsent.
cdef inline void conn_close_downstream(worker_t* w, conn_t* c, bint as_reset) noexcept nogil:
    cdef linger abort_at_once
    if c.is_mirror:
        w.mirror_count -= 1
        return
    if not as_reset:
        side_say_end(w, &c.down)
    else:
        abort_at_once.l_onoff = 1
        abort_at_once.l_linger = 0
        setsockopt(c.down.fd, SOL_SOCKET, SO_LINGER, &abort_at_once, sizeof(linger))
    close(c.down.fd)
    c.down.fd = -1
    side_free_tls(w, &c.down)


# Give back everything a flow still holds.
cdef inline void conn_drop_flow(worker_t* w, conn_t* c, int i) noexcept nogil:
    if c.flows[i].held != NULL:
        buf_give(&w.bufs, c.flows[i].held)
        c.flows[i].held = NULL
    if c.flows[i].pipe != NULL:
        pipe_give(&w.pipes, c.flows[i].pipe)
        c.flows[i].pipe = NULL


# Let the upstream connection go for good.
cdef inline void conn_drop_upstream(worker_t* w, conn_t* c, bint as_reset) noexcept nogil:
    if c.up != NULL:
        up_close(w, c.up, as_reset)
        c.flows[UPSTREAM].has_eof = 0       # the next one has not said FIN
        c.up = NULL
        c.sides[UPSTREAM] = &w.nobody
    if c.phase == PHASE_CONNECTING:
        c.phase = PHASE_RELAYING


# The connection ends in the middle of an exchange: say whose doing it was.
cdef inline void conn_end_exchange(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint8_t flag = FLAG_LR
    if c.close_reason in (
            REASON_DOWNSTREAM_RESET, REASON_DOWNSTREAM_TIMEOUT, REASON_FLUSH_TIMEOUT):
        flag = FLAG_DC
    elif c.close_reason in (REASON_NO_MEMORY, REASON_NO_FDS):
        flag = FLAG_OM
    elif c.close_reason in (REASON_UPSTREAM_RESET, REASON_UPSTREAM_TIMEOUT):
        flag = FLAG_UC
    exchange_end(w, c.exchange, flag)
    c.exchange = NULL


# Did the downstream fail to prove who it is? It is to hear our alert, which a RST could overtake.
# An application whose upstream failed hears a RST: FIN would read as the end of an empty answer.
cdef inline bint conn_owes_alert(const conn_t* c) noexcept nogil:
    return c.close_reason == REASON_TLS_FAILED and c.mode == MODE_TLS


# What its endpoint is to be told of when it ends.
cdef inline uint8_t conn_outcome(const conn_t* c) noexcept nogil:
    if c.close_reason in (
            REASON_UPSTREAM_RESET, REASON_UPSTREAM_TIMEOUT, REASON_CONNECT_REFUSED,
            REASON_CONNECT_TIMEOUT, REASON_CONNECT_UNREACHABLE, REASON_CONNECT_FAILED):
        return OUTCOME_LOCAL
    return OUTCOME_NONE


# Count the end and tell Python of it, while it is still known who was there.
cdef inline void conn_account(worker_t* w, conn_t* c) noexcept nogil:
    if c.protocol == PROTOCOL_PENDING and c.speaker == SPEAKER_NONE:
        conn_label(w, c, PROTOCOL_NONE)
    elif c.protocol == PROTOCOL_PENDING:
        detect_finish(&c.detect, c.sni)
        conn_label(w, c, c.detect.protocol)
    uncount(&w.stats.open[c.direction][c.protocol])
    count(&w.stats.closed[c.direction][c.protocol][c.close_reason])
    observe(w.stats.duration_bucket[c.direction], &w.stats.duration_sum_us[c.direction],
            w.now_us - c.opened_us if w.now_us > c.opened_us else 0)
    conn_post_record(w, c)


# The end: counters, record, sockets, buffers, timer, memory.
cdef inline void conn_free(worker_t* w, conn_t* c) noexcept nogil:
    cdef bint as_reset = c.close_reason != REASON_OK
    FP_STATIC_ASSERT(sizeof(conn_t) <= CONN_BYTES_MAX)
    conn_unqueue_ready(w, c)
    timer_cancel(&w.wheel, &c.timer)
    pool_stop_waiting(w, c)
    if c.exchange != NULL:
        conn_end_exchange(w, c)
    w.unknown_count -= c.is_unknown
    conn_account(w, c)
    pick_end(w, c, conn_outcome(c), 0)
    conn_drop_upstream(w, c, as_reset)
    conn_close_downstream(w, c, as_reset and not conn_owes_alert(c))
    if c.pending != NULL:
        buf_give(&w.bufs, c.pending)
        c.pending = NULL
    conn_drop_flow(w, c, DOWNSTREAM)
    conn_drop_flow(w, c, UPSTREAM)
    if c.sni != NULL:
        slab_give(&w.snis, c.sni)
    slab_give(&w.conns, c)


# Free every connection that was closed in this tick.
cdef inline void conn_reap(worker_t* w) noexcept nogil:
    cdef conn_t* c
    while w.dead != NULL:
        c = w.dead
        w.dead = c.next_dead
        conn_free(w, c)
    up_reap(w)
    store_relaxed(&w.live_connections, w.conns.live_count)
