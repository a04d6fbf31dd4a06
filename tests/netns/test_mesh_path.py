"""From an app in one pod to an app in another, through both sidecars, and both measure it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import DELIVERY, Mesh, running
from tests.netns.stage import APP_PORT
from tests.support.borrow import congestion_control, connected_sockets
from tests.support.sockets import expect_end, expect_reset, receive_exactly, reset
from tests.support.transfers import MIB, Payload, receive_all, send_all

pytestmark = pytest.mark.root


@pytest.fixture
def mesh(pods: Pods, family: str) -> Iterator[Mesh]:
    with running(pods, family) as made:
        yield made


@pytest.fixture
def mesh_of_each_backend(pods: Pods, family: str, backend: str) -> Iterator[Mesh]:
    with running(pods, family, "--backend", backend) as made:
        yield made


def converse(mesh: Mesh) -> None:
    """Four bytes there, five bytes back, and an orderly end from both."""
    downstream, upstream = mesh.pair()
    downstream.sendall(b"ping")
    assert receive_exactly(upstream, 4) == b"ping"
    upstream.sendall(b"pong!")
    assert receive_exactly(downstream, 5) == b"pong!"
    downstream.close()
    expect_end(upstream)
    upstream.close()


def test_both_sidecars_tell_the_same_story_of_a_connection(mesh_of_each_backend: Mesh) -> None:
    mesh = mesh_of_each_backend
    converse(mesh)
    for side, direction in ((mesh.left, "outbound"), (mesh.right, "inbound")):
        row = side.sidecar.record()
        assert (row["direction"], row["reason"]) == (direction, "ok")
        assert row["original_dst"] == row["upstream"] == mesh.destination()
        assert row["downstream"].rpartition(":")[0].strip("[]") == mesh.left.host
        assert (row["received_bytes"], row["sent_bytes"]) == (4, 5)
        assert row["connect_ms"] >= 0
        assert side.sidecar.opened() == {direction: 1}


def test_both_sidecars_count_the_bytes_and_the_latency(mesh: Mesh) -> None:
    converse(mesh)
    for side, direction in ((mesh.left, "outbound"), (mesh.right, "inbound")):
        side.sidecar.record()
        metrics = side.sidecar.metrics()
        assert metrics("tcp_open_total", direction=direction) == 1
        assert metrics("tcp_close_total", direction=direction, reason="ok") == 1
        assert metrics("tcp_read_bytes_total", direction=direction, peer="src") == 4
        assert metrics("tcp_read_bytes_total", direction=direction, peer="dst") == 5
        assert metrics("tcp_write_bytes_total", direction=direction, peer="src") == 5
        assert metrics("tcp_write_bytes_total", direction=direction, peer="dst") == 4
        assert metrics("remora_connect_duration_seconds_count", direction=direction) == 1
        assert metrics("remora_connection_duration_seconds_count", direction=direction) == 1


def test_an_app_that_speaks_first_is_heard_before_anything_is_said(
    mesh_of_each_backend: Mesh,
) -> None:
    mesh = mesh_of_each_backend
    downstream, upstream = mesh.pair()
    upstream.sendall(b"220 ready\r\n")
    assert receive_exactly(downstream, 11) == b"220 ready\r\n"
    downstream.close()
    upstream.close()
    for side in (mesh.left, mesh.right):
        assert side.sidecar.record()["speaker"] == "upstream"


def test_the_app_is_dialled_from_the_address_that_the_rules_know(mesh: Mesh) -> None:
    assert mesh.pair().upstream.getpeername()[0] == DELIVERY[mesh.left.family]


def test_the_app_is_dialled_at_the_address_that_the_downstream_meant(mesh: Mesh) -> None:
    assert mesh.pair().upstream.getsockname()[:2] == mesh.address


def test_bytes_both_ways_at_once_arrive_whole(mesh: Mesh) -> None:
    downstream, upstream = mesh.pair()
    there, back = Payload(1, 16 * MIB), Payload(2, 16 * MIB)
    for sock, payload in ((downstream, there), (upstream, back)):
        mesh.background(send_all, sock, payload)
    arriving = mesh.background(receive_all, upstream)
    assert receive_all(downstream) == back.digest()
    assert arriving.result() == there.digest()
    for side in (mesh.left, mesh.right):
        row = side.sidecar.record()
        assert (row["received_bytes"], row["sent_bytes"]) == (there.size, back.size)


def test_an_end_of_stream_passes_and_the_other_direction_goes_on(mesh: Mesh) -> None:
    downstream, upstream = mesh.pair()
    send_all(downstream, Payload(3, 100))
    assert receive_all(upstream).size == 100
    upstream.sendall(b"and now the answer")
    assert receive_exactly(downstream, 18) == b"and now the answer"


def test_a_reset_of_the_downstream_is_a_reset_for_the_app(mesh: Mesh) -> None:
    downstream, upstream = mesh.pair()
    reset(downstream)
    expect_reset(upstream)
    assert mesh.left.sidecar.record()["reason"] == "downstream_reset"
    assert mesh.right.sidecar.record()["reason"] == "downstream_reset"


def test_a_reset_of_the_app_is_a_reset_for_the_downstream(mesh: Mesh) -> None:
    downstream, upstream = mesh.pair()
    upstream.sendall(b"hello")
    assert receive_exactly(downstream, 5) == b"hello"
    reset(upstream)
    expect_reset(downstream)
    assert mesh.left.sidecar.record()["reason"] == "upstream_reset"
    assert mesh.right.sidecar.record()["reason"] == "upstream_reset"


def test_a_hundred_connections_at_once_keep_apart(mesh: Mesh) -> None:
    downstreams = [mesh.left.dial(mesh.address) for _ in range(100)]
    for number, downstream in enumerate(downstreams):
        downstream.sendall(number.to_bytes(2))
    for _ in downstreams:
        upstream = mesh.right.accept(mesh.app)
        upstream.sendall(receive_exactly(upstream, 2))
    for number, downstream in enumerate(downstreams):
        assert receive_exactly(downstream, 2) == number.to_bytes(2)
    assert [side.sidecar.live()["connections"] for side in (mesh.left, mesh.right)] == [100, 100]


def test_only_the_leg_between_the_pods_keeps_the_congestion_control_of_the_system(
    mesh: Mesh,
) -> None:
    system = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    mesh.pair()
    for side, local in ((mesh.left, "downstream"), (mesh.right, "upstream")):
        with connected_sockets(side.sidecar.pid) as sockets:
            controls = {
                "upstream"
                if sock.getpeername()[1] == APP_PORT
                else "downstream": congestion_control(sock)
                for sock in sockets
            }
        network = "upstream" if local == "downstream" else "downstream"
        assert controls == {local: "reno", network: system}
