"""Ten thousand keep-alive connections: one connection to the upstream, and little memory."""

import pytest

from tests.support.http import request, response, talk_once
from tests.support.memory import allowance
from tests.support.rig import Rig
from tests.support.sockets import receive_exactly
from tests.support.transfers import MIB

COUNT = 10_000
ANSWER = response(b"ok")
# Of our own memory; the kernel's for sockets is not ours to count.
BYTES_EACH = 1_500


@pytest.mark.slow
def test_ten_thousand_idle_keep_alive_connections_share_one_upstream_connection(rig: Rig) -> None:
    route = rig.route("--connections-max", "12000", "--http-pool-idle-timeout", "1h")
    talk, up = talk_once(route)
    before = route.proxy.private_bytes()
    downstreams = []
    for _ in range(COUNT):
        sock = route.connect()
        downstreams.append(sock)
        sock.sendall(request("/"))
        up.request()
        up.send(ANSWER)
        assert receive_exactly(sock, len(ANSWER)) == ANSWER
    live = route.proxy.live()
    assert (live["connections"], live["upstreams"]) == (COUNT + 1, 1)
    assert (live["buffers"], live["pipes"], live["exchanges"]) == (0, 0, 0)
    assert route.proxy.private_bytes() - before < allowance(COUNT * BYTES_EACH + 4 * MIB)
    _, answered = talk.exchange(up, request("/last"), response(b"last"))
    assert answered.body == b"last"
