# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Intake: the first bytes of a connection, before it is known what they are.
#
# Only what could become HTTP (or a ClientHello) is held back, and only until that is decided or
# `detect_ms` is over: HTTP must be parsed from its first byte, everything else is relayed at once.
# The upstream is being dialled meanwhile; if it speaks first, this is no HTTP, and the relay takes
# over.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset

from proxy.fast.authz cimport authz_connection
from proxy.fast.begin cimport begin_may_be_http
from proxy.fast.buf cimport buf_append
from proxy.fast.choose cimport choose_dial, choose_note_http
from proxy.fast.conn cimport conn_arm_timer, conn_close, conn_drop_upstream, conn_label
from proxy.fast.detect cimport detect_feed, detect_finish
from proxy.fast.h1 cimport h1_pump
from proxy.fast.limits cimport BUF_BYTES
from proxy.fast.pick cimport pick_connected
from proxy.fast.platform cimport CLOCK_MONOTONIC, EAGAIN, EINTR, clock_us, errno
from proxy.fast.reasons cimport (
    HANDLING_OPAQUE, PROTOCOL_HTTP1, PROTOCOL_OPAQUE, PROTOCOL_PENDING, PROTOCOL_TLS,
    REASON_NO_MEMORY, REASON_OPEN, REASON_PLAINTEXT_REFUSED, REASON_UPSTREAM_RESET,
    SPEAKER_DOWNSTREAM, SPEAKER_NONE,
)
from proxy.fast.relay cimport relay_count_read, relay_failure, relay_pump
from proxy.fast.side cimport side_has_word, side_recv
from proxy.fast.slab cimport slab_give, slab_take
from proxy.fast.terminate cimport terminate_held
from proxy.fast.types cimport (
    DOWNSTREAM, MODE_HTTP, MODE_INTAKE, MODE_RELAY, UPSTREAM, conn_t, detect_t, sni_t, worker_t,
)


# Not HTTP, or too late to find out: the relay takes it from here, with what was held back.
cdef inline void intake_to_relay(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint8_t reason = c.dial_reason
    if c.protocol == PROTOCOL_PENDING and c.handling == HANDLING_OPAQUE:
        conn_label(w, c, PROTOCOL_OPAQUE)
    elif c.protocol == PROTOCOL_PENDING and c.speaker != SPEAKER_NONE:
        detect_finish(&c.detect, c.sni)
        conn_label(w, c, c.detect.protocol)
    c.mode = MODE_RELAY
    if c.is_probe_only:
        conn_close(w, c, REASON_PLAINTEXT_REFUSED)
    if c.close_reason != REASON_OPEN or not authz_connection(w, c):
        return
    if c.up != NULL and c.up.is_connected:
        pick_connected(w, c)
    c.flows[DOWNSTREAM].held = c.pending
    c.pending = NULL
    if c.up == NULL and not reason:
        reason = choose_dial(w, c)
    if reason != REASON_OPEN:
        conn_close(w, c, reason)
        return
    conn_arm_timer(w, c)
    relay_pump(w, c, DOWNSTREAM)
    relay_pump(w, c, UPSTREAM)


# A ClientHello that names us: what comes inside is looked at anew.
cdef inline void intake_to_tls(worker_t* w, conn_t* c) noexcept nogil:
    memset(&c.detect, 0, sizeof(detect_t))
    c.speaker = SPEAKER_NONE
    c.dial_reason = 0                   # it gets a dial of its own
    c.flows[DOWNSTREAM].read_bytes = 0  # records are nobody's words
    if c.sni != NULL:
        slab_give(&w.snis, c.sni)
        c.sni = NULL
    terminate_held(w, c)
    if c.close_reason == REASON_OPEN:
        conn_arm_timer(w, c)


# The look at the first bytes is over.
cdef inline void intake_decided(worker_t* w, conn_t* c) noexcept nogil:
    if c.may_be_mesh and c.detect.protocol == PROTOCOL_TLS and c.detect.is_mesh:
        intake_to_tls(w, c)
        return
    conn_label(w, c, c.detect.protocol)
    if c.protocol != PROTOCOL_HTTP1 or not begin_may_be_http(w, c):
        intake_to_relay(w, c)
        return
    c.mode = MODE_HTTP
    choose_note_http(w, c)
    c.dial_reason = 0
    c.is_pending_new = 1
    c.head_us = clock_us(CLOCK_MONOTONIC)
    conn_arm_timer(w, c)
    h1_pump(w, c)


# May bytes that start like this be held back? A method is upper case by convention; a client of
# another protocol that sends a few capitals and waits gets its answer after detect_ms.
cdef inline bint intake_is_promising(
    const worker_t* w, const conn_t* c, uint8_t first,
) noexcept nogil:
    if first == 0x16:
        return True
    return c'A' <= first <= c'Z' and begin_may_be_http(w, c)


# The upstream spoke, or left. Is that the word of a protocol whose server speaks first? Not where
# the downstream may be about to begin mesh TLS: it gets its time to do so.
cdef inline bint intake_must_wait(const worker_t* w, const conn_t* c) noexcept nogil:
    if not c.may_be_mesh:
        return False
    return c.pending != NULL or w.now_ms < c.opened_us // 1000 + w.snapshot.server_first_ms


# Bytes from the downstream.
cdef inline void intake_take(worker_t* w, conn_t* c, uint32_t length) noexcept nogil:
    if c.speaker == SPEAKER_NONE:
        c.speaker = SPEAKER_DOWNSTREAM
        if w.scratch[0] == 0x16:
            c.sni = <sni_t*>slab_take(&w.snis)      # NULL: the name will not be recorded
    if not buf_append(&w.bufs, &c.pending, w.scratch, length):
        conn_close(w, c, REASON_NO_MEMORY)
    elif detect_feed(&c.detect, <const uint8_t*>w.scratch, length, w.snapshot.detect_bytes_max,
                     c.sni):
        intake_decided(w, c)
    elif c.flows[DOWNSTREAM].read_bytes == length and not intake_is_promising(
            w, c, <uint8_t>w.scratch[0]):
        intake_to_relay(w, c)
    else:
        conn_arm_timer(w, c)


# Something happened on either side.
cdef inline void intake_pump(worker_t* w, conn_t* c) noexcept nogil:
    cdef int64_t n
    while c.down.is_readable and c.close_reason == REASON_OPEN and c.mode == MODE_INTAKE:
        n = side_recv(w, &c.down, BUF_BYTES)
        if n > 0:
            relay_count_read(w, c, DOWNSTREAM, n)
            intake_take(w, c, <uint32_t>n)
        elif n == 0:
            c.flows[DOWNSTREAM].has_eof = 1
            intake_to_relay(w, c)
        elif errno == EAGAIN:
            c.down.is_readable = 0
        elif errno != EINTR:
            conn_close(w, c, relay_failure(DOWNSTREAM, errno))
    if c.close_reason == REASON_OPEN and c.mode == MODE_INTAKE and side_has_word(
            w, c.sides[UPSTREAM]):
        if intake_must_wait(w, c):
            conn_arm_timer(w, c)
        else:
            intake_to_relay(w, c)


# The dial failed before anybody knew what for. (An upstream that accepted and then reset has not
# failed to connect: that is its word, and it is passed on.)
cdef inline void intake_dial_failed(worker_t* w, conn_t* c, uint8_t reason) noexcept nogil:
    if reason == REASON_UPSTREAM_RESET:
        conn_close(w, c, reason)
        return
    conn_drop_upstream(w, c, False)
    c.dial_reason = reason
    conn_arm_timer(w, c)


# Nobody will say more in time: relay it as it is, or tell of the dial that failed. Where no dial
# was made, because the endpoint has a pool, it is made now: somebody may wait for the upstream to
# speak.
cdef inline void intake_on_timeout(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint8_t reason
    if c.pending != NULL or c.dial_reason or c.sides[UPSTREAM].is_readable:
        intake_to_relay(w, c)
        return
    reason = choose_dial(w, c)
    if reason != REASON_OPEN:
        conn_close(w, c, reason)
