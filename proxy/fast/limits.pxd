# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. Every bound of the data plane, each with its reason. Units last.
#
# Limits that an operator may change are settings of the snapshot (types.pxd: snapshot_t); what
# stands here is fixed because memory layout or fairness depends on it.

cdef enum:
    # One read in copying mode, and the most that one direction of a relay holds for a slow reader.
    # Two HAProxy buffers; a flow that fills it twice in a row is moved to splice(2) anyway.
    BUF_BYTES = 32768
    # Buffers kept for reuse by one worker (1 MiB): more would be memory held for a burst long over.
    BUFS_FREE_MAX = 32

    # Capacity asked for a splice pipe. The kernel's default of 64 KiB costs four times the system
    # calls; more gave nothing in bench/, and 16 MiB a user (fs.pipe-user-pages-soft) is shared.
    PIPE_BYTES = 262144
    # Pipes of one worker: 64 x 256 KiB is the kernel's soft limit of one unprivileged user.
    # Above it a flow simply goes on copying.
    PIPES_MAX = 64
    # Idle pipes kept open by one worker.
    PIPES_FREE_MAX = 8
    # Full reads in a row after which a flow counts as bulk and goes by splice(2).
    BULK_READS_MIN = 2
    # A spliced read smaller than this is a message, not bulk; so many in a row end the splicing.
    BULK_BYTES_MIN = 8192
    SMALL_READS_MAX = 4

    # Bytes one flow may move before the other connections get their turn.
    FLOW_TURN_BYTES = 1048576

    # Events taken by one epoll_wait, and connections accepted by one listener in one tick:
    # enough to spread the cost of the call, small enough that a storm of accepts starves nobody.
    TICK_EVENTS_MAX = 256
    ACCEPTS_PER_TICK_MAX = 64
    # Pause of a listener that found no file descriptor or no memory. Long enough not to spin,
    # short against the connect timeout of whoever waits in the backlog.
    ACCEPT_PAUSE_MS = 50

    # The time that a worker asks the scheduler for at once: the shortest there is. Where it shares
    # a core with the main thread it then comes first when it wakes, instead of waiting until Python
    # has used up its own slice of about 3 ms.
    WORKER_SLICE_NS = 100000

    LISTENERS_MAX = 64
    WORKERS_MAX = 64
    COMMANDS_MAX = 1024
    # Explicit targets of one snapshot.
    TARGETS_MAX = 4096

    # RFC 6066 section 3: a host name is at most 255 octets.
    SNI_BYTES_MAX = 255
    # A method longer than this is no HTTP (the longest registered one has 17 letters).
    METHOD_BYTES_MAX = 24
    # A ClientHello is one handshake message; above this nobody sends one in good faith.
    CLIENT_HELLO_BYTES_MAX = 16384

    # Slab chunks: items are allocated 64 at a time and never move.
    SLAB_CHUNK_LOG2 = 6

    # Resolution of timers, and the reach of the wheel (64^4 ticks, 18.6 hours).
    TIMER_TICK_MS = 4
    TIMER_LEVELS = 4
    TIMER_SLOTS = 64

    # One connection, without its buffers. There is one for every user connection: growth is a
    # decision, so it is pinned by a static assert in conn.pxd.
    CONN_BYTES_MAX = 624

    # HTTP/1.1 heads. Envoy and HAProxy stop at 100 fields; cookies count like any other.
    H1_FIELDS_MAX = 100
    H1_HEAD_BYTES_MAX = 65536
    # Request line: RFC 9112 section 3 asks for 8000 at least.
    H1_LINE_BYTES_MAX = 16384
    # Names in Connection: bounds tokens x fields.
    H1_CONNECTION_TOKENS_MAX = 32
    # CVE-2023-39326: chunk extensions cost without carrying.
    CHUNK_EXTENSION_BYTES_MAX = 256
    # Hex digits of a chunk size: below 2^60, so that no sum overflows.
    CHUNK_DIGITS_MAX = 15
    # What we add to a head (three SPIFFE IDs of 2 KiB, the edits of a route, a longer path), and a
    # small body in the same write.
    OUT_EXTRA_BYTES = 53248
    # A host name and its port in a redirect of ours (RFC 1035: a name has 255 bytes).
    HOST_BYTES_MAX = 512
    # Lines that one filter may add to a head. A head meets two of them, of its rule and of its
    # backend: OUT_EXTRA_BYTES has room for both. The same bound as in sources/route_filters.py.
    EDITS_BYTES_MAX = 4096
    # The host of a rewrite: a DNS name. The same bound as there.
    REWRITE_HOST_BYTES_MAX = 253
    # Endpoints that failed a request and are not asked again for it.
    TRIES_MAX = 4
    # A request up to this size, with its head, is kept so that it can be sent again. Linkerd's cap.
    REPLAY_BYTES_MAX = 65536
    # The longest pause before another try is so many times the shortest (25 ms: 250 ms).
    BACKOFF_FACTOR_MAX = 10
    # An upstream that asks for a longer pause than this gets no further try.
    RETRY_AFTER_S_MAX = 2
    # Endpoints that are looked at for an idle connection when a service may have no further one.
    IDLE_LOOKS_MAX = 64
    # Bytes that a worker keeps of requests that might be sent again, all together.
    REPLAY_TOTAL_BYTES_MAX = 16777216
    # Copies of one request, and of all of them that one worker has under way: more are not made.
    MIRRORS_MAX = 4
    MIRRORS_LIVE_MAX = 1024
    # They take no more than this part of the connections that a worker may have: a backend that
    # never answers must not keep users out.
    MIRRORS_LIVE_PART = 8
    # Further connects of a relayed connection whose endpoint could not be reached.
    DIALS_AGAIN_MAX = 2
    # A body up to this size goes out in one write with its head.
    BODY_JOIN_BYTES_MAX = 16384
    # Requests of one connection served before the others get their turn.
    EXCHANGES_PER_TURN_MAX = 16
    # Endpoints with a pool; a connection to another one is used once.
    POOLS_MAX = 4096
    POOL_BUCKETS = 1024
    # Addresses of services in one snapshot. 5,000 services with 10 endpoints each make 55,000.
    SERVICE_ADDRESSES_MAX = 1048576
    # A bit for each TCP port.
    PORT_WORDS = 1024
    # Services with counters of their own, in a direction and worker: 1.2 KiB each once they had
    # a request, so 10 MiB at most. Those that come later are counted together.
    GROUPS_MAX = 8192
    GROUP_BUCKETS = 1024
    # Combinations of status and flag counted apart for one of them; an application that answers
    # with more than these has its others counted by flag.
    ENDINGS_MAX = 32
    # A body of this size goes by splice(2), where both sides are plain.
    SPLICE_BYTES_MIN = 65536
    # How long we listen to what nobody wants to hear, so that our answer is not lost to a RST.
    LINGER_MS = 2000
    # A dial that failed before the downstream said anything: how long we wait for a request, which
    # deserves an answer, before the connection is reset.
    DIAL_FAILED_GRACE_MS = 250
    # How much of a request the access log keeps: what fits a line that people read.
    LOG_METHOD_BYTES_MAX = 16
    LOG_TARGET_BYTES_MAX = 512
    LOG_HOST_BYTES_MAX = 128
    LOG_AGENT_BYTES_MAX = 128
    LOG_ID_BYTES_MAX = 64
    # How much of a peer's SPIFFE ID records keep; Kubernetes' own have about 60 bytes.
    LOG_PEER_BYTES_MAX = 128
    # SPIFFE-ID.md section 2.3: what everybody must accept, and enough.
    SPIFFE_ID_BYTES_MAX = 2048
    # SHA-256 of a certificate's DER: its name among us.
    SHA256_BYTES = 32
    # Where a read lands: what a TLS read of BUF_BYTES can become, with the rest of a record that
    # was not whole before (RFC 8446 section 5.2: at most 2^14 + 256 bytes).
    SCRATCH_BYTES = 49664
    # A record of TLS 1.3: what it may hold, what may stand behind its head (RFC 8446 section 5).
    RECORD_PLAIN_BYTES_MAX = 16384
    RECORD_CIPHER_BYTES_MAX = 16640
    # What a record takes besides what it holds: head, content type, tag.
    RECORD_EXTRA_BYTES = 22
    # Of SHA-384, the largest of our suites; of all of them (RFC 8446 section 7.3).
    SECRET_BYTES_MAX = 48
    IV_BYTES = 12
    # Records under one key. AES-GCM bears 2^24.5 of them (RFC 8446 section 5.5).
    KEY_RECORDS_MAX = 8388608
    # Records of data in a row that say nothing: as many as OpenSSL bears.
    TLS_EMPTY_RECORDS_MAX = 32
    # Tickets, new keys and the like between two words of what was read at once: 11 us each.
    TLS_CONTROL_RECORDS_MAX = 64
    # Plaintext given to TLS at once: four records.
    TLS_WRITE_BYTES_MAX = 65536
    # The same as records, 22 bytes longer each, with new keys before one and an alert behind.
    SEALED_BYTES = 65792
    # Records that a socket did not take: a write, and what TLS itself answers meanwhile. A peer
    # that asks for new keys and reads no answer must not fill our memory.
    TLS_UNSENT_BYTES_MAX = 262144
    # Full reads in a row, of one turn, in which there is not a word: OpenSSL bears 32 empty records
    # (each of 16 KiB with its padding); beyond that a flood only wants our time.
    TLS_WORDLESS_READS_MAX = 16
    # A write whose records are larger than this is not copied out of OpenSSL's memory, and the
    # memory goes with it; below it the memory is kept for the next write, even by idle connections.
    TLS_KEPT_BYTES_MAX = 2048
    # Certificates of peers that a worker remembers, about 200 bytes each. A pod has fewer peers; a
    # stranger's are forgotten first, because nobody uses them.
    PEERS_MAX = 4096
    PEER_BUCKETS = 1024
    # Certificates on their way to Python, a worker; a handshake that finds no place fails.
    QUESTIONS_MAX = 256
    # How long Python may take for an answer before it is asked again: it answers within ms.
    ASK_AGAIN_MS = 1000
    # The same in the log of denials, where it must be whole: the longest that Kubernetes' names can
    # make has 400 bytes.
    DENIAL_PEER_BYTES_MAX = 512

    # Places of counters for authorization policies: what applies to one pod, and a bit of one word
    # each. Policies that come later are counted together.
    POLICY_SLOTS = 64
    # All fields, and all values, of the policies of one snapshot. A request may look at each of
    # them once (a condition on a header once a field), so they bound what it costs: 16,384 values
    # take about 100 us.
    POLICY_MATCHES_MAX = 16384
    POLICY_VALUES_MAX = 16384
    POLICY_TEXT_BYTES_MAX = 1048576
    # Paths of the pod's own probes: three for each of its containers, and some to spare.
    PROBES_MAX = 256
    # Denials told one by one, of one worker; those above are counted, and the next one tells how
    # many they were. A ring of four seconds, so that a busy Python loses none.
    DENIALS_PER_S_MAX = 16
    DENIALS_MAX = 64

    # Numbers of backends and rules, and slots of endpoints, in the life of the process: each of
    # them has a state in every worker (states.pxd). The table of a worker's chunks of states takes
    # 128 KiB of each kind, untouched memory but for what is used.
    FLEET_NUMBERS_MAX = 1048576
    FLEET_CHUNK_LOG2 = 6
    # Rows of one kind in the traffic policy of one snapshot. 5,000 services with 10 endpoints make
    # 50,000 of the most frequent ones.
    TRAFFIC_ROWS_MAX = 1048576
    # Names, paths and values of all of them.
    TRAFFIC_TEXT_BYTES_MAX = 67108864
    # Routes of one front: a request may have to ask each of them, which takes about 50 us.
    FRONT_ROUTES_MAX = 4096
    # A regular expression: 32-bit products of states and classes stay far from overflow, and what
    # people write has fewer than a hundred. The same bound as in proxy/traffic/regex.py.
    DFA_STATES_MAX = 1000
    # Steps of all regular expressions, 32 MiB.
    DFA_STEPS_MAX = 16777216
    # Places on one ring, or in one of Maglev's tables, of 8 bytes: Envoy's bound of 8 M would be
    # 64 MiB for one service. And of all of them: 128 tables of Maglev's usual size.
    PLACES_EACH_MAX = 1048576
    PLACES_MAX = 8388608
    # Tokens in a second, and at once, that a limit may have: no product of a time and a rate
    # overflows 64 bits.
    LIMIT_RATE_PER_S_MAX = 1000000000
    LIMIT_BURST_MAX = 1000000000
    # Any time in the traffic policy: 31 years.
    TRAFFIC_TIME_S_MAX = 1000000000

    # Endpoints drawn in vain before all of them are looked at: with half of them out, one request
    # in 256 gets there.
    BALANCE_DRAWS_MAX = 8
    # Peak EWMA, as in Finagle and Linkerd: what a latency is worth after this long is 1/e, and what
    # is taken for the latency of an endpoint that nobody knows.
    EWMA_DECAY_US = 10000000
    EWMA_UNKNOWN_US = 30000
    # How long a budget of retries keeps what came in. A second is enough for the requests that are
    # in flight when an endpoint dies; ten would let a dead service have three times its load for
    # the first second.
    BUDGET_KEPT_US = 1000000
    # The most retries that a budget holds at once.
    BUDGET_TOKENS_MAX = 1000000
