"""SIGTERM in a pod with traffic: what is under way is finished, and the other pods are told."""

import signal
from collections.abc import Iterator

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import Mesh, running
from tests.support.rig import Pair
from tests.support.sockets import expect_end, receive_exactly
from tests.support.transfers import MIB, Payload, receive_all, send_all
from tests.support.waiting import eventually

pytestmark = pytest.mark.root


@pytest.fixture
def mesh(pods: Pods, family: str) -> Iterator[Mesh]:
    with running(pods, family) as made:
        yield made


def drain(mesh: Mesh, end: str) -> None:
    """Tell that side's sidecar to end, and wait until it takes nothing inbound any more."""
    sidecar = {"left": mesh.left, "right": mesh.right}[end].sidecar
    inbound = len(sidecar.listeners("inbound"))
    listeners = sidecar.live()["listeners"]
    sidecar.signal(signal.SIGTERM)
    eventually("inbound to be closed", lambda: sidecar.live()["listeners"] == listeners - inbound)


def speak(pair: Pair) -> None:
    pair.downstream.sendall(b"still here")
    assert receive_exactly(pair.upstream, 10) == b"still here"


def finish(pair: Pair) -> None:
    """Both ends say an orderly goodbye."""
    pair.downstream.close()
    expect_end(pair.upstream)
    pair.upstream.close()


def test_a_transfer_under_way_arrives_whole(mesh: Mesh) -> None:
    downstream, upstream = mesh.pair()
    payload = Payload(7, 32 * MIB)
    sent = mesh.background(send_all, upstream, payload)
    first = receive_exactly(downstream, MIB)
    drain(mesh, "right")
    rest = receive_all(downstream)
    assert (sent.result(), len(first) + rest.size) == (None, payload.size)
    finish(Pair(downstream, upstream))
    assert mesh.right.sidecar.wait_exit() == 0


def test_a_new_inbound_connection_is_refused_and_named(mesh: Mesh) -> None:
    pair = mesh.pair()
    drain(mesh, "right")
    mesh.left.expect_refusal(mesh.address)
    assert mesh.left.sidecar.record()["reason"] == "connect_refused"
    finish(pair)
    assert mesh.right.sidecar.wait_exit() == 0


def test_readiness_is_withdrawn_while_connections_go_on(mesh: Mesh) -> None:
    pair = mesh.pair()
    assert mesh.right.sidecar.readiness()[0] == 200
    drain(mesh, "right")
    assert mesh.right.sidecar.readiness()[0] == 503
    speak(pair)
    finish(pair)
    assert mesh.right.sidecar.wait_exit() == 0


def test_apps_may_still_dial_out_while_their_sidecar_drains(mesh: Mesh) -> None:
    """The request that is being finished may need a database."""
    first = mesh.pair()
    drain(mesh, "left")
    second = mesh.pair()
    speak(second)
    finish(first)
    speak(second)
    finish(second)
    assert mesh.left.sidecar.wait_exit() == 0


def test_the_replacement_takes_over_the_ports(mesh: Mesh) -> None:
    pair = mesh.pair()
    drain(mesh, "right")
    finish(pair)
    assert mesh.right.sidecar.wait_exit() == 0
    mesh.right.launch().wait_ready()
    speak(mesh.pair())
