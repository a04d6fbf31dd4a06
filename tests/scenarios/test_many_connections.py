"""Two thousand connections are open at the same time, and each is served."""

import random

from tests.support.crowd import echo_until_closed
from tests.support.rig import Rig
from tests.support.sockets import receive_exactly
from tests.support.waiting import eventually

COUNT = 2000


def test_two_thousand_connections_at_once_all_echo(rig: Rig) -> None:
    route = rig.route()
    rig.background(echo_until_closed, route.upstream)
    downstreams = [route.connect() for _ in range(COUNT)]
    order = random.Random(2).sample(range(COUNT), COUNT)  # noqa: S311 - not a secret
    for number in order:
        downstreams[number].sendall(number.to_bytes(4))
    for number, sock in enumerate(downstreams):
        assert receive_exactly(sock, 4) == number.to_bytes(4)
    assert route.proxy.live()["connections"] == COUNT
    for sock in downstreams:
        sock.close()
    eventually("all to be closed", lambda: route.proxy.live()["connections"] == 0)
    assert route.proxy.closed("ok") == COUNT


def test_two_thousand_that_arrive_in_one_burst_are_all_accepted(rig: Rig) -> None:
    """They wait in the backlog while the proxy is held: somaxconn decides, not a small number."""
    route = rig.route()
    rig.background(echo_until_closed, route.upstream)
    with route.proxy.held():
        downstreams = [route.connect() for _ in range(COUNT)]
        for sock in downstreams:
            sock.sendall(b"!")
    for sock in downstreams:
        assert receive_exactly(sock, 1) == b"!"
