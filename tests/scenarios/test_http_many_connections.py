"""Ten thousand keep-alive connections: one connection to the upstream, and little memory."""

import resource
from collections.abc import Callable

import pytest

from tests.support.bystander import Stand
from tests.support.http import Stream, request, response
from tests.support.rig import Rig
from tests.support.sockets import expect_refusal, receive_exactly
from tests.support.transfers import MIB

COUNT = 10_000
# Of the test's own and the proxy's, beside a socket for each connection.
OTHER_FILES = 500
ANSWER = response(b"ok")
# Of our own memory; the kernel's for sockets is not ours to count.
BYTES_EACH = 1_500
# How often the bystander asks meanwhile.
EVERY = 100


def allowed_count(rig: Rig) -> int:
    """Return how many connections the limit of open files lets us have, raised if we may."""
    return min(COUNT, rig.allow_open_files(COUNT + OTHER_FILES) - OTHER_FILES)


@pytest.mark.slow
def test_ten_thousand_idle_keep_alive_connections_share_one_upstream_connection(
    rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    count = allowed_count(rig)
    stand = Stand(rig, "--connections-max", str(count + 1))
    downstreams = []
    up = None
    for number in range(count):
        sock = stand.route.connect()
        downstreams.append(sock)
        sock.sendall(request("/"))
        up = up or Stream(stand.route.accept())
        up.request()
        up.send(ANSWER)
        assert receive_exactly(sock, len(ANSWER)) == ANSWER
        if number % EVERY == 0:
            stand.round()
    live = stand.proxy.live()
    assert (live["connections"], live["upstreams"]) == (count + 1, 2)
    assert (live["buffers"], live["pipes"], live["exchanges"]) == (0, 0, 0)
    expect_refusal(stand.route.address)
    assert stand.proxy.metrics()("remora_events_total", event="limit_connections") == 1
    assert up is not None
    for sock in (downstreams[0], downstreams[-1]):
        sock.sendall(request("/again"))
        assert up.request().line == b"GET /again HTTP/1.1"
        up.send(ANSWER)
        assert receive_exactly(sock, len(ANSWER)) == ANSWER
    stand.check(count * BYTES_EACH + 4 * MIB, record_property)
    if count < COUNT:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        pytest.skip(f"all of it held for {count} connections only: at most {limit} open files")
