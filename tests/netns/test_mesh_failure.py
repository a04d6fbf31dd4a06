"""A dead sidecar lets nothing through, and a destination that does not answer has a name."""

import select
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import Mesh, running
from tests.support.sockets import receive_exactly
from tests.support.waiting import eventually

pytestmark = pytest.mark.root

# Routed by `left` to `right`, which has no such address. Set aside for documentation.
NOWHERE = {"ipv4": "203.0.113.9", "ipv6": "2001:db8:113::9"}


@pytest.fixture
def mesh(pods: Pods, family: str) -> Iterator[Mesh]:
    with running(pods, family) as made:
        yield made


@pytest.fixture
def mesh_of_each_backend(pods: Pods, family: str, backend: str) -> Iterator[Mesh]:
    with running(pods, family, "--backend", backend) as made:
        yield made


@contextmanager
def beyond_a_router(pods: Pods, family: str, *left_flags: str) -> Iterator[Mesh]:
    """`right` only forwards, and has a sidecar that nothing reaches."""
    with running(pods, family, left_flags=left_flags) as made:
        made.right.pod.init("--cleanup", check=True)
        made.right.pod.sysctl("net/ipv4/ip_forward", "1")
        made.right.pod.sysctl("net/ipv6/conf/all/forwarding", "1")
        yield made


def expect_nobody_at_the_app(mesh: Mesh) -> None:
    assert not select.select([mesh.app], [], [], 0)[0]


def test_nothing_leaves_a_pod_whose_sidecar_was_killed(
    mesh_of_each_backend: Mesh,
) -> None:
    mesh = mesh_of_each_backend
    mesh.left.sidecar.kill()
    with pytest.raises(ConnectionRefusedError):
        mesh.left.dial(mesh.address)
    expect_nobody_at_the_app(mesh)
    assert mesh.right.sidecar.opened() == {}


def test_nothing_enters_a_pod_whose_sidecar_was_killed(
    mesh_of_each_backend: Mesh,
) -> None:
    mesh = mesh_of_each_backend
    mesh.right.sidecar.kill()
    mesh.left.expect_refusal(mesh.address)
    assert mesh.left.sidecar.record()["reason"] == "connect_refused"
    expect_nobody_at_the_app(mesh)


@pytest.mark.parametrize("end", ["left", "right"])
def test_a_sidecar_that_was_killed_is_replaced(mesh: Mesh, end: str) -> None:
    side = {"left": mesh.left, "right": mesh.right}[end]
    mesh.pair()
    side.sidecar.kill()
    side.launch().wait_ready()
    downstream, upstream = mesh.pair()
    downstream.sendall(b"back again")
    assert receive_exactly(upstream, 10) == b"back again"


def test_an_app_that_does_not_listen_is_named_by_its_own_sidecar(mesh: Mesh) -> None:
    mesh.app.close()
    mesh.left.expect_refusal(mesh.address)
    assert mesh.right.sidecar.record()["reason"] == "connect_refused"
    assert mesh.left.sidecar.record()["reason"] == "upstream_reset"


@pytest.mark.parametrize(("family", "times"), [("ipv4", 5), ("ipv6", 1)])
def test_an_address_without_a_route_is_measured_as_unreachable(
    pods: Pods, family: str, times: int
) -> None:
    """The router's word (ICMP) comes while the dial still holds the socket, or after that.

    The kernel treats the two differently, and for IPv6 it waits for a second word, one second.
    """
    with beyond_a_router(pods, family) as mesh:
        mesh.right.pod.sysctl("net/ipv4/icmp_ratelimit", "0")
        mesh.right.pod.run(["ip", "route", "add", "unreachable", NOWHERE[family]])
        for _ in range(times):
            mesh.left.expect_refusal((NOWHERE[family], 80))
        records = mesh.left.sidecar.records
        eventually("a record of each", lambda: len(records()) == times)
        assert {row["reason"] for row in records()} == {"connect_unreachable"}


def test_an_address_that_does_not_answer_is_measured_as_a_timeout(pods: Pods, family: str) -> None:
    with beyond_a_router(pods, family, "--connect-timeout", "300ms") as mesh:
        mesh.right.pod.run(["ip", "route", "add", "blackhole", NOWHERE[family]])
        mesh.left.expect_refusal((NOWHERE[family], 80))
        row = mesh.left.sidecar.record()
        assert (row["reason"], row["connect_ms"]) == ("connect_timeout", None)
        assert row["duration_ms"] > 290


def test_a_port_that_refuses_is_measured_as_refused(pods: Pods, family: str) -> None:
    with beyond_a_router(pods, family) as mesh:
        mesh.left.expect_refusal((mesh.right.host, 9))
        assert mesh.left.sidecar.record()["reason"] == "connect_refused"
