"""Connections come and go: nothing of them stays behind, in memory or in descriptors."""

import pytest

from tests.support.crowd import churn, echo_until_closed
from tests.support.memory import allowance
from tests.support.rig import Rig, Route
from tests.support.transfers import MIB
from tests.support.waiting import eventually

# Slabs, allocator and Python reach their working size in here; growth counts from then on.
WARM_UP = 2_000


def check_churn(rig: Rig, count: int, growth_bytes_max: int) -> None:
    route = rig.route()
    rig.background(echo_until_closed, route.upstream)
    churn(route.address, WARM_UP)
    wait_all_closed(route, WARM_UP)
    memory, fds = route.proxy.private_bytes(), len(route.proxy.fds())
    churn(route.address, count)
    wait_all_closed(route, WARM_UP + count)
    grown = route.proxy.private_bytes() - memory
    assert grown < allowance(growth_bytes_max), f"{grown / 1024:.0f} KiB more"
    assert len(route.proxy.fds()) <= fds + 1
    held = {kind: count for kind, count in route.proxy.live().items() if count}
    assert held == {"listeners": 1}


def wait_all_closed(route: Route, count: int) -> None:
    eventually("all to be closed", lambda: route.proxy.metrics()("tcp_close_total") == count)


@pytest.mark.slow
def test_twenty_thousand_connections_leave_nothing_behind(rig: Rig) -> None:
    check_churn(rig, 20_000, MIB)


@pytest.mark.soak
def test_two_hundred_thousand_connections_do_not_grow_the_memory(rig: Rig) -> None:
    """Less than 6 bytes a connection: below the smallest object that could leak for each."""
    check_churn(rig, 200_000, MIB)
