"""Typed surface of the one extension module. Kept equal to the module by tests/unit/test_stub.py.

Only `proxy.engine` may import this module: everything else speaks to the typed façade.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from proxy.policy.rows import RuleRow
from proxy.traffic.rows import Traffic

# Names of the dimensions of the counters, in index order. One place: the enums of proxy/fast.
DIRECTIONS: Final[tuple[str, ...]]  # "inbound", "outbound", "explicit"
PROTOCOLS: Final[tuple[str, ...]]  # "pending", "http1", "http2", "tls", "opaque", "none"
SPEAKERS: Final[tuple[str, ...]]  # "none", "downstream", "upstream"
REASONS: Final[tuple[str, ...]]  # close reasons; index 0 is "open" and never counted as closed
EVENTS: Final[tuple[str, ...]]  # names of the plain counters, in the order of stats()["events"]
PHASES: Final[tuple[str, ...]]  # "connecting", "relaying", "half_open"
METHODS: Final[tuple[str, ...]]  # classes of request methods; index 0 is "OTHER", for the rest
FLAGS: Final[tuple[str, ...]]  # Envoy's response flags; index 0 is "-": the upstream's own answer
HANDLINGS: Final[tuple[str, ...]]  # "detect", "relay" (labelled, never parsed), "opaque"
TLS_FAILURES: Final[tuple[str, ...]]  # why handshakes fail; index 0 is "none"
TLS_MODES: Final[tuple[str, ...]]  # "disable", "permissive", "strict"
VERDICTS: Final[tuple[str, ...]]  # "allowed", "denied", "dry_run", "audited"
UNITS: Final[tuple[str, ...]]  # "request", "connection"
TRAFFIC_EVENTS: Final[tuple[str, ...]]  # what is counted of a backend
SLOTS: Final[int]  # places of counters for policies
BUCKETS_US: Final[tuple[int, ...]]  # upper bounds of all histograms, microseconds; +Inf follows
ABI: Final[str]  # "release" or "debug" (debug asserts, and poisons freed memory)

# Setting of a Snapshot → lowest and highest value that the data plane can work with.
SETTING_LIMITS: Final[dict[str, tuple[int, int]]]

class Connection(NamedTuple):
    """One connection as a worker saw it: a row of `connections`, or a record of a closed one."""

    id: int  # unique in the life of the process
    worker: int
    direction: str
    service: str  # whose destination it is; "unknown" where no service has that address
    phase: str
    protocol: str
    speaker: str
    reason: str  # "open" in rows of live connections
    downstream: tuple[str, int]
    original_dst: tuple[str, int]
    upstream: tuple[str, int]
    sni: str  # "" unless protocol is "tls" and the ClientHello carried one
    received_bytes: int  # read from the downstream
    sent_bytes: int  # written to the downstream
    opened_unix_us: int  # wall clock of the accept
    connect_us: int  # accept to upstream connected; -1 while or when never connected
    duration_us: int
    spliced: bool  # bytes went by splice(2) at some time
    mesh: bool  # one side speaks mesh TLS, or is to
    peer: str  # SPIFFE ID at its far end, cut at LOG_PEER_BYTES_MAX; "" before it is known

class Request(NamedTuple):
    """One finished request as a worker saw it.

    Words of strangers are bytes read as latin-1, cut at LOG_*_BYTES_MAX of fast/limits.pxd; a field
    that was not there is "". Times are microseconds from the first byte of the request.
    """

    connection_id: int  # of the downstream's connection
    worker: int
    direction: str
    service: str  # likewise
    method: str  # as it came
    target: str
    host: str
    user_agent: str
    request_id: str  # the downstream's, or the one we started
    traceparent: str  # likewise
    version: str  # the downstream's: "HTTP/1.0" or "HTTP/1.1"
    status: int  # 0: no answer was made
    flag: str  # in FLAGS
    attempts: int
    request_bytes: int  # payload without framing
    response_bytes: int  # likewise, of the upstream's answer
    downstream: tuple[str, int]
    upstream: tuple[str, int]
    started_unix_us: int
    sent_after_us: int  # its head went upstream; 0 if never (or within the first microsecond)
    first_byte_after_us: int  # of the upstream's final response; 0 if there was none
    duration_us: int
    mesh: bool  # as that of its connection
    peer: str  # likewise

class Tls(Protocol):
    """Contexts of an identity, alive as long as somebody holds this object."""

    def words(self) -> tuple[int, int, bytes, int, int]:
        """Return what workers need: see below.

        Addresses of the SSL_CTX for accepted and for dialled connections, our SPIFFE ID, the
        generation of the trust bundle, the Unix time from which the identity is over.
        """

def load_openssl(functions: Mapping[str, int]) -> list[str]:
    """Take over the addresses of OpenSSL's functions, by name; returns the names that lack."""

def openssl_functions() -> list[str]:
    """Return the names of the functions that the workers call."""

def openssl_callbacks(wants_keys: bool) -> tuple[int, int, int, str]:
    """Return the functions that contexts call, and what the workers use secrets with.

    Addresses of their choice of a protocol (SSL_CTX_alpn_select_cb_func), and of their ears for
    traffic secrets (SSL_CTX_keylog_cb_func) and for what is agreed on besides
    (SSL_CTX_set_msg_callback); the version of the libcrypto that `wants_keys` opens. Without it, or
    where there is none that does what it should, 0, 0 and "": records stay with OpenSSL.
    """

class Denial(NamedTuple):
    """What a policy had to say of a request or a connection; words are cut as in `Request`."""

    connection_id: int
    worker: int
    direction: str
    unit: str  # in UNITS
    verdict: str  # in VERDICTS, never "allowed"
    slot: int  # the policy's place; 0: no ALLOW policy matched
    peer: str  # SPIFFE ID; "": it proved nothing
    downstream: tuple[str, int]
    destination: tuple[str, int]
    method: str
    host: str
    target: str
    untold: int  # others that came too fast to be told since the one before

class Snapshot:
    """Immutable configuration that workers read: built once, published, freed after release."""

    version: Final[int]
    def __init__(
        self,
        version: int,
        settings: dict[str, int],
        targets: list[tuple[str, int]],
        services: Iterable[tuple[str, int, int, int]] = (),
        opaque_ports: Iterable[int] = (),
        *,
        tls: Tls | None = None,
        mesh: Iterable[tuple[str, int, bytes]] = (),
        tls_mode: int = 0,
        tls_ports: dict[int, int] | None = None,
        target_modes: Iterable[int] = (),
        policies: Iterable[tuple[int, int, bool, list[RuleRow]]] = (),
        policy_generation: int = 0,
        probes: Iterable[tuple[int, bytes]] = (),
        traffic: tuple[Traffic, Callable[[str], int], Callable[[str], int]] | None = None,
    ) -> None:
        """`settings`: see `snapshot.SETTINGS`; `targets[i]` belongs to explicit listener i.

        `services`: address, port, service's index in `Engine.services`, index in HANDLINGS.
        `mesh`: address, port (0: every one), SPIFFE ID expected there. Modes are indexes in
        TLS_MODES: of inbound traffic, of some of its ports, of who comes to explicit listener i.
        `policies`: rows of `policy.table`; `policy_generation` changes whenever they, or the
        modes, do; `probes`: ports and paths that the kubelet asks for.
        `traffic`: services, routes and endpoints, and what turns the names of services and of
        routes into their indexes in `Engine.services` and `Engine.routes`.
        Raises ValueError naming the offending setting, target, address or value.
        """

class Engine:
    """Worker threads without the GIL, and the rings, counters and snapshots they share with us.

    Life: Engine(...) → publish → listen* → start → ... → stop. Every call is made from one thread.
    """

    record_fd: Final[int]  # eventfd: readable when records, a dump, or a changed word wait for us
    # Names of services by number; grows at its end, before a snapshot has the number.
    services: Final[list[str]]
    routes: Final[list[str]]  # likewise
    def __init__(self, workers: int, connections_max: int, *, records: int = 1024) -> None:
        """Allocate workers (1..64) and rings of `records` (2^n) items; no thread runs yet."""
    def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` current; the engine keeps it alive until every worker has left it."""
    def released_version(self) -> int:
        """Lowest snapshot version that some worker may still read."""
    def listen(
        self,
        worker: int,
        fd: int,
        kind: int,
        target: int,
        listener: int,
        *,
        is_judged: bool = False,
    ) -> None:
        """Give a bound, listening, non-blocking socket to a worker, which owns and closes it.

        `kind` is an index into DIRECTIONS, `target` the index in Snapshot targets (-1: original
        destination), `listener` an id of the caller's, unique for the (address, kind).
        `is_judged`: policies apply, as they always do to inbound ones.
        """
    def start(self) -> None:
        """Start one pthread a worker. The threads block every signal and never take the GIL."""
    def tick(self, worker: int, timeout_ms: int) -> int:
        """One loop round of a worker that was not started; returns the number of events. Tests."""
    def stop_accepting(self, directions: int, *, later: bool = False) -> None:
        """Close listeners of the directions in the bit mask, after accepting what is queued.

        `later`: not yet, but from now on each answer ends its connection.
        """
    def close_all(self, directions: int, reason: int) -> None:
        """Reset every live connection of the directions in the bit mask, with that reason."""
    def close_connection(self, connection_id: int) -> None:
        """Reset one connection with reason "operator"; unknown ids are ignored."""
    def record_connections(self, enabled: bool) -> None:
        """Switch records of closed connections and finished requests on or off (off at first)."""
    def read_records(self, limit: int) -> list[Connection]:
        """Take up to `limit` records of closed connections; the eventfd is clear when all are."""
    def read_requests(self, limit: int) -> list[Request]:
        """Take up to `limit` records of finished requests.

        Call it after `read_records`: that one clears the eventfd.
        """
    def read_questions(self, limit: int) -> list[tuple[int, int, bytes, bytes]]:
        """Take up to `limit` certificates met for the first time.

        Each is worker, bundle generation, SHA-256, DER; `answer` is due for each of them.
        """
    def answer(
        self,
        worker: int,
        generation: int,
        digest: bytes,
        spiffe_id: str,
        places: tuple[int, int, int, int, int],
        failure: int,
    ) -> None:
        """Say who is behind a certificate, or why it counts for nothing (index in TLS_FAILURES).

        `places`: length of the trust domain; offset and length of namespace and service account.
        """
    def read_denials(self, limit: int) -> list[Denial]:
        """Take up to `limit` records of what policies had to say. Call it after `read_records`."""
    def request_connections(self, limit: int) -> None:
        """Ask every worker for its live connections; the answer comes with `take_connections`."""
    def take_connections(self) -> list[Connection] | None:
        """Rows of the last request, or None while a worker has not answered yet."""
    def stats(self) -> dict[str, list[int]]:
        """Return counters summed over workers, as row-major flat lists.

        opened[direction]; open[direction][protocol]; closed[direction][protocol][reason];
        detected[direction][protocol][speaker];
        bytes[direction][4]: downstream read, downstream written, upstream read, upstream written;
        connect_bucket[direction][len(BUCKETS_US) + 1], connect_sum_us[direction];
        duration_bucket[...], duration_sum_us[direction]; events[len(EVENTS)];
        tls_handshakes[role], tls_open[role], tls_failed[role][failure], tls_bucket[role][...],
        tls_sum_us[role] (roles: dialled, accepted); tls_bytes: received, sent;
        pool[4][direction]: connections idle, live (idle ones included), requests waiting for one,
        and how often one was used again;
        policies[SLOTS][len(VERDICTS)][len(UNITS)];
        live: connections, buffers, pipes, listeners, upstreams, exchanges, and what is in flight at
        services and endpoints (all zero after stop);
        tick: ticks, longest_tick_us since the last call.
        """
    def backend(self, number: int) -> list[int] | None:
        """Return what workers know of a backend; None: nobody met it.

        Counters by TRAFFIC_EVENTS, then what there is now: requests, retries, connections, waiting
        requests, inbound requests, ejected endpoints.
        """
    def endpoint(
        self, slot: int, generation: int, now_ms: int
    ) -> tuple[int, float, int, int] | None:
        """Requests in flight, latency in us, workers that have it out, ejections in a row.

        `now_ms` is monotonic. None: no worker has met it.
        """
    def groups(self) -> dict[tuple[str, str, bool, str], tuple[int, int]]:
        """(direction, service, over mesh TLS, route) → requests begun and in flight."""
    def golden(
        self, direction: str, service: str, mesh: bool, route: str
    ) -> tuple[
        list[int],
        int,
        list[int],
        int,
        list[int],
        int,
        int,
        int,
        dict[tuple[int, str], int],
    ]:
        """Golden metrics of a group: the fields of `engine.Golden`."""
    def worker_state(self, worker: int) -> tuple[int, int, int]:
        """(snapshot version in use, live connections, open listeners) of one worker."""
    def stop(self) -> None:
        """Reset what is left, join the threads, close every fd. Idempotent."""
