# cython: language_level=3, cdivision=True
"""The one extension module: the Python face of the workers in proxy/fast.

Rule 1: this file converts and hands over; what happens to a connection stands in proxy/fast.
Rule 2: Python never sees a conn_t; a worker never sees a Python object. Between them are rings,
        snapshots and counters (proxy/ARCHITECTURE.md, "Who owns what").
Rule 3: everything here is called from one thread and returns at once, but for stop(), which joins.
"""

cimport cython

from collections import namedtuple

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from proxy._fleet cimport backend_read, endpoint_read
from proxy._peers cimport answer_new, callbacks_new, openssl_take, questions_take
from proxy._policy cimport (
    denials_take, policies_free, snapshot_set_policies, snapshot_set_probes,
)
from proxy._records cimport dump_free, dump_new
from proxy._snapshot cimport (
    snapshot_free, snapshot_set_mesh, snapshot_set_modes, snapshot_set_services,
    snapshot_set_settings, snapshot_set_targets, snapshot_set_tls,
)
from proxy._traffic cimport snapshot_set_traffic, traffic_address_count, traffic_free
from proxy._words cimport address_to_python, text_to_python
from proxy.fast.atomics cimport (
    load_acquire, load_relaxed, store_pointer, store_relaxed, store_release,
)
from proxy.fast.check cimport FP_IS_DEBUG
from proxy.fast.golden cimport (
    GOLDEN_ENDINGS, golden_add, golden_begun, golden_find, golden_next, golden_read_ending,
)
from proxy.fast.limits cimport COMMANDS_MAX, LISTENERS_MAX, POLICY_SLOTS, TARGETS_MAX, WORKERS_MAX
from proxy.fast.lookup cimport lookup_mark_opaque
from proxy.fast.messages cimport (
    COMMAND_CLOSE_ALL, COMMAND_CLOSE_ONE, COMMAND_DUMP, COMMAND_LISTEN, COMMAND_PEER,
    COMMAND_RECORDS, COMMAND_STOP_ACCEPTING, command_t, dump_t, record_t, request_record_t,
)
from proxy.fast.openssl cimport OPENSSL_COUNT, openssl_names
from proxy.fast.platform cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, SIG_SETMASK, aligned_zeroed, close, eventfd, pthread_create,
    pthread_join, pthread_setname_np, pthread_sigmask, pthread_t, read, sigfillset, sigset_t,
)
from proxy.fast.reasons cimport (
    DIRECTION_COUNT, EVENT_COUNT, FLAG_COUNT, FP_OK, HANDLING_COUNT, METHOD_COUNT, PROTOCOL_COUNT,
    REASON_COUNT, SPEAKER_COUNT, TLS_FAILED_COUNT, TRAFFIC_COUNT, UNIT_COUNT, VERDICT_COUNT,
)
from proxy.fast.ring cimport ring_peek, ring_post, ring_reserve, ring_take
from proxy.fast.snapshot cimport TLS_DISABLE, snapshot_t
from proxy.fast.stats cimport bucket_us
from proxy.fast.types cimport (
    HISTOGRAM_BUCKETS, ending_t, golden_t, request_log_t, ring_t, stats_t, worker_t,
)
from proxy.fast.worker cimport worker_free, worker_init, worker_main, worker_tick, worker_wake

# The same order as the enums of proxy/fast/reasons.pxd.
DIRECTIONS = ("inbound", "outbound", "explicit")
PROTOCOLS = ("pending", "http1", "http2", "tls", "opaque", "none")
SPEAKERS = ("none", "downstream", "upstream")
PHASES = ("connecting", "relaying", "half_open")
REASONS = (
    "open", "ok", "downstream_reset", "upstream_reset", "downstream_timeout", "upstream_timeout",
    "connect_refused", "connect_timeout", "connect_unreachable", "connect_failed",
    "source_unavailable", "loop", "no_original_dst", "idle_timeout", "half_open_timeout",
    "limit_connections", "no_fds", "no_memory", "drain_deadline", "operator", "stopped",
    "flush_timeout", "tls_failed", "tls_timeout", "tls_broken", "plaintext_refused", "no_identity",
    "denied", "no_endpoint", "limit_upstream",
)
TLS_FAILURES = (
    "none", "no_certificate", "untrusted", "expired", "not_yet_valid", "usage", "identity",
    "trust_domain", "unexpected", "version", "refused", "protocol", "closed", "timeout",
    "resources",
)
TLS_MODES = ("disable", "permissive", "strict")
METHODS = ("OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")
FLAGS = ("-", "DPE", "DC", "SI", "UF", "UO", "UC", "UPE", "UT", "OM", "LR", "UAEX",
         "NR", "UH", "RL", "DI", "FI", "UMSDR")
EVENTS = (
    "accept_paused", "accept_error", "limit_connections", "records_dropped", "splice_started",
    "splice_no_pipe", "stale", "wake_failed", "retried", "policy_closed", "mirrored",
    "mirror_dropped",
)
HANDLINGS = ("detect", "relay", "opaque")
VERDICTS = ("allowed", "denied", "dry_run", "audited")
UNITS = ("request", "connection")
TRAFFIC_EVENTS = tuple((
    "retried retry_no_budget retry_limit retry_helped ejected returned overflow_requests"
    " overflow_pending overflow_connections no_endpoint rate_limited shed timeout_request"
    " timeout_try fault_delay fault_abort").split())
BUCKETS_US = tuple([bucket_us[i] for i in range(HISTOGRAM_BUCKETS - 1)])
SLOTS = POLICY_SLOTS
ABI = "debug" if FP_IS_DEBUG else "release"

if [*map(len, (DIRECTIONS, PROTOCOLS, SPEAKERS, REASONS, EVENTS, METHODS, FLAGS, HANDLINGS,
               TLS_FAILURES, VERDICTS, UNITS, TRAFFIC_EVENTS))] != [
        DIRECTION_COUNT, PROTOCOL_COUNT, SPEAKER_COUNT, REASON_COUNT, EVENT_COUNT, METHOD_COUNT,
        FLAG_COUNT, HANDLING_COUNT, TLS_FAILED_COUNT, VERDICT_COUNT, UNIT_COUNT, TRAFFIC_COUNT]:
    raise ImportError("proxy._fastpath: names and enums of proxy/fast/reasons.pxd differ")

Connection = namedtuple("Connection", (
    "id", "worker", "direction", "service", "phase", "protocol", "speaker", "reason", "downstream",
    "original_dst", "upstream", "sni", "received_bytes", "sent_bytes", "opened_unix_us",
    "connect_us", "duration_us", "spliced", "mesh", "peer",
))
Connection.__doc__ = "One connection as a worker saw it: see _fastpath.pyi."

Request = namedtuple("Request", (
    "connection_id", "worker", "direction", "service", "method", "target", "host", "user_agent",
    "request_id", "traceparent", "version", "status", "flag", "attempts", "request_bytes",
    "response_bytes", "downstream", "upstream", "started_unix_us", "sent_after_us",
    "first_byte_after_us", "duration_us", "mesh", "peer",
))
Request.__doc__ = "One finished request as a worker saw it: see _fastpath.pyi."

Denial = namedtuple("Denial", (
    "connection_id", "worker", "direction", "unit", "verdict", "slot", "peer", "downstream",
    "destination", "method", "host", "target", "untold",
))
Denial.__doc__ = "What a policy had to say: see _fastpath.pyi."


cdef object record_to_python(const record_t* record, list services):
    return Connection(
        record.id, record.worker, DIRECTIONS[record.direction], services[record.service],
        PHASES[record.phase], PROTOCOLS[record.protocol], SPEAKERS[record.speaker],
        REASONS[record.reason], address_to_python(&record.downstream),
        address_to_python(&record.original_dst), address_to_python(&record.upstream),
        (<const char*>record.sni)[:record.sni_length].decode("ascii", "replace"),
        record.received_bytes, record.sent_bytes, record.opened_unix_us, record.connect_us,
        record.duration_us, bool(record.is_spliced), bool(record.is_mesh),
        text_to_python(record.peer, record.peer_bytes),
    )


def load_openssl(functions):
    return openssl_take(functions)


def openssl_functions():
    return [openssl_names[i].decode("ascii") for i in range(OPENSSL_COUNT)]


def openssl_callbacks(wants_keys):
    return callbacks_new(wants_keys)


cdef object request_to_python(const request_record_t* record, list services):
    cdef const request_log_t* log = &record.log
    return Request(
        log.connection_id, record.worker, DIRECTIONS[record.direction], services[log.service],
        text_to_python(log.method, log.method_bytes), text_to_python(log.target, log.target_bytes),
        text_to_python(log.host, log.host_bytes), text_to_python(log.agent, log.agent_bytes),
        text_to_python(log.request_id, log.request_id_bytes),
        text_to_python(log.trace, log.trace_bytes),
        "HTTP/1.1" if record.minor else "HTTP/1.0", record.status, FLAGS[record.flag],
        record.attempt_count, record.request_bytes, record.response_bytes,
        address_to_python(&log.downstream), address_to_python(&log.upstream), log.started_unix_us,
        record.sent_after_us, record.first_byte_after_us, record.duration_us, bool(log.is_mesh),
        text_to_python(log.peer, log.peer_bytes),
    )


SETTING_LIMITS = {          # name: lowest and highest value that the data plane can work with
    **{f"connect_{direction}_ms": (1, 3_600_000) for direction in DIRECTIONS},
    **{f"forwarded_{direction}": (0, 1) for direction in DIRECTIONS},
    **dict.fromkeys(("splice", "http", "request_ids"), (0, 1)),
    **dict.fromkeys(("detect_ms", "head_ms", "flush_ms", "tls_ms"), (1, 3_600_000)),
    **dict.fromkeys(("idle_ms", "half_open_ms", "http_idle_ms", "pool_idle_ms"), (1, 604_800_000)),
    "server_first_ms": (0, 60_000),
    "keepalive_idle_s": (0, 32_767),
    "keepalive_interval_s": (1, 32_767),
    "keepalive_count": (1, 127),
    "user_timeout_ms": (0, 2_147_483_647),
    "detect_bytes_max": (64, 65_535),
    "unknown_max": (0, 1_000_000),
    "pool_connections_max": (1, 1 << 20),
    "body_bytes_max": (1, (1 << 64) - 1),
}


cdef class Snapshot:
    """Immutable configuration that workers read. This object owns the C memory."""

    cdef snapshot_t c
    cdef object borrowed        # what the C memory points into

    def __cinit__(self, *_args, **_named):
        memset(&self.c, 0, sizeof(snapshot_t))

    def __init__(self, version, settings, targets, services=(), opaque_ports=(), *, tls=None,
                 mesh=(), tls_mode=TLS_DISABLE, tls_ports=None, target_modes=(), policies=(),
                 policy_generation=0, probes=(), traffic=None):
        cdef int flag_count
        if version < 1:
            raise ValueError(f"version must be 1 or more, not {version}")
        if len(targets) > TARGETS_MAX:
            raise ValueError(f"{len(targets)} targets; {TARGETS_MAX} are the most")
        self.c.version = version
        snapshot_set_settings(&self.c, settings, SETTING_LIMITS, DIRECTIONS)
        snapshot_set_targets(&self.c, targets)
        flag_count = snapshot_set_services(
            &self.c, list(services), traffic_address_count(traffic))
        snapshot_set_traffic(&self.c, traffic, flag_count, METHODS, HANDLINGS)
        for port in opaque_ports:
            lookup_mark_opaque(&self.c, port)
        mesh = list(mesh)
        self.borrowed = (tls, mesh)
        if tls is not None:
            snapshot_set_tls(&self.c, tls.words())
        snapshot_set_mesh(&self.c, mesh)
        snapshot_set_modes(&self.c, tls_mode, tls_ports or {}, list(target_modes))
        self.c.policy_generation = policy_generation
        snapshot_set_policies(&self.c, list(policies))
        snapshot_set_probes(&self.c, list(probes))

    @property
    def version(self):
        return self.c.version

    def __dealloc__(self):
        policies_free(&self.c)
        traffic_free(&self.c)
        snapshot_free(&self.c)


@cython.no_gc_clear     # __dealloc__ joins threads that read the snapshots in `snapshots`
cdef class Engine:
    """Worker threads without the GIL, and what they share with Python: see _fastpath.pyi."""

    cdef worker_t* workers[WORKERS_MAX]
    cdef pthread_t threads[WORKERS_MAX]
    cdef dump_t* dumps[WORKERS_MAX]         # own; the worker borrows one until is_done
    cdef int worker_count
    cdef int thread_count                   # of the first workers; the others have none
    cdef int listen_counts[WORKERS_MAX]
    cdef int64_t highest_target             # that a listener was given
    cdef bint is_started
    cdef bint is_stopped
    cdef readonly int record_fd
    cdef list snapshots                     # published, oldest first: kept until released
    cdef readonly list services             # names by number
    cdef readonly list routes               # likewise

    def __cinit__(self):
        self.record_fd = -1
        self.highest_target = -1
        self.services = ["unknown", "other"]
        self.routes = ["unknown", "other"]

    def __init__(self, workers, connections_max, *, records=1024):
        cdef int i
        if self.worker_count or self.is_stopped:
            raise RuntimeError("an engine is built once")
        if not 1 <= workers <= WORKERS_MAX:
            raise ValueError(f"workers must be between 1 and {WORKERS_MAX}, not {workers}")
        if not 1 <= connections_max < 1 << 24:
            raise ValueError(f"connections_max must be between 1 and {(1 << 24) - 1}")
        if records < 2 or records & (records - 1):
            raise ValueError(f"records must be a power of two, not {records}")
        self.snapshots = []
        self.record_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.record_fd < 0:
            raise OSError("no eventfd: raise the limit of open files (ulimit -n)")
        for i in range(workers):
            self.workers[i] = <worker_t*>aligned_zeroed(sizeof(worker_t))
            if self.workers[i] == NULL:
                raise MemoryError
            self.worker_count += 1
            if worker_init(self.workers[i], i, connections_max, records, COMMANDS_MAX,
                           self.record_fd) != FP_OK:
                raise OSError("no epoll or memory for a worker: raise the limit of open files")

    def __dealloc__(self):
        cdef int i
        self._join()
        for i in range(self.worker_count):
            worker_free(self.workers[i])
            free(self.workers[i])
            self._free_dump(i)
        if self.record_fd >= 0:
            close(self.record_fd)

    cdef void _free_dump(self, int worker) noexcept:
        dump_free(self.dumps[worker])
        self.dumps[worker] = NULL

    # Post a command. The worker must not be gone: stop() is the last one.
    cdef int _command(self, int worker, const command_t* command) except -1:
        cdef void* place
        if not 0 <= worker < self.worker_count:
            raise ValueError(f"no worker {worker}")
        if self.is_stopped:
            raise RuntimeError("the engine has stopped")
        place = ring_reserve(&self.workers[worker].commands)
        if place == NULL:
            raise BufferError(f"worker {worker} has {COMMANDS_MAX} commands waiting: it hangs")
        memcpy(place, command, sizeof(command_t))
        ring_post(&self.workers[worker].commands)
        worker_wake(self.workers[worker], self.workers[worker].command_fd)
        return 0

    cdef int _command_all(self, uint32_t op, int32_t a, int32_t b, uint64_t id) except -1:
        cdef command_t command = command_t(op=op, a=a, b=b, c=0, d=0, id=id, pointer=NULL)
        cdef int i
        for i in range(self.worker_count):
            self._command(i, &command)
        return 0

    def publish(self, Snapshot snapshot not None):
        cdef int i
        if self.snapshots and snapshot.version <= self.snapshots[-1].version:
            raise ValueError(
                f"version {snapshot.version} is not newer than {self.snapshots[-1].version}")
        if snapshot.c.target_count <= self.highest_target:
            raise ValueError(
                f"a listener has target {self.highest_target}, the snapshot only "
                f"{snapshot.c.target_count} targets")
        self.snapshots.append(snapshot)
        for i in range(self.worker_count):
            store_pointer(&self.workers[i].next_snapshot, &snapshot.c)
            if self.is_started and not self.is_stopped:
                worker_wake(self.workers[i], self.workers[i].command_fd)
        self._release_snapshots()

    # Forget snapshots that no worker can reach any more. A worker that read the pointer of version
    # v but has not said so yet still says less than v: v stays until all say more.
    cdef int _release_snapshots(self) except -1:
        cdef uint64_t version = self.released_version()
        while len(self.snapshots) > 1 and self.snapshots[0].version < version:
            del self.snapshots[0]
        return 0

    def released_version(self):
        cdef int i
        cdef uint64_t lowest = load_acquire(&self.workers[0].snapshot_version)
        for i in range(1, self.worker_count):
            lowest = min(lowest, load_acquire(&self.workers[i].snapshot_version))
        return lowest

    def listen(self, worker, fd, kind, target, listener, *, is_judged=False):
        if not 0 <= kind < DIRECTION_COUNT:
            raise ValueError(f"no direction {kind}")
        if not self.snapshots:
            raise RuntimeError("publish a snapshot before you listen")
        if target >= <int64_t>(<Snapshot>self.snapshots[-1]).c.target_count:
            raise ValueError(f"the snapshot has no target {target}")
        if 0 <= worker < self.worker_count and self.listen_counts[worker] >= LISTENERS_MAX:
            raise ValueError(f"{LISTENERS_MAX} listeners are the most for a worker")
        cdef command_t command = command_t(
            op=COMMAND_LISTEN, a=fd, b=kind, c=target, d=listener, id=bool(is_judged), pointer=NULL)
        self._command(worker, &command)
        self.listen_counts[worker] += 1
        self.highest_target = max(self.highest_target, <int64_t>target)

    def start(self):
        cdef sigset_t everything, before
        cdef int i = 0
        cdef int error = 0
        if self.is_started or self.is_stopped:
            raise RuntimeError("an engine starts once")
        if not self.snapshots:
            raise RuntimeError("publish a snapshot before you start")
        sigfillset(&everything)
        pthread_sigmask(SIG_SETMASK, &everything, &before)
        self.is_started = True
        for i in range(self.worker_count):
            error = pthread_create(&self.threads[i], NULL, worker_main, self.workers[i])
            if error:
                break
            self.thread_count += 1
            pthread_setname_np(self.threads[i], b"remora-worker")
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if error:
            raise OSError(error, "cannot start a worker thread")

    def tick(self, worker, timeout_ms):
        if self.is_started or not self.snapshots or not 0 <= worker < self.worker_count:
            raise RuntimeError("tick() is for a worker that was not started, after publish()")
        cdef int index = worker
        cdef int timeout = timeout_ms
        cdef int n
        with nogil:
            n = worker_tick(self.workers[index], timeout)
        return n

    def stop_accepting(self, directions, *, later=False):
        self._command_all(COMMAND_STOP_ACCEPTING, directions, bool(later), 0)

    def close_all(self, directions, reason):
        if not 1 < reason < REASON_COUNT:
            raise ValueError(f"no reason {reason}")
        self._command_all(COMMAND_CLOSE_ALL, directions, reason, 0)

    def close_connection(self, connection_id):
        self._command_all(COMMAND_CLOSE_ONE, 0, 0, connection_id)

    def record_connections(self, enabled):
        self._command_all(COMMAND_RECORDS, bool(enabled), 0, 0)

    # Take up to `limit` finished connections, or requests, of all workers.
    cdef list _take(self, bint requests, limit):
        cdef ring_t* ring
        cdef const void* item
        cdef int i
        cdef list result = []
        for i in range(self.worker_count):
            ring = &self.workers[i].request_records if requests else &self.workers[i].records
            item = ring_peek(ring)
            while item != NULL and len(result) < limit:
                result.append(
                    request_to_python(<const request_record_t*>item, self.services) if requests
                    else record_to_python(<const record_t*>item, self.services))
                ring_take(ring)
                item = ring_peek(ring)
            if item != NULL:
                worker_wake(self.workers[i], self.record_fd)    # there is more: come again
                break
        return result

    def read_records(self, limit):
        cdef uint64_t wakes = 0
        read(self.record_fd, &wakes, sizeof(uint64_t))          # first clear, then look
        if self.snapshots:
            self._release_snapshots()
        return self._take(False, limit)

    def read_requests(self, limit):
        return self._take(True, limit)

    def read_questions(self, limit):
        return questions_take(self.workers, self.worker_count, limit, self.record_fd)

    def answer(self, worker, generation, digest, spiffe_id, places, failure):
        cdef command_t command = command_t(op=COMMAND_PEER, a=0, b=0, c=0, d=0, id=0, pointer=NULL)
        command.pointer = answer_new(generation, digest, spiffe_id.encode("ascii"), places, failure)
        try:
            self._command(worker, &command)
        except Exception:
            free(command.pointer)   # the worker never heard of it
            raise

    def read_denials(self, limit):
        return [Denial(*row) for row in denials_take(
            self.workers, self.worker_count, limit, (DIRECTIONS, UNITS, VERDICTS))]

    def request_connections(self, limit):
        cdef command_t command = command_t(op=COMMAND_DUMP, a=0, b=0, c=0, d=0, id=0, pointer=NULL)
        cdef int i
        for i in range(self.worker_count):
            if self.dumps[i] != NULL:
                raise RuntimeError("the last request was not taken yet")
        i = 0
        try:
            for i in range(self.worker_count):
                self.dumps[i] = dump_new(limit)
                command.pointer = self.dumps[i]
                self._command(i, &command)
        except Exception:
            self._free_dump(i)      # the worker never heard of it; others have theirs answered
            raise

    def take_connections(self):
        cdef int i
        cdef uint32_t row
        cdef bint is_requested = False
        cdef list result = []
        for i in range(self.worker_count):
            is_requested = is_requested or self.dumps[i] != NULL
            if self.dumps[i] != NULL and not load_acquire(&self.dumps[i].is_done):
                return None
        if not is_requested:
            return None
        for i in range(self.worker_count):
            if self.dumps[i] == NULL:       # the request failed on its way to this worker
                continue
            for row in range(self.dumps[i].row_count):
                result.append(record_to_python(&self.dumps[i].rows[row], self.services))
            self._free_dump(i)
        return result

    def worker_state(self, worker):
        if not 0 <= worker < self.worker_count:
            raise ValueError(f"no worker {worker}")
        cdef worker_t* w = self.workers[<int>worker]
        return (load_acquire(&w.snapshot_version), load_relaxed(&w.live_connections),
                load_relaxed(&w.live_listeners))

    # Sum words that stand in the block of every worker where these stand in that of the first one.
    cdef list _sum(self, const void* first, size_t bytes_):
        cdef size_t i, offset = <const char*>first - <const char*>self.workers[0]
        cdef int worker
        cdef uint64_t total
        cdef list result = []
        for i in range(bytes_ // sizeof(uint64_t)):
            total = 0
            for worker in range(self.worker_count):
                total += load_relaxed(<const uint64_t*>(<char*>self.workers[worker] + offset) + i)
            result.append(total)
        return result

    def stats(self):
        cdef worker_t* w = self.workers[0]
        cdef stats_t* s = &w.stats
        cdef int i
        cdef uint64_t longest_us = 0
        for i in range(self.worker_count):
            longest_us = max(longest_us, load_relaxed(&self.workers[i].stats.longest_tick_us))
            store_relaxed(&self.workers[i].stats.longest_tick_us, 0)
        return {
            "opened": self._sum(s.opened, sizeof(s.opened)),
            "open": self._sum(s.open, sizeof(s.open)),
            "closed": self._sum(s.closed, sizeof(s.closed)),
            "detected": self._sum(s.detected, sizeof(s.detected)),
            "bytes": self._sum(s.bytes, sizeof(s.bytes)),
            "connect_bucket": self._sum(s.connect_bucket, sizeof(s.connect_bucket)),
            "connect_sum_us": self._sum(s.connect_sum_us, sizeof(s.connect_sum_us)),
            "duration_bucket": self._sum(s.duration_bucket, sizeof(s.duration_bucket)),
            "duration_sum_us": self._sum(s.duration_sum_us, sizeof(s.duration_sum_us)),
            "tls_handshakes": self._sum(s.tls_handshakes, sizeof(s.tls_handshakes)),
            "tls_open": self._sum(s.tls_open, sizeof(s.tls_open)),
            "tls_failed": self._sum(s.tls_failed, sizeof(s.tls_failed)),
            "tls_bytes": self._sum(s.tls_bytes, sizeof(s.tls_bytes)),
            "tls_bucket": self._sum(s.tls_bucket, sizeof(s.tls_bucket)),
            "tls_sum_us": self._sum(s.tls_sum_us, sizeof(s.tls_sum_us)),
            "events": self._sum(s.events, sizeof(s.events)),
            "policies": self._sum(w.policy_counts, sizeof(w.policy_counts)),
            "pool": self._sum(s.pool_idle, sizeof(s.pool_idle) * 4),
            "live": self._sum(&w.live_connections, sizeof(uint64_t) * 7),
            "tick": [self._sum(&s.ticks, sizeof(s.ticks))[0], longest_us],
        }

    def groups(self):
        cdef golden_t* group
        cdef int i
        cdef dict result = {}
        for i in range(self.worker_count):
            group = golden_next(self.workers[i], NULL)
            while group != NULL:
                key = (DIRECTIONS[group.key.direction], self.services[group.key.service],
                       bool(group.key.is_mesh), self.routes[group.key.route])
                before = result.get(key, (0, 0))
                result[key] = (before[0] + golden_begun(group),
                               before[1] + load_relaxed(&group.in_flight))
                group = golden_next(self.workers[i], group)
        return result

    def golden(self, direction, service, mesh, route):
        cdef golden_t total
        cdef golden_t* group
        cdef ending_t ending
        cdef int i, place
        cdef dict endings = {}
        memset(&total, 0, sizeof(golden_t))
        total.key.direction = DIRECTIONS.index(direction)
        total.key.service = self.services.index(service)
        total.key.is_mesh = bool(mesh)
        total.key.route = self.routes.index(route)
        for i in range(self.worker_count):
            group = golden_find(self.workers[i], &total.key)
            if group == NULL:
                continue
            golden_add(&total, group)
            for place in range(GOLDEN_ENDINGS):
                golden_read_ending(group, place, &ending)
                if ending.count:
                    key = (ending.status, FLAGS[ending.flag])
                    endings[key] = endings.get(key, 0) + ending.count
        return (total.requests, total.in_flight, total.request_bucket, total.request_sum_us,
                total.first_byte_bucket, total.first_byte_sum_us, total.body_bytes[0],
                total.body_bytes[1], endings)

    def backend(self, number):
        return backend_read(self.workers, self.worker_count, number)

    def endpoint(self, slot, generation, now_ms):
        return endpoint_read(self.workers, self.worker_count, slot, generation, now_ms)

    # Stop and join the threads; a worker without a thread gets its last tick here.
    cdef void _join(self) noexcept:
        cdef int i
        if self.is_stopped:
            return
        self.is_stopped = True
        for i in range(self.worker_count):
            store_release(&self.workers[i].must_stop, 1)
            worker_wake(self.workers[i], self.workers[i].command_fd)
        for i in range(self.worker_count):
            if i < self.thread_count:
                with nogil:
                    pthread_join(self.threads[i], NULL)
            elif self.snapshots:
                worker_tick(self.workers[i], 0)

    def stop(self):
        self._join()
