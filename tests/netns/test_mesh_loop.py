"""A connection made to the sidecar's own ports is refused, counted, and never comes back to it."""

from collections.abc import Iterator

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import Mesh, Sidecar, running
from tests.netns.stage import INBOUND_PORT, OUTBOUND_PORT, PROXY_GID, PROXY_UID
from tests.support.sockets import LOOPBACK
from tests.support.waiting import eventually

pytestmark = pytest.mark.root

TIMES = 5
REASONS = {"loop", "no_original_dst"}


@pytest.fixture
def mesh(pods: Pods, family: str) -> Iterator[Mesh]:
    with running(pods, family) as made:
        yield made


def expect_counted(sidecar: Sidecar, direction: str) -> None:
    """Each attempt was taken in once and refused as what it is; there was nothing else."""

    def all_refused() -> bool:
        return len(sidecar.records()) == TIMES

    eventually(f"{TIMES} refusals", all_refused)
    assert {row["reason"] for row in sidecar.records()} <= REASONS
    assert sidecar.opened() == {direction: TIMES}


def test_another_pods_proxy_user_at_the_inbound_port(mesh: Mesh) -> None:
    for _ in range(TIMES):
        address = (mesh.right.host, INBOUND_PORT)
        mesh.left.expect_refusal(address, uid=PROXY_UID, gid=PROXY_GID)
    expect_counted(mesh.right.sidecar, "inbound")


def test_another_pods_app_at_the_inbound_port(mesh: Mesh) -> None:
    for _ in range(TIMES):
        mesh.left.expect_refusal((mesh.right.host, INBOUND_PORT))
    expect_counted(mesh.right.sidecar, "inbound")


def test_the_own_app_at_the_inbound_port(mesh: Mesh) -> None:
    for _ in range(TIMES):
        mesh.right.expect_refusal((mesh.right.host, INBOUND_PORT))
    expect_counted(mesh.right.sidecar, "inbound")


def test_the_own_app_at_the_inbound_port_over_localhost(mesh: Mesh) -> None:
    for _ in range(TIMES):
        mesh.right.expect_refusal((LOOPBACK[mesh.right.family], INBOUND_PORT))
    expect_counted(mesh.right.sidecar, "inbound")


def test_the_own_app_at_the_outbound_port(mesh: Mesh) -> None:
    for _ in range(TIMES):
        mesh.left.expect_refusal((LOOPBACK[mesh.left.family], OUTBOUND_PORT))
    expect_counted(mesh.left.sidecar, "outbound")


def test_the_proxys_user_at_the_outbound_port(mesh: Mesh) -> None:
    for _ in range(TIMES):
        address = (LOOPBACK[mesh.left.family], OUTBOUND_PORT)
        mesh.left.expect_refusal(address, uid=PROXY_UID, gid=PROXY_GID)
    expect_counted(mesh.left.sidecar, "outbound")


def test_another_pod_at_the_outbound_port_goes_to_an_app_and_finds_none(mesh: Mesh) -> None:
    """It listens on loopback only, and what comes from outside is the inbound side's business."""
    mesh.left.expect_refusal((mesh.right.host, OUTBOUND_PORT), uid=PROXY_UID, gid=PROXY_GID)
    assert mesh.right.sidecar.record()["direction"] == "inbound"
    assert mesh.right.sidecar.opened() == {"inbound": 1}


def test_after_all_that_traffic_passes(mesh: Mesh) -> None:
    for _ in range(TIMES):
        mesh.left.expect_refusal((mesh.right.host, INBOUND_PORT))
        mesh.left.expect_refusal((LOOPBACK[mesh.left.family], OUTBOUND_PORT))
    assert mesh.pair().upstream.getsockname()[:2] == mesh.address
