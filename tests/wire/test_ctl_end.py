"""The end of a proxy: what signals do, and the exit code they leave."""

import signal

import pytest

from tests.support.rig import Route
from tests.support.sockets import expect_reset
from tests.support.waiting import eventually


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_forces_the_end(route: Route, number: signal.Signals) -> None:
    pair = route.pair()
    route.proxy.ended_as_planned = True
    route.proxy.signal(signal.SIGTERM)
    eventually("the drain", lambda: route.proxy.logged("draining"))
    route.proxy.signal(number)
    assert route.proxy.wait_exit() == 1
    expect_reset(pair.downstream)
    route.proxy.check_nothing_left()


def test_signals_in_a_row_never_kill(route: Route) -> None:
    """However late one comes, the exit code is one of ours."""
    route.proxy.ended_as_planned = True
    while route.proxy.running():
        route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit() in {0, 1}


def test_the_last_line_tells_the_exit_code_and_what_is_left(route: Route) -> None:
    route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit() == 0
    stopped = route.proxy.log[-1]
    assert (stopped["event"], stopped["exit_code"]) == ("stopped", 0)
    assert set(stopped["live"].values()) == {0}
