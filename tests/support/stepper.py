"""A worker without its thread: a test drives `Engine.tick` and sees the state between ticks."""

import socket
from collections.abc import Callable, Sequence
from typing import Final

from proxy import _fastpath
from proxy._fastpath import Connection, Engine, Snapshot
from tests.support.rig import Pair, Rig
from tests.support.sockets import Address, accepted, address_of

EXPLICIT: Final = _fastpath.DIRECTIONS.index("explicit")
SETTINGS: Final = {
    "connect_inbound_ms": 1_000,
    "connect_outbound_ms": 5_000,
    "connect_explicit_ms": 5_000,
    "idle_ms": 3_600_000,
    "half_open_ms": 300_000,
    "keepalive_idle_s": 10,
    "keepalive_interval_s": 10,
    "keepalive_count": 3,
    "user_timeout_ms": 30_000,
    "detect_bytes_max": 1_024,
    "unknown_max": 0,
    "splice": 1,
    "http": 1,
    "forwarded_inbound": 1,
    "forwarded_outbound": 0,
    "forwarded_explicit": 0,
    "request_ids": 1,
    "detect_ms": 2_000,
    "head_ms": 10_000,
    "http_idle_ms": 300_000,
    "flush_ms": 30_000,
    "body_bytes_max": (1 << 64) - 1,
    "pool_idle_ms": 4_000,
    "pool_connections_max": 1_024,
    "tls_ms": 5_000,
    "server_first_ms": 250,
}
LIVE: Final = (
    *("connections", "buffers", "pipes", "listeners", "upstreams", "exchanges", "in_flight"),
)
TICKS_MAX: Final = 2_000
QUIET_ROUNDS: Final = 3


class Stepper:
    """One engine, one worker, one explicit listener to `upstream`. Nothing moves without a tick."""

    def __init__(self, rig: Rig, *, connections_max: int = 64, records: int = 64) -> None:
        self.rig = rig
        self.upstream = rig.listen()
        self.engine = Engine(1, connections_max, records=records)
        self.publish(1)
        listener = rig.listen()
        listener.setblocking(False)  # noqa: FBT003 - the name of the standard library
        self.address: Address = address_of(listener)
        self.engine.listen(0, listener.detach(), EXPLICIT, 0, 1)

    def publish(self, version: int, **changed: int) -> None:
        targets = [address_of(self.upstream)]
        self.engine.publish(Snapshot(version, SETTINGS | changed, targets))

    # --- ticks ---

    def tick(self) -> int:
        return self.engine.tick(0, 0)

    def tick_until(self, what: str, state: Callable[[], bool]) -> None:
        """Tick, waiting at most 10 ms for an event each time, until `state` holds."""
        for _ in range(TICKS_MAX):
            if state():
                return
            self.engine.tick(0, 10)
        raise AssertionError(f"{TICKS_MAX} ticks did not bring {what}")

    def settle(self) -> None:
        """Tick until there is nothing left to do."""
        while self.tick():
            pass

    def settle_with(self, move: Callable[[], bool]) -> None:
        """Tick, and let the test's own ends move, until for some rounds nobody did anything."""
        quiet = 0
        while quiet < QUIET_ROUNDS:
            is_moved = self.engine.tick(0, 1) > 0
            quiet = 0 if move() or is_moved else quiet + 1

    # --- connections ---

    def connect(self) -> socket.socket:
        return self.rig.connect(self.address)

    def pair(self) -> Pair:
        downstream = self.connect()
        self.settle()
        pair = Pair(downstream, self.rig.keep(accepted(self.upstream)))
        self.settle()
        return pair

    def rows(self) -> list[Connection]:
        self.engine.request_connections(1_000)
        self.tick()
        rows = self.engine.take_connections()
        assert rows is not None
        return rows

    # --- counters ---

    def live(self) -> dict[str, int]:
        return dict(zip(LIVE, self.engine.stats()["live"], strict=True))

    def opened(self) -> int:
        return self.engine.stats()["opened"][EXPLICIT]

    def closed(self, reason: str) -> int:
        """Explicit connections closed for that reason, whatever they spoke."""
        return sum(self._cut("closed", _fastpath.REASONS, reason))

    def event(self, name: str) -> int:
        return self.engine.stats()["events"][_fastpath.EVENTS.index(name)]

    def _cut(self, counter: str, names: Sequence[str], name: str) -> list[int]:
        cells = self.engine.stats()[counter]
        width = len(_fastpath.PROTOCOLS) * len(names)
        explicit = cells[EXPLICIT * width : (EXPLICIT + 1) * width]
        return explicit[names.index(name) :: len(names)]
