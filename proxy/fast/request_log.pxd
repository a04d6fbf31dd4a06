# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. What the access log wants of a request, taken while its head is at hand.
#
# Rule 1: nothing is taken while the log is off; then a request costs one look at a flag.
# Rule 2: words of strangers are cut to what fits a line; whoever writes the line escapes them.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from proxy.fast.limits cimport (
    LOG_AGENT_BYTES_MAX, LOG_HOST_BYTES_MAX, LOG_ID_BYTES_MAX, LOG_METHOD_BYTES_MAX,
    LOG_TARGET_BYTES_MAX,
)
from proxy.fast.peer cimport peer_keep
from proxy.fast.platform cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_us
from proxy.fast.reasons cimport (
    HEADER_HOST, HEADER_TRACEPARENT, HEADER_USER_AGENT, HEADER_X_REQUEST_ID,
)
from proxy.fast.slab cimport slab_take
from proxy.fast.types cimport conn_t, h1_field_t, h1_head_t, request_log_t, worker_t


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


# Who is at the far end of mesh TLS. Asked at the head of a request, and again once there is an
# upstream to know: when the request goes there, or when somebody else than expected was found.
cdef inline void h1_log_peer(conn_t* c) noexcept nogil:
    if c.exchange != NULL and c.exchange.log != NULL:
        c.exchange.log.peer_bytes = peer_keep(c, c.exchange.log.peer)


# What the access log wants of a request; `head` is NULL for what was none. Without memory it does
# without.
cdef inline void h1_log_request(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source,
) noexcept nogil:
    cdef request_log_t* log = <request_log_t*>slab_take(&w.request_logs)
    c.exchange.log = log
    if log == NULL:
        return
    log.connection_id = c.id
    log.started_unix_us = clock_us(CLOCK_REALTIME) - (
        clock_us(CLOCK_MONOTONIC) - c.exchange.started_us)
    log.downstream = c.downstream
    log.upstream = c.upstream
    log.service = c.service
    log.is_mesh = c.is_mesh
    h1_log_peer(c)
    if head == NULL:                # not even a request: no words to keep
        return
    log.method_bytes = h1_keep(log.method, LOG_METHOD_BYTES_MAX, source, head.method_bytes)
    log.target_bytes = h1_keep(
        log.target, LOG_TARGET_BYTES_MAX, source + head.target, head.target_bytes)
    log.host_bytes = h1_keep_field(log.host, LOG_HOST_BYTES_MAX, head, source, HEADER_HOST)
    log.agent_bytes = h1_keep_field(
        log.agent, LOG_AGENT_BYTES_MAX, head, source, HEADER_USER_AGENT)
    log.request_id_bytes = h1_keep_field(
        log.request_id, LOG_ID_BYTES_MAX, head, source, HEADER_X_REQUEST_ID)
    log.trace_bytes = h1_keep_field(log.trace, LOG_ID_BYTES_MAX, head, source, HEADER_TRACEPARENT)
