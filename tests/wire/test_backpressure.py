"""A slow reader slows its writer down: the proxy holds a bounded amount, and loses nothing."""

import pytest

from tests.support.memory import allowance
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_silence, fill_until_blocked, receive_exactly
from tests.support.transfers import MIB
from tests.support.waiting import eventually

CHUNK = bytes(range(256)) * 256
BLOCKED_COUNT = 40


@pytest.mark.parametrize("flags", [[], ["--no-splice"]], ids=["splice", "copy"])
@pytest.mark.parametrize("writer", ["downstream", "upstream"])
def test_a_writer_is_blocked_until_the_reader_reads_and_nothing_is_lost(
    rig: Rig, flags: list[str], writer: str
) -> None:
    pair = rig.route(*flags).pair()
    source, target = pair if writer == "downstream" else reversed(pair)
    taken = fill_until_blocked(source, CHUNK)
    received = receive_exactly(target, taken)
    assert received == (CHUNK * (taken // len(CHUNK) + 1))[:taken]
    expect_silence(target)
    source.sendall(b"flows again")
    assert receive_exactly(target, 11) == b"flows again"


def test_forty_slow_readers_cost_a_bounded_amount_of_memory(rig: Rig) -> None:
    """At most one buffer of 32 KiB for each blocked direction, whatever the kernel holds."""
    route = rig.route("--no-splice")
    pairs = route.pairs(BLOCKED_COUNT)
    before = route.proxy.private_bytes()
    for pair in pairs:
        fill_until_blocked(pair.downstream, CHUNK, seconds=0.05)
    assert route.proxy.live()["buffers"] <= BLOCKED_COUNT
    grown = route.proxy.private_bytes() - before
    assert grown < allowance(BLOCKED_COUNT * 32768 + 2 * MIB), f"{grown / MIB:.1f} MiB"


def test_blocked_connections_leave_the_others_alone_and_the_processor_idle(route: Route) -> None:
    blocked = route.pair()
    fill_until_blocked(blocked.downstream, CHUNK)
    other = route.pair()
    for _ in range(100):
        other.downstream.sendall(b"ping")
        assert receive_exactly(other.upstream, 4) == b"ping"
    before = route.proxy.cpu_seconds()
    expect_silence(other.upstream, 1.0)
    assert route.proxy.cpu_seconds() - before < 0.2


def test_a_drained_reader_leaves_no_buffer_behind(route: Route) -> None:
    pair = route.pair()
    taken = fill_until_blocked(pair.downstream, CHUNK)
    receive_exactly(pair.upstream, taken)
    eventually("no buffer in use", lambda: route.proxy.live()["buffers"] == 0)
