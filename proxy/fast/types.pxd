# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. The data structures of the data plane. Read this file first: the rest is what is done to them.
#
#   worker_t ──owns──▶ listener_t[]                accepts for one address
#            ──owns──▶ slab of conn_t              one accepted connection and its upstream
#            ──owns──▶ slabs of tls_t, peer_t      TLS of one socket; who was met behind it
#            ──owns──▶ pools of buf_t, pipe_t      lent to a flow while it holds bytes, never longer
#            ──owns──▶ wheel_t, rings, stats_t, golden_t
#            ──borrows▶ snapshot_t                 immutable, for the length of one tick
#
# A conn_t has two sides (0 downstream, 1 upstream) and two flows; flow i carries what side i said
# to side 1-i. Words for ownership: own (we free it), borrow (somebody else does).
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.address cimport addr_t
from proxy.fast.keyring cimport records_t
from proxy.fast.limits cimport (
    BUF_BYTES, ENDINGS_MAX, GROUP_BUCKETS, H1_FIELDS_MAX, H1_HEAD_BYTES_MAX, H1_LINE_BYTES_MAX,
    LISTENERS_MAX, LOG_AGENT_BYTES_MAX, LOG_HOST_BYTES_MAX, LOG_ID_BYTES_MAX,
    LOG_METHOD_BYTES_MAX, LOG_PEER_BYTES_MAX, LOG_TARGET_BYTES_MAX, MIRRORS_MAX, OUT_EXTRA_BYTES,
    PEER_BUCKETS, POLICY_SLOTS, POOL_BUCKETS, SCRATCH_BYTES, SEALED_BYTES, SHA256_BYTES,
    SNI_BYTES_MAX, TICK_EVENTS_MAX, TIMER_LEVELS, TIMER_SLOTS, TRIES_MAX,
)
from proxy.fast.platform cimport epoll_event
from proxy.fast.reasons cimport (
    DIRECTION_COUNT, EVENT_COUNT, FLAG_COUNT, HEADER_COUNT, METHOD_COUNT, PROTOCOL_COUNT,
    REASON_COUNT, SPEAKER_COUNT, TLS_FAILED_COUNT, UNIT_COUNT, VERDICT_COUNT,
)
from proxy.fast.snapshot cimport snapshot_t
from proxy.fast.states cimport bucket_t, fleet_t
from proxy.fast.traffic cimport retry_t

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
    TIMER_UP = 2

cdef enum:                      # top bits of epoll data, see worker.pxd
    TOKEN_CONN = 0
    TOKEN_UP = 1
    TOKEN_LISTENER = 2
    TOKEN_COMMANDS = 3


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

cdef struct buf_t:              # bytes that wait; `capacity` of them follow in memory (buf_at)
    buf_t*   next               # free list
    uint32_t start              # bytes [start:end) wait
    uint32_t end
    uint32_t capacity

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
    uint8_t  is_mesh            # ALPN names us
    uint8_t  name_count         # bytes of the ALPN name that match "remora" so far

cdef struct sni_t:              # server name of a ClientHello; lent from the worker's slab
    slab_head_t head
    uint32_t length
    char     name[SNI_BYTES_MAX + 1]

cdef struct h1_field_t:
    uint32_t name                   # offset from the head's first byte
    uint32_t value
    uint32_t value_bytes            # without the white space around it
    uint32_t end                    # just behind the line's CRLF
    uint16_t name_bytes
    uint8_t  id                     # HEADER_*
    uint8_t  is_dropped             # hop-by-hop: not forwarded

cdef struct h1_head_t:
    uint32_t head_bytes             # with the empty line
    uint32_t line_bytes             # first line, with CRLF
    uint32_t method_bytes           # requests
    uint32_t target
    uint32_t target_bytes
    uint32_t authority              # of an absolute-form target
    uint32_t authority_bytes        # 0: another form
    uint16_t status                 # responses
    uint8_t  method                 # METHOD_*
    uint8_t  minor                  # HTTP/1.minor: 0 or 1
    uint8_t  body                   # BODY_*
    uint8_t  is_persistent          # the sender keeps its connection open
    uint8_t  has_close              # it said "close"
    uint8_t  has_upgrade            # it asks for (or agrees to) another protocol
    uint8_t  expects_continue
    uint8_t  field_count
    uint8_t  dropped_count
    uint8_t  has_new_path           # worker.path stands for target[path:path + path_bytes]
    uint32_t path                   # valid with has_new_path
    uint32_t path_bytes
    uint64_t content_length         # valid for BODY_LENGTH
    int16_t  first[HEADER_COUNT]    # index of the first field of that id, -1
    h1_field_t fields[H1_FIELDS_MAX]

cdef struct body_t:
    uint64_t left                       # of the data (BODY_DATA), or the size being read
    uint64_t data_bytes                 # payload so far, without the framing
    uint64_t bytes_max                  # of payload
    uint16_t extension_bytes
    uint8_t  kind                       # BODY_NONE ... BODY_TUNNEL
    uint8_t  state
    uint8_t  digit_count

cdef enum:                      # tls_t.state
    TLS_SHAKING = 0             # the handshake is under way
    TLS_ASKING = 1              # it is over; Python is asked who the peer is
    TLS_OPEN = 2

cdef struct tls_t:              # TLS on one socket; lives in worker.tlss
    slab_head_t head
    void*    ssl                # own; NULL once `records` has taken over
    void*    source             # borrow: the memory BIO that ssl reads; ssl owns it
    void*    target             # borrow: the one that it writes
    buf_t*   plain              # own: decrypted, and nobody asked for it yet; NULL: nothing
    buf_t*   partial            # own: a record whose rest is to come; NULL: nothing
    buf_t*   unsent             # own: records that the socket did not take yet; NULL: nothing
    peer_t*  peer               # borrow, counted in peer.use_count; NULL before it is known
    conn_t*  waiter             # borrow: whom to wake with the verdict; valid while TLS_ASKING
    tls_t*   next_waiter        # peer.first_waiter, valid while TLS_ASKING
    uint64_t began_us
    uint32_t bundle_generation  # of the trusted roots that it was made under
    uint32_t read_bytes         # of records: what the last side_recv() took from the socket
    uint8_t  state              # TLS_*
    uint8_t  is_server
    uint8_t  failure            # TLS_FAILED_*; 0: none
    uint8_t  has_ended          # the peer said close_notify
    uint8_t  has_said_end       # we did
    uint8_t  is_target_large    # `target` has more memory than it may keep while it is quiet
    uint8_t  has_keys           # `records` reads and writes, not ssl
    uint8_t  stays              # with ssl: something was agreed on that `records` cannot do
    uint8_t  alpn_bytes         # length of the protocol that was agreed on; 0: none
    records_t records

cdef enum:                      # peer_t.state
    PEER_ASKED = 0              # Python looks at its certificate
    PEER_KNOWN = 1
    PEER_REFUSED = 2

cdef struct peer_limit_t:       # of the requests of one identity, whatever certificates it shows
    bucket_t bucket
    uint32_t use_count          # of peer_t that point here; the last one frees it

cdef struct peer_t:             # a certificate that somebody proved to be theirs; worker.peers
    slab_head_t head
    peer_t*  next_in_bucket
    tls_t*   first_waiter       # valid while PEER_ASKED
    char*    id                 # own: SPIFFE ID, id_bytes long, not terminated; NULL before
    uint32_t use_count          # of tls_t that point here: 0 may be forgotten
    uint32_t bundle_generation  # of the trusted roots that it was verified against
    uint64_t asked_ms           # when Python was asked last
    uint16_t id_bytes
    uint16_t namespace_at       # offsets into `id`; of no bytes where the path is not Istio's
    uint16_t namespace_bytes
    uint16_t account_at
    uint16_t account_bytes
    uint16_t trust_domain_bytes  # from byte 9 on
    uint8_t  state              # PEER_*
    uint8_t  failure            # TLS_FAILED_*, valid when PEER_REFUSED
    uint8_t  digest[SHA256_BYTES]       # of the certificate's DER
    peer_limit_t* limit         # own, shared; NULL: nobody asked for it yet

cdef enum:                      # side_t.fd, besides descriptors and -1
    FD_VOID = -2                # of a copy: whatever is written is gone

cdef struct side_t:             # one socket of a connection
    tls_t*   tls                # own; NULL: plaintext
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

cdef struct up_t:               # one connection to an upstream; lives in worker.ups
    slab_head_t head
    side_t   side
    conn_t*  owner              # borrow: whom it works for; NULL while idle in its pool
    pool_t*  pool               # borrow; NULL: private to its owner, never used again
    up_t*    next_idle          # pool.idle, doubly linked, valid while owner is NULL
    up_t*    previous_idle
    up_t*    next_dead          # worker.dead_ups
    buf_t*   pending            # own: bytes of a response head that is not whole
    timer_node_t timer          # idle in the pool
    uint32_t scanned_bytes      # of `pending`, by h1_scan
    uint32_t request_count
    uint32_t backend            # who dialled it, by number: counted there
    uint8_t  has_backend
    uint8_t  is_connected
    uint8_t  is_dead

cdef struct pick_t:             # an endpoint that was chosen: in its numbers until pick_end()
    uint32_t backend            # by number
    uint32_t slot
    uint32_t generation
    uint8_t  is_made

cdef struct pool_t:             # connections to one endpoint; lives in worker.pools
    slab_head_t head
    addr_t   address
    pool_t*  next_in_bucket
    up_t*    idle               # most recently used first
    conn_t*  first_waiter       # first come, first served
    conn_t*  last_waiter
    uint32_t idle_count
    uint32_t live_count         # idle, working and being dialled
    uint8_t  direction          # inbound dials from another source address

cdef struct request_log_t:      # what the access log wants to know; kept only while it is on
    slab_head_t head
    uint64_t connection_id
    uint64_t started_unix_us
    addr_t   downstream
    addr_t   upstream
    uint32_t service
    uint16_t method_bytes       # lengths of what was kept; longer words are cut
    uint16_t target_bytes
    uint16_t host_bytes
    uint16_t agent_bytes
    uint16_t request_id_bytes
    uint16_t trace_bytes
    uint8_t  peer_bytes         # 0: plaintext, or nobody is known yet
    uint8_t  is_mesh
    char     method[LOG_METHOD_BYTES_MAX]
    char     target[LOG_TARGET_BYTES_MAX]
    char     host[LOG_HOST_BYTES_MAX]
    char     agent[LOG_AGENT_BYTES_MAX]
    char     request_id[LOG_ID_BYTES_MAX]
    char     trace[LOG_ID_BYTES_MAX]        # traceparent
    char     peer[LOG_PEER_BYTES_MAX]       # SPIFFE ID: peer_beyond()

cdef struct golden_key_t:       # whose requests: all that tells one group from another
    uint32_t service            # Python's number of a name, or SERVICE_*
    uint32_t route              # likewise, or ROUTE_UNKNOWN
    uint8_t  direction
    uint8_t  is_mesh

cdef struct ending_t:           # how requests ended
    uint16_t status             # 0: no answer was made
    uint8_t  flag
    uint64_t count

cdef struct golden_t:           # golden metrics of a group; written by the worker, read by Python
    golden_key_t key
    golden_t* next_in_bucket    # worker.groups; set before the group can be found
    uint64_t requests[METHOD_COUNT]
    uint64_t in_flight
    uint64_t request_bucket[HISTOGRAM_BUCKETS]      # whole requests
    uint64_t request_sum_us
    uint64_t first_byte_bucket[HISTOGRAM_BUCKETS]
    uint64_t first_byte_sum_us
    uint64_t body_bytes[2]                          # requests, responses
    uint64_t ending_count                           # release store by the worker
    ending_t endings[ENDINGS_MAX]                   # as they were first met
    uint64_t rest[2][FLAG_COUNT]                    # what found no place: status below 500, above

cdef struct exchange_t:         # one request and its response; knows no codec
    slab_head_t head
    golden_t* group             # borrow: where it is counted; groups live as long as the worker
    body_t   request_body
    body_t   response_body
    request_log_t* log          # own; NULL while the access log is off
    buf_t*   replay             # own: what was sent of it, while it may be sent again; else NULL
    buf_t*   edits              # own: what its route changes in heads (edits.pxd); NULL: nothing
    retry_t  retry
    uint64_t deadline_ms        # for all of it; 0: none
    uint64_t try_ms             # for one try; 0: no limit
    uint64_t try_deadline_ms    # of this one; 0: none
    uint64_t wake_ms            # delayed, or before another try, until then; 0: it does not wait
    uint64_t hash               # of what sticky sessions stick to
    uint64_t try_us             # when this try began
    uint64_t latency_us         # of the try that was answered
    uint32_t backend            # by number; valid with has_backend
    uint32_t replay_head_bytes  # of `replay`: the head without its end
    uint32_t mirrors[MIRRORS_MAX]   # backends that get a copy, by number
    uint8_t  mirror_count
    uint8_t  may_repeat         # it does no harm twice
    uint64_t started_us         # monotonic: the first byte of the request
    uint64_t sent_us            # its head went upstream; 0 before
    uint64_t first_byte_us      # of the final response; 0 before
    uint16_t status             # 0 before there is one
    uint8_t  flag               # FLAG_*
    uint8_t  method             # METHOD_*
    uint8_t  request_state      # REQUEST_*
    uint8_t  response_state     # RESPONSE_*
    uint8_t  attempt_count
    uint8_t  minor              # HTTP/1.minor of the downstream
    uint8_t  wants_upgrade
    uint8_t  must_close         # the downstream connection ends after this exchange
    uint8_t  upstream_persists
    uint8_t  has_backend        # counted among its requests
    uint8_t  is_inbound         # has_backend: of those that come in to our own pod
    uint8_t  is_retrying        # counted among its retries
    uint8_t  must_resend        # the next connection gets `replay` first
    uint8_t  has_told           # the downstream has heard of it: 1xx
    uint8_t  outcome            # OUTCOME_* of the last try

cdef enum:                      # exchange_t.request_state
    REQUEST_HEAD = 0            # its bytes are in conn.pending; an upstream is there or not needed
    REQUEST_WAITS = 1           # the same, and there is no upstream yet
    REQUEST_BODY = 2
    REQUEST_DONE = 3
    REQUEST_CUT = 4             # the upstream answered early and takes no more of it

cdef enum:                      # exchange_t.response_state
    RESPONSE_HEAD = 0
    RESPONSE_BODY = 1
    RESPONSE_DONE = 2

cdef enum:                      # conn_t.mode
    MODE_INTAKE = 0             # the first bytes are looked at, and held
    MODE_RELAY = 1
    MODE_HTTP = 2
    MODE_LINGER = 3             # answered and half closed: what still comes is thrown away
    MODE_TLS = 4                # a TLS handshake of the downstream

cdef struct conn_t:             # one accepted connection; lives in worker.conns, dies in reap()
    slab_head_t head
    timer_node_t timer          # connect, idle or half-open, as `phase` says
    conn_t*  next_dead          # worker.dead, valid once close_reason is set
    conn_t*  next_ready         # worker.ready, doubly linked, valid while is_ready_queued
    conn_t*  previous_ready
    side_t*  sides[2]           # &down, and &up.side or the worker's side of nobody
    side_t   down
    up_t*    up                 # own; NULL while there is none
    buf_t*   pending            # own: read from the downstream, not understood or not sent yet
    exchange_t* exchange        # own; NULL between requests
    golden_t* group             # borrow: where its requests are counted; NULL before the first one
    conn_t*  next_waiter        # pool.first_waiter, valid while is_waiting
    pool_t*  waits_for          # borrow: in whose queue, valid while is_waiting
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
    uint64_t dialled_ms         # when the dial, or the wait for a connection, began
    uint64_t dialled_us
    uint64_t timer_ms           # what the timer is armed for
    uint8_t  direction          # DIRECTION_*, set at accept
    uint8_t  phase              # PHASE_*
    uint8_t  protocol           # PROTOCOL_*
    uint8_t  speaker            # SPEAKER_*
    uint8_t  close_reason       # REASON_OPEN while open
    uint8_t  is_ready_queued
    uint8_t  is_spliced         # at some time
    uint8_t  mode               # MODE_*
    uint8_t  is_pending_new     # `pending` has bytes that nobody looked at
    uint8_t  is_waiting         # in a pool's queue
    uint8_t  broken_side        # 1 + the side that took no more bytes; 0: none (HTTP only)
    uint32_t scanned_bytes      # of `pending`, by h1_scan
    uint64_t head_us            # first byte of the request head that is being read; 0: none
    uint64_t finished_count     # exchanges
    uint32_t service            # whose destination this is; SERVICE_UNKNOWN: nobody's we know
    uint8_t  must_end           # HTTP: once its answer is written
    uint8_t  dial_reason        # why the dial failed before the protocol was known; 0: it did not
    uint8_t  handling           # HANDLING_*
    uint8_t  is_mesh            # one side speaks mesh TLS, or is to
    uint8_t  may_be_mesh        # a ClientHello that names us is ours to answer
    uint8_t  is_judged          # authorization policies apply to it: it comes in to our own pod
    uint8_t  is_probe_only      # plaintext where only TLS is let in: for the kubelet's probes
    uint8_t  is_unknown         # counted among those that go out to no service
    uint8_t  is_mirror          # a copy: it has no downstream
    uint32_t mirror_backend     # who gets it, by number
    uint8_t  is_by_host         # requests go where their Host says
    uint8_t  tried_count
    pick_t   pick               # of the request, or of the relay
    uint32_t tried[TRIES_MAX]   # endpoints that failed it, by slot

cdef enum:                      # listener_t.target
    TARGET_ORIGINAL = -1        # where the connection meant to go
    TARGET_BY_HOST = -2         # where each request says

cdef struct listener_t:
    int32_t  fd                 # own; -1 when closed
    int32_t  target             # index in snapshot.targets, or TARGET_*
    int32_t  id                 # the caller's
    uint8_t  direction
    uint8_t  is_fresh           # who waited before we came did not inherit its socket options
    uint8_t  is_paused          # out of descriptors or memory; the timer resumes it
    uint8_t  is_judged          # what it accepts goes to our own pod: policies apply
    addr_t   bound
    timer_node_t timer

cdef struct ring_t:             # one producer thread, one consumer thread
    char*    items              # own
    uint32_t item_bytes
    uint32_t mask               # item count - 1
    char     pad0[48]
    uint64_t head               # written by the producer only
    char     pad1[56]
    uint64_t tail               # written by the consumer only
    char     pad2[56]

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
    uint64_t pool_idle[DIRECTION_COUNT]
    uint64_t pool_live[DIRECTION_COUNT]
    uint64_t pool_waiting[DIRECTION_COUNT]
    uint64_t pool_reused[DIRECTION_COUNT]
    uint64_t tls_handshakes[2]              # done: dialled, accepted (tls_t.is_server)
    uint64_t tls_open[2]
    uint64_t tls_failed[2][TLS_FAILED_COUNT]
    uint64_t tls_bytes[2]                   # plaintext inside: received, sent
    uint64_t tls_bucket[2][HISTOGRAM_BUCKETS]       # duration of handshakes
    uint64_t tls_sum_us[2]
    uint64_t events[EVENT_COUNT]
    uint64_t ticks
    uint64_t longest_tick_us                # since Python last asked

cdef struct worker_t:
    # Words that the other thread reads or writes: atomics only.
    void*    next_snapshot      # borrow: written by Python, adopted at the start of a tick
    uint64_t snapshot_version   # what this worker reads now; older snapshots may be freed
    uint64_t live_connections   # these seven in the order that Engine.stats() tells them
    uint64_t live_bufs
    uint64_t live_pipes
    uint64_t live_listeners
    uint64_t live_ups
    uint64_t live_exchanges
    uint64_t live_numbers       # of the fleet; counted at the end
    uint64_t must_stop          # set by Python, once: reset everything, end the thread
    ring_t   commands           # Python to worker
    ring_t   records            # worker to Python: connections
    ring_t   request_records    # worker to Python: requests
    ring_t   questions          # worker to Python: certificates
    ring_t   denials            # worker to Python: what policies had to say
    # From here on: the worker's own.
    stats_t  stats
    uint64_t policy_counts[POLICY_SLOTS][VERDICT_COUNT][UNIT_COUNT]
    golden_t* groups[GROUP_BUCKETS]         # own: golden.pxd; Python follows the pointers, too
    golden_t other_groups[DIRECTION_COUNT * 2]      # of services that found no place there
    uint32_t group_count
    const snapshot_t* snapshot  # borrow: valid for this tick
    int32_t  index
    int32_t  epoll_fd           # own
    int32_t  command_fd         # own: eventfd, wakes the tick
    int32_t  reserve_fd         # own: given up for a dial when descriptors run out
    int32_t  record_fd          # borrow: eventfd of the engine, wakes Python
    uint32_t connections_max
    uint8_t  records_enabled
    uint64_t policy_generation  # of the policies that open connections were judged by
    uint64_t denials_ms         # when the second began in which `denials_told` were told
    uint64_t denials_untold
    uint32_t denials_told
    uint32_t path_bytes         # of `path`
    uint32_t draining           # direction bits: no new connections, no keep-alive
    uint8_t  is_stopping
    uint8_t  must_wake_python   # something was posted in this tick
    uint64_t now_us             # monotonic, of this tick
    uint64_t tick_us            # the same, when this tick began
    uint64_t now_ms
    uint64_t next_id
    slab_t   conns
    slab_t   snis
    slab_t   ups
    slab_t   pools
    slab_t   exchanges
    slab_t   request_logs
    slab_t   tlss
    slab_t   peers
    peer_t*  peer_buckets[PEER_BUCKETS]
    uint32_t bundle_generation  # of the snapshot that was read last
    uint32_t peer_hand          # where the next look for a forgettable peer begins
    void*    digest             # borrow: OpenSSL's SHA-256
    pool_t*  buckets[POOL_BUCKETS]
    uint8_t  has_room           # some pool has room for who waits
    up_t*    dead_ups           # closed in this tick, freed at its end
    fleet_t  fleet              # what is known of backends and endpoints
    uint64_t replay_bytes       # kept by all exchanges
    uint32_t unknown_count      # connections that go out to addresses of no service
    uint32_t mirror_count       # copies of requests that are under way
    side_t   nobody             # stands in for a side that is not there: fd -1, never ready
    uint64_t random[2]
    h1_head_t h1                # the head being parsed; valid until the next one
    buf_pool_t bufs
    pipe_pool_t pipes
    wheel_t  wheel
    conn_t*  dead               # closed in this tick, freed at its end
    conn_t*  ready              # used up their turn: go on in the next tick
    listener_t listeners[LISTENERS_MAX]
    uint32_t listener_count     # slots used; closed ones have fd -1
    epoll_event events[TICK_EVENTS_MAX]
    char     scratch[SCRATCH_BYTES]      # where a read lands; bytes live until the read's return
    char     cipher[BUF_BYTES]  # where TLS records land before they are read
    char     sealed[SEALED_BYTES]       # TLS records on their way to the socket
    tls_t*   sealed_by          # whose they are; NULL: nobody's
    uint32_t sealed_bytes
    char     out[H1_HEAD_BYTES_MAX + OUT_EXTRA_BYTES]   # a head being written
    char     path[H1_LINE_BYTES_MAX]    # of the request being judged, in its one form
