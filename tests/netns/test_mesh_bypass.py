"""What must not go through a sidecar, and the calls that a pod makes to itself."""

from collections.abc import Iterator

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import DELIVERY, Mesh, Side, running
from tests.netns.stage import ADMIN_PORT, APP_PORT, PROXY_GID, PROXY_UID
from tests.support import control
from tests.support.rig import Pair
from tests.support.sockets import LOOPBACK, receive_exactly

pytestmark = pytest.mark.root


@pytest.fixture
def mesh(pods: Pods, family: str) -> Iterator[Mesh]:
    with running(pods, family) as made:
        yield made


@pytest.fixture
def mesh_of_each_backend(pods: Pods, family: str, backend: str) -> Iterator[Mesh]:
    with running(pods, family, "--backend", backend) as made:
        yield made


def speak(pair: Pair) -> None:
    """Whoever accepted it, this is one connection from end to end."""
    pair.downstream.sendall(b"hello")
    assert receive_exactly(pair.upstream, 5) == b"hello"


def source(pair: Pair) -> str:
    host: str = pair.upstream.getpeername()[0]
    return host


def call(mesh: Mesh, side: Side, host: str = "", **user: int) -> Pair:
    """Dial the app of `right` from `side`."""
    downstream = side.dial((host or mesh.right.host, APP_PORT), **user)
    pair = Pair(downstream, mesh.right.accept(mesh.app))
    speak(pair)
    return pair


def test_a_call_of_the_own_pod_reaches_the_app_untouched(mesh_of_each_backend: Mesh) -> None:
    mesh = mesh_of_each_backend
    assert source(call(mesh, mesh.right)) == mesh.right.host
    assert mesh.right.sidecar.opened() == {}


def test_a_call_over_localhost_reaches_the_app_untouched(mesh: Mesh) -> None:
    localhost = LOOPBACK[mesh.right.family]
    assert source(call(mesh, mesh.right, localhost)) == localhost
    assert mesh.right.sidecar.opened() == {}


def test_the_proxys_user_calling_its_own_pod_goes_through_inbound_once(
    mesh_of_each_backend: Mesh,
) -> None:
    mesh = mesh_of_each_backend
    pair = call(mesh, mesh.right, uid=PROXY_UID, gid=PROXY_GID)
    assert source(pair) == DELIVERY[mesh.right.family]
    assert mesh.right.sidecar.opened() == {"inbound": 1}


def test_the_proxys_user_reaches_another_pod_past_its_own_sidecar(
    mesh_of_each_backend: Mesh,
) -> None:
    mesh = mesh_of_each_backend
    call(mesh, mesh.left, uid=PROXY_UID, gid=PROXY_GID)
    assert mesh.left.sidecar.opened() == {}
    assert mesh.right.sidecar.opened() == {"inbound": 1}


def test_an_excluded_outbound_port_passes_the_downstreams_sidecar(pods: Pods, family: str) -> None:
    excluding = ("--outbound-exclude-ports", f"7000-7010,{APP_PORT}")
    with running(pods, family, *excluding) as mesh:
        call(mesh, mesh.left)
        assert mesh.left.sidecar.opened() == {}
        assert mesh.right.sidecar.opened() == {"inbound": 1}


def test_an_excluded_network_passes_the_downstreams_sidecar(pods: Pods, family: str) -> None:
    excluding = ("--outbound-exclude-cidrs", "10.71.0.0/16,fd71::/64")
    with running(pods, family, *excluding) as mesh:
        call(mesh, mesh.left)
        assert mesh.left.sidecar.opened() == {}
        assert mesh.right.sidecar.opened() == {"inbound": 1}


def test_an_excluded_inbound_port_passes_the_apps_sidecar(pods: Pods, family: str) -> None:
    excluding = ("--inbound-exclude-ports", str(APP_PORT))
    with running(pods, family, *excluding) as mesh:
        assert source(call(mesh, mesh.left)) == mesh.left.host
        assert mesh.left.sidecar.opened() == {"outbound": 1}
        assert mesh.right.sidecar.opened() == {}


def test_another_pod_scrapes_the_sidecar_without_its_inbound_side(pods: Pods) -> None:
    with running(pods, "ipv4") as mesh:  # the family of the admin server's default
        address = (mesh.right.host, ADMIN_PORT)
        status, text = mesh.left.pod.call(control.fetch, address, "/metrics")
        assert (status, "remora_build_info" in text) == (200, True)
        assert mesh.right.sidecar.opened() == {}
