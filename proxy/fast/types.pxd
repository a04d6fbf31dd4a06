# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. The data structures of the data plane. Read this file first: the rest is what is done to them.
#
#   worker_t ──owns──▶ listener_t[]                accepts for one address
#            ──owns──▶ slab of conn_t              one accepted connection and its upstream
#            ──owns──▶ pools of buf_t, pipe_t      lent to a flow while it holds bytes, never longer
#            ──owns──▶ wheel_t, rings, stats_t
#            ──borrows▶ snapshot_t                 immutable, for the length of one tick
#
# A conn_t has two sides (0 downstream, 1 upstream) and two flows; flow i carries what side i said
# to side 1-i. Words for ownership: own (we free it), borrow (somebody else does).
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.limits cimport (
    BUF_BYTES, LISTENERS_MAX, SNI_BYTES_MAX, TICK_EVENTS_MAX, TIMER_LEVELS, TIMER_SLOTS,
)
from proxy.fast.platform cimport epoll_event
from proxy.fast.reasons cimport (
    DIRECTION_COUNT, EVENT_COUNT, PROTOCOL_COUNT, REASON_COUNT, SPEAKER_COUNT,
)

cdef enum:
    DOWNSTREAM = 0              # index of a side, and of the flow that starts there
    UPSTREAM = 1
    HISTOGRAM_BUCKETS = 21      # stats.pxd has the bounds; the last one is +Inf

cdef enum:                      # flow_t.mode
    FLOW_COPY = 0
    FLOW_SPLICE = 1

cdef enum:                      # timer_node_t.kind: what `owner` points to
    TIMER_CONN = 0
    TIMER_LISTENER = 1

cdef enum:                      # top bits of epoll data, see worker.pxd
    TOKEN_CONN_DOWNSTREAM = 0
    TOKEN_CONN_UPSTREAM = 1
    TOKEN_LISTENER = 2
    TOKEN_COMMANDS = 3


cdef struct addr_t:             # an IPv4 or IPv6 address and port; mapped addresses are IPv4
    uint8_t  ip[16]             # network order; IPv4 uses the first four
    uint32_t scope              # IPv6 scope id (link-local), else 0
    uint16_t port               # host order
    uint8_t  family             # 0 (none), 4 or 6

cdef struct slab_head_t:        # first member of everything that lives in a slab
    uint32_t slot               # index for life
    uint32_t generation         # bumped on free: a stale epoll event cannot reach a new owner
    uint32_t next_free          # valid while free
    uint32_t is_live

cdef struct slab_t:
    char**   chunks             # own: arrays of items; an item never moves
    uint32_t chunk_count
    uint32_t chunk_capacity     # length of `chunks`
    uint32_t item_bytes
    uint32_t free_slot          # head of the free list, SLAB_NONE when empty
    uint32_t live_count
    uint32_t live_max

cdef struct timer_node_t:       # intrusive: lives in what it times out
    timer_node_t* next          # NULL while not armed
    timer_node_t* previous
    uint64_t expires_tick
    void*    owner              # borrow: what `kind` says
    uint8_t  kind
    uint8_t  level              # where it is linked; valid while armed
    uint8_t  slot

cdef struct wheel_t:
    timer_node_t slots[TIMER_LEVELS][TIMER_SLOTS]   # list heads
    timer_node_t due            # head of what expired in this tick
    uint64_t occupied[TIMER_LEVELS]                 # bit s: slots[level][s] is not empty
    uint64_t current_tick       # everything up to and including this tick has fired
    uint64_t armed_count

cdef struct buf_t:              # bytes read and not yet written; lent from the worker's pool
    buf_t*   next               # free list
    uint32_t start              # bytes[start:end] wait to be written
    uint32_t end
    char     bytes[BUF_BYTES]

cdef struct buf_pool_t:
    buf_t*   free
    uint32_t free_count
    uint32_t live_count

cdef struct pipe_t:             # a kernel pipe: bytes on their way through splice(2)
    pipe_t*  next               # free list
    int32_t  read_fd            # own
    int32_t  write_fd           # own
    uint32_t held_bytes         # in the pipe now

cdef struct pipe_pool_t:
    pipe_t*  free
    uint32_t free_count
    uint32_t live_count
    uint32_t open_count         # free and live

cdef struct detect_t:           # detect.pxd: a resumable look at the first bytes
    uint8_t  state
    uint8_t  protocol           # PROTOCOL_*, valid once state is DETECT_DONE
    uint8_t  preface_count      # bytes of the HTTP/2 preface matched so far
    uint8_t  word_count         # letters of the method, or of "HTTP/1." matched so far
    uint16_t seen_bytes         # of the request line
    uint16_t record_left        # bytes left in the TLS record
    uint32_t hello_left         # bytes left in the ClientHello
    uint32_t skip_left          # bytes left of the field being skipped or read
    uint32_t number             # the integer being read, big endian
    uint16_t extension_left     # bytes left in the extension
    uint16_t header_count       # bytes read of the record or field header
    uint8_t  has_name           # a server_name extension was met

cdef struct sni_t:              # server name of a ClientHello; lent from the worker's slab
    slab_head_t head
    uint32_t length
    char     name[SNI_BYTES_MAX + 1]

cdef struct side_t:             # one socket of a connection
    int32_t  fd                 # own; -1 when there is none
    uint8_t  is_readable        # an edge promised bytes that we have not drained yet
    uint8_t  is_writable        # no EAGAIN since the last edge; 0 while connecting
    uint8_t  is_hungup          # peer's FIN or RST was announced: a short read proves nothing
    uint8_t  is_urgent          # urgent data was announced: recv stops at its mark, likewise

cdef struct flow_t:             # what one side said, on its way to the other
    buf_t*   held               # own: read, not yet written; NULL when nothing waits
    pipe_t*  pipe               # own: the same for splice; NULL when it is empty
    uint64_t read_bytes
    uint64_t written_bytes
    uint8_t  mode               # FLOW_*
    uint8_t  streak             # full reads (copy) or small reads (splice) in a row
    uint8_t  has_eof            # source said FIN and everything before it was read
    uint8_t  has_passed_fin     # ... and was written, and the FIN with it
    uint8_t  is_broken          # target refused our bytes: being closed (relay_break)

cdef struct conn_t:             # one accepted connection; lives in worker.conns, dies in reap()
    slab_head_t head
    timer_node_t timer          # connect, idle or half-open, as `phase` says
    conn_t*  next_dead          # worker.dead, valid once close_reason is set
    conn_t*  next_ready         # worker.ready, doubly linked, valid while is_ready_queued
    conn_t*  previous_ready
    side_t   sides[2]
    flow_t   flows[2]
    detect_t detect
    sni_t*   sni                # own; NULL unless a ClientHello named a server
    addr_t   downstream
    addr_t   original_dst       # equal to `upstream` for explicit listeners
    addr_t   upstream
    uint64_t id                 # worker << 46, then a sequence number: exact in JSON
    uint64_t opened_us          # monotonic
    uint64_t opened_unix_us
    int64_t  connect_us         # accept to connected; -1 before
    uint64_t active_ms          # tick of the last byte, either way
    uint8_t  direction          # DIRECTION_*, set at accept
    uint8_t  phase              # PHASE_*
    uint8_t  protocol           # PROTOCOL_*
    uint8_t  speaker            # SPEAKER_*
    uint8_t  close_reason       # REASON_OPEN while open
    uint8_t  is_ready_queued
    uint8_t  is_spliced         # at some time

cdef struct listener_t:
    int32_t  fd                 # own; -1 when closed
    int32_t  target             # index in snapshot.targets; -1: original destination
    int32_t  id                 # the caller's
    uint8_t  direction
    uint8_t  is_fresh           # who waited before we came did not inherit its socket options
    uint8_t  is_paused          # out of descriptors or memory; the timer resumes it
    addr_t   bound
    timer_node_t timer

cdef struct snapshot_t:         # immutable once published; Python owns it (proxy/_fastpath.pyx)
    uint64_t version
    uint64_t connect_ms[DIRECTION_COUNT]
    uint64_t idle_ms
    uint64_t half_open_ms
    int32_t  keepalive_idle_s
    int32_t  keepalive_interval_s
    int32_t  keepalive_count
    int32_t  user_timeout_ms
    uint32_t detect_bytes_max
    uint8_t  splice_enabled
    uint32_t target_count
    addr_t*  targets            # own

cdef struct ring_t:             # one producer thread, one consumer thread
    char*    items              # own
    uint32_t item_bytes
    uint32_t mask               # item count - 1
    char     pad0[48]
    uint64_t head               # written by the producer only
    char     pad1[56]
    uint64_t tail               # written by the consumer only
    char     pad2[56]

cdef struct record_t:           # a connection as Python gets to see it
    uint64_t id
    uint64_t received_bytes
    uint64_t sent_bytes
    uint64_t opened_unix_us
    int64_t  connect_us
    uint64_t duration_us
    addr_t   downstream
    addr_t   original_dst
    addr_t   upstream
    uint8_t  worker
    uint8_t  direction
    uint8_t  phase
    uint8_t  protocol
    uint8_t  speaker
    uint8_t  reason
    uint8_t  is_spliced
    uint8_t  sni_length
    char     sni[SNI_BYTES_MAX + 1]

cdef struct dump_t:             # the worker's answer to COMMAND_DUMP; Python owns it
    record_t* rows              # own
    uint32_t row_capacity
    uint32_t row_count          # valid once is_done
    uint64_t is_done            # release store by the worker

cdef enum:                      # command_t.op
    COMMAND_LISTEN = 1
    COMMAND_STOP_ACCEPTING = 2  # a: direction bits
    COMMAND_CLOSE_ALL = 3       # a: direction bits, b: reason
    COMMAND_CLOSE_ONE = 4       # id
    COMMAND_RECORDS = 5         # a: on or off
    COMMAND_DUMP = 6            # pointer: dump_t

cdef struct command_t:
    uint32_t op
    int32_t  a
    int32_t  b
    int32_t  c
    int32_t  d
    uint64_t id
    void*    pointer

cdef struct stats_t:            # written by the worker, read by Python with relaxed loads
    uint64_t opened[DIRECTION_COUNT]
    uint64_t open[DIRECTION_COUNT][PROTOCOL_COUNT]
    uint64_t closed[DIRECTION_COUNT][PROTOCOL_COUNT][REASON_COUNT]
    uint64_t detected[DIRECTION_COUNT][PROTOCOL_COUNT][SPEAKER_COUNT]
    uint64_t bytes[DIRECTION_COUNT][4]      # downstream read, written, upstream read, written
    uint64_t connect_bucket[DIRECTION_COUNT][HISTOGRAM_BUCKETS]
    uint64_t connect_sum_us[DIRECTION_COUNT]
    uint64_t duration_bucket[DIRECTION_COUNT][HISTOGRAM_BUCKETS]
    uint64_t duration_sum_us[DIRECTION_COUNT]
    uint64_t events[EVENT_COUNT]
    uint64_t ticks
    uint64_t longest_tick_us                # since Python last asked

cdef struct worker_t:
    # Words that the other thread reads or writes: atomics only.
    void*    next_snapshot      # borrow: written by Python, adopted at the start of a tick
    uint64_t snapshot_version   # what this worker reads now; older snapshots may be freed
    uint64_t live_connections
    uint64_t live_listeners
    uint64_t live_bufs
    uint64_t live_pipes
    uint64_t must_stop          # set by Python, once: reset everything, end the thread
    ring_t   commands           # Python to worker
    ring_t   records            # worker to Python
    # From here on: the worker's own.
    stats_t  stats
    const snapshot_t* snapshot  # borrow: valid for this tick
    int32_t  index
    int32_t  epoll_fd           # own
    int32_t  command_fd         # own: eventfd, wakes the tick
    int32_t  reserve_fd         # own: given up for a dial when descriptors run out
    int32_t  record_fd          # borrow: eventfd of the engine, wakes Python
    uint32_t connections_max
    uint8_t  records_enabled
    uint8_t  is_stopping
    uint8_t  must_wake_python   # something was posted in this tick
    uint64_t now_us             # monotonic, of this tick
    uint64_t tick_us            # the same, when this tick began
    uint64_t now_ms
    uint64_t next_id
    slab_t   conns
    slab_t   snis
    buf_pool_t bufs
    pipe_pool_t pipes
    wheel_t  wheel
    conn_t*  dead               # closed in this tick, freed at its end
    conn_t*  ready              # used up their turn: go on in the next tick
    listener_t listeners[LISTENERS_MAX]
    uint32_t listener_count     # slots used; closed ones have fd -1
    epoll_event events[TICK_EVENTS_MAX]
    char     scratch[BUF_BYTES]  # where a copying read lands; bytes live until the read's return
