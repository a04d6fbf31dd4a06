"""Services on redirected traffic: both sidecars call a destination by its configured name."""

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import Mesh, Sidecar, running
from tests.netns.stage import APP_PORT
from tests.support.http import Stream, request, response
from tests.support.sockets import receive_exactly, written
from tests.support.waiting import eventually

pytestmark = pytest.mark.root


def address_in(pods: Pods, family: str) -> str:
    return written((pods.right.addresses[family], APP_PORT))


def exchange(mesh: Mesh) -> None:
    downstream, upstream = (Stream(sock) for sock in mesh.pair())
    downstream.send(request("/item"))
    assert upstream.request().line == b"GET /item HTTP/1.1"
    upstream.send(response(b"here"))
    assert downstream.response().body == b"here"


def expect_one(sidecar: Sidecar, **labels: str) -> None:
    """Wait until one request has ended, which has these labels."""
    eventually("its end", lambda: sidecar.metrics()("response_total", **labels) == 1)
    assert sidecar.metrics()("request_total") == 1


def test_requests_are_counted_for_the_service_of_their_original_destination(
    pods: Pods, family: str
) -> None:
    flags = ("--service", f"shop/stock={address_in(pods, family)}")
    with running(pods, family, left_flags=flags, right_flags=flags) as mesh:
        exchange(mesh)
        for side, direction in ((mesh.left, "outbound"), (mesh.right, "inbound")):
            expect_one(side.sidecar, service="shop/stock", direction=direction)
            assert [row["service"] for row in side.sidecar.requests()] == ["shop/stock"]


def test_a_port_declared_opaque_is_not_looked_at_on_its_way(pods: Pods, family: str) -> None:
    flags = ("--opaque-ports", str(APP_PORT))
    with running(pods, family, left_flags=flags, right_flags=flags) as mesh:
        downstream, upstream = mesh.pair()
        downstream.sendall(b"GET ")
        assert receive_exactly(upstream, 4) == b"GET "
        downstream.close()
        upstream.close()
        for side in (mesh.left, mesh.right):
            row = side.sidecar.record()
            assert (row["protocol"], row["speaker"]) == ("opaque", "none")
            assert side.sidecar.metrics()("request_total") == 0
