"""`remora init` again, in a pod that lives on: nobody's traffic notices.

Kubernetes runs init containers again in a living network namespace (RestartAllContainers).
"""

import json
from collections.abc import Iterator

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import Mesh, running
from tests.support.sockets import receive_exactly
from tests.support.transfers import MIB, Payload, receive_all, send_all

pytestmark = pytest.mark.root


@pytest.fixture
def mesh(pods: Pods, backend: str) -> Iterator[Mesh]:
    with running(pods, "ipv4", "--backend", backend) as made:
        yield made


def init_again(mesh: Mesh, backend: str) -> None:
    for side in (mesh.left, mesh.right):
        done = side.pod.init("--backend", backend, "--json", check=True)
        assert json.loads(done.stdout)["result"] == "unchanged"


def test_a_transfer_under_way_goes_on(mesh: Mesh, backend: str) -> None:
    downstream, upstream = mesh.pair()
    payload = Payload(11, 16 * MIB)
    sent = mesh.background(send_all, upstream, payload)
    first = receive_exactly(downstream, MIB)
    init_again(mesh, backend)
    rest = receive_all(downstream)
    assert (sent.result(), len(first) + rest.size) == (None, payload.size)


def test_new_connections_go_through_both_sidecars_as_before(mesh: Mesh, backend: str) -> None:
    init_again(mesh, backend)
    downstream, upstream = mesh.pair()
    downstream.sendall(b"as ever")
    assert receive_exactly(upstream, 7) == b"as ever"
    assert mesh.left.sidecar.opened() == {"outbound": 1}
    assert mesh.right.sidecar.opened() == {"inbound": 1}


def test_init_picks_the_backend_in_use_by_itself(mesh: Mesh) -> None:
    init_again(mesh, "auto")
