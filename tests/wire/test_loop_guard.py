"""A connection that nobody redirected must not make the proxy dial itself."""

import pytest

from tests.support.process import Proxy
from tests.support.rig import Rig
from tests.support.sockets import LOOPBACK, expect_refusal, written
from tests.support.waiting import eventually

REASONS = ("loop", "no_original_dst")


@pytest.fixture(params=list(LOOPBACK))
def intercepting(rig: Rig, request: pytest.FixtureRequest) -> Proxy:
    address = written((LOOPBACK[request.param], 0))
    return rig.start("--outbound", address, "--inbound", address)


def refused(proxy: Proxy, direction: str) -> float:
    metrics = proxy.metrics()
    return sum(metrics("tcp_close_total", direction=direction, reason=name) for name in REASONS)


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_a_direct_connection_is_refused_and_counted(intercepting: Proxy, direction: str) -> None:
    for _ in range(10):
        expect_refusal(intercepting.listeners(direction)[0])
    eventually("ten refusals", lambda: refused(intercepting, direction) == 10)
    assert intercepting.metrics()("tcp_open_total") <= 10
    assert intercepting.metrics()("tcp_open_connections") == 0
