# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. Why a connection ended, what was counted, and the other small vocabularies.
#
# The names that people read (proxy/_fastpath.pyx: REASONS, EVENTS, ...) stand in the same order;
# tests/unit/test_stub.py holds them together. Texts and hints live in proxy/errors.py.

cdef enum:                  # status of a fast function: negative values are our own faults
    FP_OK = 0               # did what it was asked
    FP_AGAIN = 1            # cannot go on now; an event or a timer will
    FP_DONE = 2             # nothing more to do, or the connection was closed meanwhile

cdef enum:                  # conn_t.close_reason; the first writer wins
    REASON_OPEN = 0
    REASON_OK = 1                   # FIN both ways
    REASON_DOWNSTREAM_RESET = 2
    REASON_UPSTREAM_RESET = 3
    REASON_DOWNSTREAM_TIMEOUT = 4   # keepalive or TCP_USER_TIMEOUT gave the peer up
    REASON_UPSTREAM_TIMEOUT = 5
    REASON_CONNECT_REFUSED = 6
    REASON_CONNECT_TIMEOUT = 7
    REASON_CONNECT_UNREACHABLE = 8
    REASON_CONNECT_FAILED = 9
    REASON_SOURCE_UNAVAILABLE = 10  # 127.0.0.6 or ::6 could not be bound
    REASON_LOOP = 11                # original destination is the proxy itself
    REASON_NO_ORIGINAL_DST = 12     # nobody redirected this connection
    REASON_IDLE_TIMEOUT = 13
    REASON_HALF_OPEN_TIMEOUT = 14
    REASON_LIMIT_CONNECTIONS = 15
    REASON_NO_FDS = 16
    REASON_NO_MEMORY = 17
    REASON_DRAIN_DEADLINE = 18
    REASON_OPERATOR = 19
    REASON_STOPPED = 20
    REASON_COUNT = 21

cdef enum:                  # conn_t.direction, listener_t.direction
    DIRECTION_INBOUND = 0
    DIRECTION_OUTBOUND = 1
    DIRECTION_EXPLICIT = 2
    DIRECTION_COUNT = 3

cdef enum:                  # conn_t.protocol
    PROTOCOL_PENDING = 0
    PROTOCOL_HTTP1 = 1
    PROTOCOL_HTTP2 = 2
    PROTOCOL_TLS = 3
    PROTOCOL_OPAQUE = 4
    PROTOCOL_NONE = 5       # ended before anybody had said a word
    PROTOCOL_COUNT = 6

cdef enum:                  # conn_t.speaker: who sent the first byte
    SPEAKER_NONE = 0
    SPEAKER_DOWNSTREAM = 1
    SPEAKER_UPSTREAM = 2
    SPEAKER_COUNT = 3

cdef enum:                  # conn_t.phase
    PHASE_CONNECTING = 0
    PHASE_RELAYING = 1
    PHASE_HALF_OPEN = 2

cdef enum:                  # stats_t.events
    EVENT_ACCEPT_PAUSED = 0         # no descriptor or memory at accept: the listener waits
    EVENT_ACCEPT_ERROR = 1          # a connection died in the backlog
    EVENT_LIMIT_CONNECTIONS = 2     # refused: connections_max reached
    EVENT_RECORDS_DROPPED = 3       # the ring to Python was full
    EVENT_SPLICE_STARTED = 4
    EVENT_SPLICE_NO_PIPE = 5        # bulk flow went on copying: pipes_max, or no descriptor
    EVENT_STALE = 6                 # epoll event of a connection already gone
    EVENT_WAKE_FAILED = 7           # an eventfd could not be written
    EVENT_COUNT = 8
