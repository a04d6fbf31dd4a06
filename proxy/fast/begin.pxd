# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. What a connection does once its downstream may speak: at accept, or after its TLS handshake.
from libc.stdint cimport uint8_t

from proxy.fast.authz cimport authz_connection
from proxy.fast.choose cimport choose_dial, choose_speaks_http
from proxy.fast.conn cimport conn_drop_upstream, conn_label
from proxy.fast.pool cimport pool_find
from proxy.fast.reasons cimport (
    HANDLING_DETECT, HANDLING_OPAQUE, PHASE_RELAYING, PROTOCOL_HTTP1, PROTOCOL_OPAQUE,
    REASON_CONNECT_REFUSED, REASON_CONNECT_UNREACHABLE, REASON_DENIED, REASON_LIMIT_UPSTREAM,
    REASON_NO_ENDPOINT, REASON_OPEN, SPEAKER_DOWNSTREAM,
)
from proxy.fast.types cimport MODE_HTTP, MODE_INTAKE, MODE_RELAY, conn_t, worker_t


# May the bytes of this connection be parsed as HTTP?
cdef inline bint begin_may_be_http(const worker_t* w, const conn_t* c) noexcept nogil:
    return c.handling == HANDLING_DETECT and w.snapshot.http_enabled


# Dial at once, unless the endpoint is known to speak HTTP: then a request may find an idle
# connection to it, and none of its protocols speaks first. Where nobody will look for requests,
# authorization policies are asked before. Returns REASON_OPEN or why not.
cdef inline uint8_t begin_serve(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint8_t reason
    c.mode = MODE_RELAY
    if c.may_be_mesh or begin_may_be_http(w, c):
        c.mode = MODE_INTAKE
    elif c.handling == HANDLING_OPAQUE:
        conn_label(w, c, PROTOCOL_OPAQUE)
    if c.mode == MODE_RELAY and not authz_connection(w, c):
        return REASON_DENIED
    if c.up != NULL:
        return REASON_OPEN                  # dialled while it was not known that this is TLS
    if c.mode == MODE_INTAKE and (
            c.is_by_host or choose_speaks_http(w, c)
            or pool_find(w, c.direction, &c.upstream) != NULL):
        c.phase = PHASE_RELAYING
        return REASON_OPEN
    reason = choose_dial(w, c)
    if c.mode == MODE_INTAKE and reason in (
            REASON_CONNECT_REFUSED, REASON_CONNECT_UNREACHABLE, REASON_NO_ENDPOINT,
            REASON_LIMIT_UPSTREAM):
        conn_drop_upstream(w, c, False)
        c.dial_reason = reason              # a request deserves an answer
        c.dialled_ms = w.now_ms
        c.phase = PHASE_RELAYING
        return REASON_OPEN
    return reason


# The same for one whose peer has said that it speaks HTTP/1.
cdef inline void begin_http(worker_t* w, conn_t* c) noexcept nogil:
    c.speaker = SPEAKER_DOWNSTREAM
    conn_label(w, c, PROTOCOL_HTTP1)
    c.mode = MODE_HTTP
