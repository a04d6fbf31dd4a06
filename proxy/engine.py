"""The data plane as the rest of Python sees it: names instead of indexes, `await` instead of fds.

The only importer of `_fastpath`. Every method is called on the loop's thread and none of them waits
for a worker: what needs an answer is a coroutine.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from proxy import _fastpath
from proxy._fastpath import Connection, Denial, Request
from proxy.listeners import Listener
from proxy.snapshot import Draft, target_indexes
from proxy.traffic.rows import NOTHING as NO_TRAFFIC
from proxy.traffic.rows import Traffic

if TYPE_CHECKING:
    from proxy.symbols import Callbacks

__all__ = [
    "BackendState",
    "Connection",
    "Denial",
    "EndpointState",
    "Engine",
    "Golden",
    "Group",
    "NoAnswerError",
    "Pool",
    "Request",
    "Stats",
    "WorkerState",
]

ABI: Final = _fastpath.ABI
DIRECTIONS: Final = _fastpath.DIRECTIONS
PROTOCOLS: Final = _fastpath.PROTOCOLS
REASONS: Final = _fastpath.REASONS
SPEAKERS: Final = _fastpath.SPEAKERS
EVENTS: Final = _fastpath.EVENTS
METHODS: Final = _fastpath.METHODS
FLAGS: Final = _fastpath.FLAGS
HANDLINGS: Final = _fastpath.HANDLINGS
TLS_MODES: Final = _fastpath.TLS_MODES
TLS_FAILURES: Final = _fastpath.TLS_FAILURES
TLS_ROLES: Final = ("dialled", "accepted")
VERDICTS: Final = _fastpath.VERDICTS
UNITS: Final = _fastpath.UNITS
TRAFFIC_EVENTS: Final = _fastpath.TRAFFIC_EVENTS
SLOTS: Final = _fastpath.SLOTS
BUCKETS_US: Final = _fastpath.BUCKETS_US
# Names of the first places of counters for policies: no policy, and those that found none.
POLICIES: Final = ("none", "other")
# In place of a status that was one too many to be counted apart: below 500, and from there on.
STATUS_REST: Final = 1
STATUS_REST_ERROR: Final = 600
LIVE_KINDS: Final = (
    "connections",
    "buffers",
    "pipes",
    "listeners",
    "upstreams",
    "exchanges",
    "in_flight",  # at endpoints and services; counted when the workers have ended
)

# Records of each kind handled in one turn of the loop: a few milliseconds, then probes and
# scrapes get theirs.
_RECORDS_PER_TURN: Final = 256
_QUESTIONS_PER_TURN: Final = 64  # a certificate takes about 0.1 ms
# Workers answer within a tick. One that has not by now is stuck or starved of CPU.
_ANSWER_S_MAX: Final = 2.0
# Words in a worker's block change without a wake-up; whoever waits for one looks soon at first,
# because a start waits for it, and then this often.
_LOOK_S_MIN: Final = 0.001
_LOOK_S_MAX: Final = 0.02


def load_openssl(*, own_records: bool) -> "Callbacks":
    """Give the workers OpenSSL's functions; returns what contexts must call of theirs.

    `own_records`: let them read and write TLS records after the handshake themselves, where the
    system has a libcrypto for it. Raises StartError when the installed OpenSSL lacks a function.
    """
    from proxy import symbols  # noqa: PLC0415 - a proxy without an identity does not load OpenSSL

    _fastpath.load_openssl(symbols.addresses(_fastpath.openssl_functions()))
    return symbols.Callbacks(*_fastpath.openssl_callbacks(own_records))


class NoAnswerError(Exception):
    """A worker did not answer in time."""


class WorkerState(NamedTuple):
    """What one worker says of itself, without being asked to stop for it."""

    worker: int
    snapshot_version: int
    connections: int
    listeners: int


# Whose requests: direction, service, over mesh TLS, route.
Group: TypeAlias = tuple[str, str, bool, str]

# Rows, and what numbers the names of services and of routes in them.
_Traffic: TypeAlias = tuple[Traffic, Callable[[str], int], Callable[[str], int]]


class Golden(NamedTuple):
    """What the requests of a group have counted so far. All but `in_flight` only ever grows."""

    requests: list[int]  # begun, by METHODS
    in_flight: int
    durations: list[int]  # of whole requests, by bucket
    duration_us: int
    first_bytes: list[int]  # up to the first byte of the upstream's answer, by bucket
    first_byte_us: int
    request_bytes: int  # of ended requests
    response_bytes: int
    endings: dict[tuple[int, str], int]  # (status, flag) → count. Status 0: no answer was made


class Answer(NamedTuple):
    """Who is behind a certificate, or why it counts for nothing (a word of TLS_FAILURES)."""

    identity: str = ""
    places: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)  # see identity.peers.Places
    failure: str = "none"


class BackendState(NamedTuple):
    """What there is of a service's port now, and what happened so far."""

    events: dict[str, int]  # by TRAFFIC_EVENTS
    in_flight: int  # requests
    retrying: int  # requests that are in a further try
    connections: int
    pending: int  # requests that wait for a connection
    inbound: int  # requests that came in to our own pod
    ejected: int  # endpoints, in all workers


class EndpointState(NamedTuple):
    """What the workers think of an endpoint."""

    in_flight: int  # requests and relayed connections
    latency_us: float  # peak EWMA of the worker that thinks worst of it; 0: none measured
    ejected: int  # workers that ask it nothing
    ejections: int  # in a row


class Pool(NamedTuple):
    """Connections to upstreams that are kept for the next request, all endpoints together."""

    idle: int
    busy: int  # working on a request, or being dialled
    waiting: int  # requests in the queues of full pools
    reused: int  # how often an idle connection got a request, so far


class TlsStats(NamedTuple):
    """Mesh TLS by role: what we dialled, and what we accepted."""

    handshakes: dict[str, int]  # that led to a known peer
    open: dict[str, int]
    failed: list[tuple[str, str, int]]  # role, a word of TLS_FAILURES, count
    durations: dict[str, list[int]]  # of handshakes, by bucket
    duration_us: dict[str, int]
    received_bytes: int  # plaintext inside
    sent_bytes: int


class Stats:
    """One reading of the counters, summed over workers. Names: `_fastpath.Engine.stats`."""

    def __init__(self, raw: dict[str, list[int]], policies: Sequence[str] = POLICIES) -> None:
        self._raw = raw
        self._policies = policies

    def opened(self) -> Iterator[tuple[str, int]]:
        """Yield connections accepted, by direction."""
        return zip(DIRECTIONS, self._raw["opened"], strict=True)

    def open(self) -> Iterator[tuple[str, str, int]]:
        """Yield connections open now, by direction and protocol."""
        counts = iter(self._raw["open"])
        return ((d, p, next(counts)) for d in DIRECTIONS for p in PROTOCOLS)

    def closed(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield connections ended, by direction, protocol and reason."""
        counts = iter(self._raw["closed"])
        return ((d, p, r, next(counts)) for d in DIRECTIONS for p in PROTOCOLS for r in REASONS)

    def detected(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield verdicts of protocol detection, by direction, protocol and who spoke first."""
        counts = iter(self._raw["detected"])
        return ((d, p, s, next(counts)) for d in DIRECTIONS for p in PROTOCOLS for s in SPEAKERS)

    def bytes(self) -> Iterator[tuple[str, list[int]]]:
        """Yield, by direction: downstream read, downstream written, upstream read and written."""
        return zip(DIRECTIONS, _rows(self._raw["bytes"], 4), strict=True)

    def histogram(self, name: str) -> Iterator[tuple[str, list[int], int]]:
        """Yield, by direction, bucket counts (not cumulative) and sum in microseconds.

        `name`: "connect", or "duration" of connections.
        """
        rows = _rows(self._raw[f"{name}_bucket"], len(BUCKETS_US) + 1)
        return zip(DIRECTIONS, rows, self._raw[f"{name}_sum_us"], strict=True)

    def pools(self) -> Iterator[tuple[str, Pool]]:
        """Yield the pools of each direction."""
        columns = _rows(self._raw["pool"], len(DIRECTIONS))
        for direction, (idle, live, waiting, reused) in zip(
            DIRECTIONS, zip(*columns, strict=True), strict=True
        ):
            # The two words are not read at once, so a connection may be in one and not the other.
            yield direction, Pool(idle, max(live - idle, 0), waiting, reused)

    def tls(self) -> "TlsStats":
        """Return what was counted of mesh TLS."""
        raw = self._raw
        failed = [
            (role, TLS_FAILURES[i], count)
            for role, counts in zip(
                TLS_ROLES, _rows(raw["tls_failed"], len(TLS_FAILURES)), strict=True
            )
            for i, count in enumerate(counts)
            if i
        ]
        buckets = list(_rows(raw["tls_bucket"], len(BUCKETS_US) + 1))
        return TlsStats(
            handshakes=dict(zip(TLS_ROLES, raw["tls_handshakes"], strict=True)),
            open=dict(zip(TLS_ROLES, raw["tls_open"], strict=True)),
            failed=failed,
            durations=dict(zip(TLS_ROLES, buckets, strict=True)),
            duration_us=dict(zip(TLS_ROLES, raw["tls_sum_us"], strict=True)),
            received_bytes=raw["tls_bytes"][0],
            sent_bytes=raw["tls_bytes"][1],
        )

    def events(self) -> Iterator[tuple[str, int]]:
        """Yield the plain counters by name."""
        return zip(EVENTS, self._raw["events"], strict=True)

    def policies(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield what policies decided: name, verdict, unit, count. What never was is left out."""
        counts = iter(self._raw["policies"])
        names = [*self._policies, *[""] * (SLOTS - len(self._policies))]
        rows = ((p, v, u, next(counts)) for p in names for v in VERDICTS for u in UNITS)
        return (row for row in rows if row[3])

    def live(self) -> dict[str, int]:
        """Return objects in use by kind; all zero once stopped."""
        return dict(zip(LIVE_KINDS, self._raw["live"], strict=True))

    @property
    def ticks(self) -> int:
        """Loop rounds of all workers."""
        return self._raw["tick"][0]

    @property
    def longest_tick_us(self) -> int:
        """Longest round since the reading before."""
        return self._raw["tick"][1]


class Engine:
    """Workers and what they tell. Life: publish → listen → start → … → stop.

    `connections_max` is for all workers together, and each gets an equal share: the kernel spreads
    new connections evenly over their sockets.
    """

    def __init__(self, workers: int, connections_max: int) -> None:
        self.workers = workers
        self.on_records: Callable[[list[Connection]], None] = lambda _: None
        self.on_requests: Callable[[list[Request]], None] = lambda _: None
        self.on_question: Callable[[bytes], Answer] | None = None
        self.on_denials: Callable[[list[tuple[str, Denial]]], None] = lambda _: None
        self._policies = list(POLICIES)  # by place of counters
        self._judged_by: tuple[int, str, dict[int, str]] | None = None  # of the last snapshot
        self._generation = 0  # how often that changed
        self._fast = _fastpath.Engine(workers, math.ceil(connections_max / workers))
        self._numbers: dict[str, int] = {}  # of services
        self._route_numbers: dict[str, int] = {}
        self._listener_counts = dict.fromkeys(DIRECTIONS, 0)
        self._version = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dump_lock = asyncio.Lock()
        self._dump: asyncio.Future[list[Connection]] | None = None
        self._has_late_dump = False  # asked, and not taken: the extension refuses a second question
        self._longest_tick_us = 0

    # ---- life ------------------------------------------------------------------------------

    def publish(self, draft: Draft) -> int:
        """Make a new snapshot current and return its version.

        Raises ValueError where it is more than the data plane takes; the one before stays.
        """
        version = self._version + 1
        addresses = [
            (*address, self._number(service.name), HANDLINGS.index(service.handling))
            for service in draft.services
            for address in service.addresses
        ]
        trust = draft.trust
        judged_by = (draft.judgement.generation, trust.mode, dict(trust.ports))
        if judged_by != self._judged_by:
            self._generation += self._judged_by is not None
            self._judged_by = judged_by
        self._fast.publish(
            _fastpath.Snapshot(
                *(version, draft.settings, draft.targets, addresses, draft.opaque_ports),
                tls=trust.contexts,
                mesh=[(host, port, expected.encode()) for host, port, expected in trust.endpoints],
                tls_mode=TLS_MODES.index(trust.mode),
                tls_ports={port: TLS_MODES.index(mode) for port, mode in trust.ports.items()},
                target_modes=[TLS_MODES.index(mode) for mode in draft.target_modes],
                policies=[
                    (self._slot(row.name), row.action, row.is_dry_run, row.rules)
                    for row in draft.judgement.policies
                ],
                policy_generation=self._generation,
                probes=draft.judgement.probes,
                traffic=self._traffic(draft),
            )
        )
        self._version = version
        return self._version

    def _traffic(self, draft: Draft) -> _Traffic | None:
        if draft.traffic is NO_TRAFFIC:
            return None
        return (draft.traffic, self._number, self._route_number)

    def _number(self, service: str) -> int:
        """Return the number of a service, which stays its own: counters carry it."""
        return _number_in(self._fast.services, self._numbers, service)

    def _route_number(self, route: str) -> int:
        """Return the number of a route, likewise."""
        return _number_in(self._fast.routes, self._route_numbers, route)

    def _slot(self, policy: str) -> int:
        """Return a policy's place of counters, which stays its own."""
        if policy not in self._policies and len(self._policies) < SLOTS:
            self._policies.append(policy)
        name = policy if policy in self._policies else POLICIES[1]
        return self._policies.index(name)

    def listen(self, listeners: Iterable[Listener]) -> None:
        """Give every worker its sockets. The workers own them from here."""
        listeners = list(listeners)
        targets = target_indexes(listeners)
        for listener in listeners:
            kind = DIRECTIONS.index(listener.direction)
            for worker, fd in enumerate(listener.give()):
                self._fast.listen(
                    worker,
                    fd,
                    kind,
                    targets[listener.id],
                    listener.id,
                    is_judged=listener.is_judged,
                )
                self._listener_counts[listener.direction] += 1

    def start(self) -> None:
        """Start the threads, and watch for what they post."""
        self._fast.start()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fast.record_fd, self._on_posted)

    def stop(self) -> None:
        """Reset what is left, join the threads, hand over the last records. Idempotent."""
        if self._loop is not None:
            self._loop.remove_reader(self._fast.record_fd)
            self._loop = None
        self._fast.stop()
        while self._hand_over_records():
            pass

    # ---- commands --------------------------------------------------------------------------

    def end_keep_alive(self, directions: Iterable[str]) -> None:
        """Let each answer of some directions end its connection; newcomers are still accepted."""
        self._fast.stop_accepting(_mask(directions), later=True)

    def stop_accepting(self, directions: Iterable[str]) -> None:
        """Close the listeners of some directions, after accepting what is queued."""
        self._fast.stop_accepting(_mask(directions))

    def close_all(self, directions: Iterable[str], reason: str) -> None:
        """Reset every open connection of some directions."""
        self._fast.close_all(_mask(directions), REASONS.index(reason))

    def close_connection(self, connection_id: int) -> None:
        """Reset one connection with reason "operator"; an unknown id is ignored."""
        self._fast.close_connection(connection_id)

    def record_connections(self, *, enabled: bool) -> None:
        """Have closed connections handed to `on_records`, finished requests to `on_requests`."""
        self._fast.record_connections(enabled)

    # ---- questions -------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the snapshot that was published last."""
        return self._version

    def stats(self) -> Stats:
        """Read the counters."""
        raw = self._fast.stats()
        # The engine forgets its longest tick when asked, and several of us ask: remember it here
        # for the one who reports it.
        self._longest_tick_us = max(self._longest_tick_us, raw["tick"][1])
        return Stats(raw, self._policies)

    def backend(self, number: int) -> BackendState | None:
        """Read what workers know of a backend (`rows.Backend.number`); None: nothing."""
        found = self._fast.backend(number)
        if found is None:
            return None
        events = dict(zip(TRAFFIC_EVENTS, found, strict=False))
        return BackendState(events, *found[len(TRAFFIC_EVENTS) :])

    def endpoint(self, slot: int, generation: int) -> EndpointState | None:
        """Read what workers think of an endpoint (`rows.Endpoint`); None: nothing."""
        found = self._fast.endpoint(slot, generation, time.monotonic_ns() // 1_000_000)
        return EndpointState(*found) if found else None

    def groups(self) -> dict[Group, tuple[int, int]]:
        """Return requests begun and in flight of every group that ever had one."""
        return {group: counts for group, counts in self._fast.groups().items() if counts[0]}

    def golden(self, group: Group) -> Golden:
        """Read what a group has counted."""
        return Golden(*self._fast.golden(*group))

    def take_longest_tick_us(self) -> int:
        """Return the longest tick since this was last asked."""
        longest_us, self._longest_tick_us = self._longest_tick_us, 0
        return longest_us

    def listener_count(self, direction: str) -> int:
        """Return how many sockets `listen` has given to the workers for a direction."""
        return self._listener_counts[direction]

    def states(self) -> list[WorkerState]:
        """Return what each worker says of itself."""
        return [WorkerState(w, *self._fast.worker_state(w)) for w in range(self.workers)]

    async def connections(self, limit: int) -> list[Connection]:
        """Ask the workers for up to `limit` open connections each. Raises NoAnswerError."""
        async with self._dump_lock:
            if self._has_late_dump and self._fast.take_connections() is None:
                raise NoAnswerError("a worker still owes the answer to the question before")
            self._dump = asyncio.get_running_loop().create_future()
            self._fast.request_connections(limit)
            self._has_late_dump = True
            try:
                async with asyncio.timeout(_ANSWER_S_MAX):
                    rows = await self._dump
            except TimeoutError:
                raise NoAnswerError(f"no answer from a worker for {_ANSWER_S_MAX} s") from None
            finally:
                self._dump = None
            return rows

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the words in the workers' blocks make `condition` true; whether they did."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        pause_s = _LOOK_S_MIN
        while not condition():
            left_s = deadline - loop.time()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LOOK_S_MAX)
        return True

    def _hand_over_records(self) -> bool:
        """Hand over a turn's worth; whether there was any."""
        # Connections are read first because that clears the eventfd, and handed over last because
        # one ends after its requests.
        records = self._fast.read_records(_RECORDS_PER_TURN)
        requests = self._fast.read_requests(_RECORDS_PER_TURN)
        denials = self._fast.read_denials(_RECORDS_PER_TURN)
        if denials:
            self.on_denials([(self._policies[each.slot], each) for each in denials])
        if requests:
            self.on_requests(requests)
        if records:
            self.on_records(records)
        return bool(records or requests or denials)

    def _answer_questions(self) -> None:
        """Tell the workers who is behind the certificates that they met."""
        if self.on_question is None:
            return
        for worker, generation, digest, der in self._fast.read_questions(_QUESTIONS_PER_TURN):
            answer = self.on_question(der)
            self._fast.answer(
                *(worker, generation, digest, answer.identity, answer.places),
                TLS_FAILURES.index(answer.failure),
            )

    def _on_posted(self) -> None:
        self._hand_over_records()
        self._answer_questions()
        if self._dump is not None and not self._dump.done():
            rows = self._fast.take_connections()
            if rows is not None:
                self._has_late_dump = False
                self._dump.set_result(rows)


def _mask(directions: Iterable[str]) -> int:
    return sum(1 << DIRECTIONS.index(direction) for direction in directions)


def _rows(flat: list[int], width: int) -> Iterator[list[int]]:
    return (flat[start : start + width] for start in range(0, len(flat), width))


def _number_in(names: list[str], numbers: dict[str, int], name: str) -> int:
    number = numbers.setdefault(name, len(names))
    if number == len(names):
        names.append(name)
    return number
