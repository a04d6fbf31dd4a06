"""An idle connection costs its record and its sockets: no buffer, no pipe, no processor time."""

import pytest

from tests.support.memory import allowance
from tests.support.rig import Route
from tests.support.sockets import expect_silence, receive_exactly
from tests.support.transfers import MIB
from tests.support.waiting import eventually

IDLE = 500


def test_five_hundred_idle_connections_hold_no_buffer_and_no_pipe(route: Route) -> None:
    for pair in route.pairs(IDLE):
        pair.downstream.sendall(b"x" * 5000)
        receive_exactly(pair.upstream, 5000)
        pair.upstream.sendall(b"y" * 5000)
        receive_exactly(pair.downstream, 5000)
    live = eventually("buffers given back", lambda: held_by(route, buffers=0, pipes=0))
    assert live is not None
    assert live["connections"] == IDLE


def held_by(route: Route, **wanted: int) -> dict[str, int] | None:
    live = route.proxy.live()
    return live if wanted.items() <= live.items() else None


def test_a_connection_that_was_bulk_holds_no_pipe_when_it_is_idle(route: Route) -> None:
    pair = route.pair()
    sending = route.rig.background(pair.downstream.sendall, b"b" * (8 * MIB))
    receive_exactly(pair.upstream, 8 * MIB)
    sending.result()
    assert route.proxy.connections()[0]["spliced"] is True
    eventually("the pipe given back", lambda: held_by(route, buffers=0, pipes=0))


@pytest.mark.slow
def test_idle_connections_take_little_memory_and_no_processor_time(route: Route) -> None:
    """The budget is 1 KiB of ours a connection; pages and Python's own noise get 1 MiB."""
    route.pair()
    before = route.proxy.private_bytes()
    pairs = route.pairs(1000)
    grown = route.proxy.private_bytes() - before
    assert grown <= allowance(1000 * 1024 + MIB), f"{grown / 1000:.0f} bytes a connection"
    cpu_before = route.proxy.cpu_seconds()
    expect_silence(pairs[0].downstream, 1.0)
    assert route.proxy.cpu_seconds() - cpu_before < 0.1
