"""IPv4 in the clothes of IPv6: an app that dials a mapped address, a listener that takes both."""

import select
import socket
from collections.abc import Iterator

import pytest

from proxy._fastpath import DIRECTIONS, Engine, Snapshot
from tests.netns.harness import Pods
from tests.netns.mesh import EVERY, Mesh, running
from tests.netns.stage import (
    APP_GID,
    APP_PORT,
    APP_UID,
    OUTBOUND_PORT,
    PROXY_GID,
    PROXY_UID,
)
from tests.support.sockets import accepted, receive_exactly
from tests.support.stepper import SETTINGS, TICKS_MAX

pytestmark = pytest.mark.root


@pytest.fixture
def mesh(pods: Pods) -> Iterator[Mesh]:
    with running(pods, "ipv4") as made:
        yield made


def test_an_app_that_dials_a_mapped_address_is_redirected_as_ipv4(mesh: Mesh) -> None:
    downstream = mesh.left.dial((f"::ffff:{mesh.right.host}", APP_PORT))
    upstream = mesh.right.accept(mesh.app)
    downstream.sendall(b"mapped")
    assert receive_exactly(upstream, 6) == b"mapped"
    downstream.close()
    upstream.close()
    row = mesh.left.sidecar.record()
    assert (row["direction"], row["original_dst"]) == ("outbound", mesh.destination())


def test_a_listener_of_both_families_finds_the_destination_of_each(pods: Pods, family: str) -> None:
    """The proxy itself has a listener for each family; its workers must not depend on that."""
    address = (pods.right.addresses[family], APP_PORT)
    pods.left.init(check=True)
    app = pods.right.listen(EVERY[family], APP_PORT)
    engine = Engine(1, 16)
    try:
        engine.publish(Snapshot(1, SETTINGS, []))
        listener = pods.left.call(listener_of_both_families)
        engine.listen(0, listener.detach(), DIRECTIONS.index("outbound"), -1, 1)
        pods.left.connect(address, uid=APP_UID, gid=APP_GID)
        # As the proxy's user: what the worker dials must not be redirected again.
        pods.left.call_as(PROXY_UID, PROXY_GID, lambda: tick_until_readable(engine, app))
        accepted(app).close()
        engine.request_connections(10)
        engine.tick(0, 0)
        rows = engine.take_connections()
        assert rows
        assert [row.original_dst for row in rows] == [row.upstream for row in rows] == [address]
    finally:
        engine.stop()


def listener_of_both_families() -> socket.socket:
    sock = socket.socket(socket.AF_INET6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", OUTBOUND_PORT))
    sock.listen()
    sock.setblocking(False)  # noqa: FBT003 - the name of the standard library
    return sock


def tick_until_readable(engine: Engine, app: socket.socket) -> None:
    for _ in range(TICKS_MAX):
        if select.select([app], [], [], 0)[0]:
            return
        engine.tick(0, 10)
    raise AssertionError("nobody dialled the app")
