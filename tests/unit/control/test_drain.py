"""The drain's phases, over real workers and real connections."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from proxy.config import read_config
from proxy.drain import Drain, Phase
from proxy.engine import Engine
from proxy.listeners import EXPLICIT, OUTBOUND, Listener, bound_address, close_all, open_listeners
from proxy.readiness import Readiness
from proxy.snapshot import draft
from tests.unit.control.conftest import ReadableLog

PATIENCE_S = 10


@dataclass
class Draining:
    """A drain, and what it drains: an explicit and an outbound listener."""

    drain: Drain
    engine: Engine
    readiness: Readiness
    listeners: list[Listener]
    runner: asyncio.Runner

    def address(self, direction: str) -> tuple[str, int]:
        return next(each.address for each in self.listeners if each.direction == direction)

    def connect(self) -> socket.socket:
        """A connection that the workers have taken in."""
        sock = socket.create_connection(self.address(EXPLICIT))
        self.wait(lambda: self.open_count() > 0)
        return sock

    def open_count(self) -> int:
        return sum(state.connections for state in self.engine.states())

    def wait(self, condition: Callable[[], bool]) -> None:
        assert self.runner.run(self.engine.until(condition, PATIENCE_S))

    def start(self, why: str = "test") -> "asyncio.Task[None]":
        async def start() -> "asyncio.Task[None]":
            return self.drain.start(why)

        return self.runner.run(start())

    def finish(self) -> None:
        async def finish() -> None:
            await self.drain.start("test")

        self.runner.run(finish())

    def end(self) -> None:
        async def end() -> None:
            await self.drain.end("signal")

        self.runner.run(end())


Make = Callable[..., Draining]


@pytest.fixture
def make(runner: asyncio.Runner, readable_log: ReadableLog) -> Iterator[Make]:
    upstream = socket.create_server(("127.0.0.1", 0))
    made: list[Draining] = []

    def build(*flags: str) -> Draining:
        listen = f"--listen=127.0.0.1:0={bound_address(upstream)}"
        ports = ["--outbound=127.0.0.1:0", "--inbound=127.0.0.1:0", listen]
        settings = read_config([*ports, "--workers=2", *flags], {})
        listeners = open_listeners(settings, readable_log.log)
        engine = Engine(2, 100)
        engine.publish(draft(settings, listeners))
        engine.listen(listeners)
        readiness = Readiness(readable_log.log, ())
        drain = Drain(settings, engine, readiness, readable_log.log)

        async def start() -> None:
            engine.start()

        runner.run(start())
        made.append(Draining(drain, engine, readiness, listeners, runner))
        return made[-1]

    yield build
    for each in made:
        each.drain.cancel()
        each.engine.stop()
        close_all(each.listeners)
    upstream.close()


def refuses(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it closed between the handshake and accept(): ask again
        return False
    return False


def test_an_idle_proxy_is_drained_at_once(make: Make) -> None:
    draining = make()
    draining.finish()
    assert draining.drain.phase is Phase.DRAINED


def test_readiness_is_withdrawn_before_anything_else(make: Make) -> None:
    draining = make("--drain-delay", "20s")
    draining.start()
    assert draining.readiness.pending == ["draining"]
    assert not refuses(draining.address(EXPLICIT))


def test_inbound_and_explicit_listeners_close_and_outbound_stays_open(make: Make) -> None:
    draining = make()
    draining.finish()
    assert refuses(draining.address(EXPLICIT))
    assert refuses(draining.address("inbound"))
    assert not refuses(draining.address(OUTBOUND))


def test_a_connection_in_progress_holds_the_drain(make: Make) -> None:
    draining = make()
    with draining.connect():
        task = draining.start()
        draining.wait(lambda: refuses(draining.address(EXPLICIT)))
        assert not task.done()
        assert str(draining.drain.phase) == "draining"
    draining.engine.close_all([EXPLICIT], "operator")
    draining.wait(task.done)
    assert draining.drain.phase is Phase.DRAINED


def test_at_the_deadline_the_rest_is_reset_with_that_reason(make: Make) -> None:
    draining = make("--drain-deadline", "50ms")
    with draining.connect():
        draining.finish()
        assert draining.open_count() == 0
    reasons = {reason for _, _, reason, n in draining.engine.stats().closed() if n}
    assert reasons == {"drain_deadline"}


def test_the_deadline_counts_from_the_signal_and_not_from_the_delay(make: Make) -> None:
    draining = make("--drain-delay", "49ms", "--drain-deadline", "50ms")

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await draining.drain.start("test")
        return loop.time() - began

    with draining.connect():
        assert draining.runner.run(timed()) < 5


def test_starting_twice_is_one_drain(make: Make, readable_log: ReadableLog) -> None:
    draining = make("--drain-delay", "20s")
    assert draining.start() is draining.start()
    assert readable_log.events().count("draining") == 1


def test_a_drained_proxy_ends_at_once(make: Make, readable_log: ReadableLog) -> None:
    """`ctl drain`, then SIGTERM: nothing is waited for a second time."""
    draining = make("--drain-delay", "20ms")
    draining.finish()
    draining.end()
    assert draining.drain.phase is Phase.DRAINED
    assert readable_log.events() == ["draining", "drained", "ending"]


def test_a_signal_ends_the_delay_of_a_drain_that_was_begun_before(make: Make) -> None:
    """The hook of a Job's pod has begun it, and nobody is left to come in."""
    draining = make("--drain-delay", "1h", "--drain-deadline", "2h")
    draining.start()
    draining.end()
    assert refuses(draining.address(EXPLICIT))


def test_a_signal_that_begins_the_drain_waits_for_its_delay(make: Make) -> None:
    draining = make("--drain-delay", "20s")

    async def begin() -> None:
        draining.drain.end("signal")

    draining.runner.run(begin())
    assert draining.readiness.pending == ["draining"]
    assert not refuses(draining.address(EXPLICIT))


def test_what_is_inbound_has_its_deadline_also_when_the_process_ends(make: Make) -> None:
    draining = make("--drain-deadline", "50ms")
    with draining.connect():
        draining.end()
        assert draining.open_count() == 0


def test_its_steps_are_logged(make: Make, readable_log: ReadableLog) -> None:
    make().finish()
    assert readable_log.events() == ["draining", "drained"]
