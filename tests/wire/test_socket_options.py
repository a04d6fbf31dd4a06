"""Both sockets of a connection carry the options that keep it quick and notice a dead peer."""

import socket

import pytest

from tests.support.borrow import congestion_control, connected_sockets
from tests.support.rig import Rig
from tests.support.sockets import LOOPBACK

TCP_USER_TIMEOUT = 18  # linux/tcp.h; the socket module has it only in part of its builds


@pytest.mark.parametrize("family", list(LOOPBACK))
def test_both_sides_have_nodelay_keepalive_and_a_user_timeout(rig: Rig, family: str) -> None:
    flags = ("--keepalive", "11s/7s/4", "--user-timeout", "23s")
    route = rig.route(*flags, host=LOOPBACK[family])
    route.pair()
    tcp = socket.IPPROTO_TCP
    with connected_sockets(route.proxy.pid) as sides:
        assert len(sides) == 2
        for side in sides:
            assert side.getsockopt(tcp, socket.TCP_NODELAY) == 1
            assert side.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert side.getsockopt(tcp, socket.TCP_KEEPIDLE) == 11
            assert side.getsockopt(tcp, socket.TCP_KEEPINTVL) == 7
            assert side.getsockopt(tcp, socket.TCP_KEEPCNT) == 4
            assert side.getsockopt(tcp, TCP_USER_TIMEOUT) == 23_000


def test_legs_that_stay_on_this_host_are_not_paced(rig: Rig) -> None:
    """Whatever the system's congestion control is: BBR's pacing has nothing to find there."""
    route = rig.route()
    route.pair()
    with connected_sockets(route.proxy.pid) as sides:
        assert [congestion_control(side) for side in sides] == ["reno", "reno"]
