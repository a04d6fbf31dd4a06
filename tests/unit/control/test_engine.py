"""The façade over the extension: names, awaits, and an end. Real workers, real sockets."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from proxy import engine as engine_module
from proxy.config import read_config
from proxy.engine import METHODS, Connection, Engine, NoAnswerError, Request
from proxy.listeners import EXPLICIT, OUTBOUND, Listener, bound_address, close_all, open_listeners
from proxy.snapshot import draft
from tests.unit.control.conftest import ReadableLog

WORKERS = 2
PATIENCE_S = 10


@dataclass
class Started:
    """An engine with one explicit listener in front of one upstream."""

    engine: Engine
    listener: Listener
    upstream: socket.socket

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.address)

    def open_count(self) -> int:
        return sum(state.connections for state in self.engine.states())

    async def until_open(self, count: int) -> None:
        assert await self.engine.until(lambda: self.open_count() == count, PATIENCE_S)


@pytest.fixture
def started(runner: asyncio.Runner, readable_log: ReadableLog) -> Iterator[Started]:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        listen = f"--listen=127.0.0.1:0={bound_address(upstream)}"
        settings = read_config(["--no-interception", listen, f"--workers={WORKERS}"], {})
        listeners = open_listeners(settings, readable_log.log)
        engine = Engine(WORKERS, connections_max=100)
        engine.publish(draft(settings, listeners))
        engine.listen(listeners)

        async def start() -> None:
            engine.start()
            assert await engine.until(
                lambda: [state.listeners for state in engine.states()] == [1] * WORKERS, PATIENCE_S
            )

        runner.run(start())
        yield Started(engine, listeners[0], upstream)
        engine.stop()
        close_all(listeners)


def test_every_worker_takes_the_snapshot_and_its_listener(
    runner: asyncio.Runner, started: Started
) -> None:
    def taken() -> bool:
        return [(s.snapshot_version, s.listeners) for s in started.engine.states()] == [(1, 1)] * 2

    assert runner.run(started.engine.until(taken, PATIENCE_S))


def test_a_new_snapshot_reaches_every_worker(runner: asyncio.Runner, started: Started) -> None:
    version = started.engine.publish(draft(read_config([], {}), [started.listener]))
    states = started.engine.states
    assert version == 2
    assert runner.run(
        started.engine.until(lambda: {s.snapshot_version for s in states()} == {2}, PATIENCE_S)
    )


def test_open_connections_are_listed_from_every_worker(
    runner: asyncio.Runner, started: Started
) -> None:
    downstreams = [started.connect() for _ in range(8)]
    runner.run(started.until_open(8))
    rows = runner.run(started.engine.connections(limit=100))
    assert {row.downstream for row in rows} == {sock.getsockname() for sock in downstreams}
    for sock in downstreams:
        sock.close()


def test_questions_asked_at_once_are_all_answered(runner: asyncio.Runner, started: Started) -> None:
    async def ask() -> list[list[Connection]]:
        return await asyncio.gather(*(started.engine.connections(limit=10) for _ in range(20)))

    assert runner.run(ask()) == [[]] * 20


def test_records_of_ended_connections_arrive_unasked(
    runner: asyncio.Runner, started: Started
) -> None:
    seen: list[Connection] = []
    started.engine.on_records = seen.extend
    started.engine.record_connections(enabled=True)
    runner.run(started.engine.connections(limit=1))  # the command before it was taken too
    started.connect().close()
    upstream, _ = started.upstream.accept()
    upstream.close()
    assert runner.run(started.engine.until(lambda: bool(seen), PATIENCE_S))
    assert seen[0].direction == EXPLICIT


def test_the_last_records_are_handed_over_at_stop(runner: asyncio.Runner, started: Started) -> None:
    seen: list[Connection] = []
    started.engine.on_records = seen.extend
    started.engine.record_connections(enabled=True)
    with started.connect():
        runner.run(started.until_open(1))
        started.engine.stop()
    assert [record.reason for record in seen] == ["stopped"]


def exchange(started: Started, *requests: bytes) -> None:
    """Requests over one connection, each answered with 204; the test plays both ends."""
    with started.connect() as downstream:
        downstream.sendall(requests[0])
        upstream, _ = started.upstream.accept()
        with upstream:
            for number, request in enumerate(requests):
                if number:
                    downstream.sendall(request)
                assert upstream.recv(10_000)
                upstream.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                assert downstream.recv(10_000).startswith(b"HTTP/1.1 204")


def test_records_of_requests_arrive_unasked_before_that_of_their_connection(
    runner: asyncio.Runner, started: Started
) -> None:
    seen: list[Connection | Request] = []
    started.engine.on_requests = seen.extend
    started.engine.on_records = seen.extend
    started.engine.record_connections(enabled=True)
    runner.run(started.engine.connections(limit=1))  # the command before it was taken too
    exchange(started, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", b"PUT /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert runner.run(started.engine.until(lambda: len(seen) == 3, PATIENCE_S))
    first, second, connection = seen
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert isinstance(connection, Connection)
    assert [(each.method, each.target, each.status) for each in (first, second)] == [
        ("GET", "/a", 204),
        ("PUT", "/b", 204),
    ]
    assert {first.connection_id, second.connection_id} == {connection.id}


def test_requests_are_counted_by_method_and_by_how_they_ended(
    runner: asyncio.Runner, started: Started
) -> None:
    exchange(started, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n")
    engine = started.engine
    group = (EXPLICIT, "unknown", False, "unknown")
    ended = lambda: engine.golden(group).endings == {(204, "-"): 2}  # noqa: E731
    assert runner.run(engine.until(ended, PATIENCE_S))
    assert engine.groups() == {group: (2, 0)}
    golden = engine.golden(group)
    begun = {method: n for method, n in zip(METHODS, golden.requests, strict=True) if n}
    assert begun == {"GET": 1, "OTHER": 1}
    assert golden.in_flight == 0
    assert sum(golden.durations) == sum(golden.first_bytes) == 2
    assert dict(engine.stats().pools())[EXPLICIT].reused == 1


def test_one_connection_can_be_ended_by_its_id(runner: asyncio.Runner, started: Started) -> None:
    with started.connect() as doomed, started.connect() as spared:
        runner.run(started.until_open(2))
        rows = runner.run(started.engine.connections(limit=10))
        (row,) = [row for row in rows if row.downstream == doomed.getsockname()]
        started.engine.close_connection(row.id)
        runner.run(started.until_open(1))
        (left,) = runner.run(started.engine.connections(limit=10))
        assert left.downstream == spared.getsockname()


def test_all_connections_of_a_direction_end_with_the_given_reason(
    runner: asyncio.Runner, started: Started
) -> None:
    with started.connect(), started.connect():
        runner.run(started.until_open(2))
        started.engine.close_all([OUTBOUND], "drain_deadline")
        runner.run(started.engine.connections(limit=1))
        assert started.open_count() == 2
        started.engine.close_all([EXPLICIT], "drain_deadline")
        runner.run(started.until_open(0))
    closed = {reason: n for _, _, reason, n in started.engine.stats().closed() if n}
    assert closed == {"drain_deadline": 2}


def test_a_worker_that_does_not_answer_is_told_of_and_asked_again_later(
    runner: asyncio.Runner, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_ANSWER_S_MAX", 0.0)
    with pytest.raises(NoAnswerError):
        runner.run(started.engine.connections(limit=1))
    monkeypatch.undo()

    async def ask_until_answered() -> list[Connection]:
        while True:
            try:
                return await started.engine.connections(limit=1)
            except NoAnswerError:
                await asyncio.sleep(0)

    assert runner.run(ask_until_answered()) == []


def test_waiting_for_what_does_not_come_has_an_end(
    runner: asyncio.Runner, started: Started
) -> None:
    assert not runner.run(started.engine.until(lambda: False, 0.05))


def test_the_longest_tick_survives_readings_that_do_not_report_it(started: Started) -> None:
    started.connect().close()
    longest_us = max(started.engine.stats().longest_tick_us for _ in range(3))
    assert started.engine.take_longest_tick_us() >= longest_us
    assert started.engine.take_longest_tick_us() == 0


def test_connections_are_shared_out_over_the_workers() -> None:
    """Three for two workers: two each, so that a single listener's luck cannot lose one."""
    engine = Engine(2, 3)
    assert engine.workers == 2
    engine.stop()


def test_after_stop_nothing_is_left_and_stopping_again_does_no_harm(started: Started) -> None:
    with started.connect():
        started.engine.stop()
        started.engine.stop()
        assert set(started.engine.stats().live().values()) == {0}
