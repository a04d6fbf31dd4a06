"""Bytes of no protocol, to services: spread, dialled elsewhere, limited, protected."""

import contextlib
import socket
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support import tls
from tests.support.http import request, response
from tests.support.mtls import MeshKit, check_talk
from tests.support.rig import Rig
from tests.support.services import EAGER, NEVER_OUT, Backend, Cluster, Try
from tests.support.sockets import (
    address_of,
    expect_refusal,
    expect_reset,
    expect_silence,
    receive_exactly,
    reset,
)
from tests.support.svids import GOOD, SHOP
from tests.support.tls import TlsEnd
from tests.support.traffic import Object
from tests.support.waiting import PATIENCE_S, eventually

OPAQUE: Final = ("--opaque-ports", "80")
ROUND: Final[Object] = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
kinds = pytest.mark.parametrize("flags", [OPAQUE, ()], ids=["opaque", "detected"])


def web(
    cluster: Cluster,
    count: int,
    *flags: str,
    full: tuple[int, ...] = (),
    policy: Object | None = None,
) -> Backend:
    said = {"outlierDetection": NEVER_OUT} | (policy or {})
    backend = cluster.service("web", count, full=full, policy=said, annotations=EAGER)
    cluster.start(*flags)
    return backend


def talk(cluster: Cluster, backend: Backend) -> tuple[socket.socket, Try]:
    """Open a connection and say a word each way."""
    down = cluster.connect().sock
    down.sendall(b"\x00up")
    up = backend.accept()
    assert up.exactly(3) == b"\x00up"
    up.send(b"\x00down")
    assert receive_exactly(down, 5) == b"\x00down"
    return down, up


@kinds
def test_connections_are_spread_over_endpoints(cluster: Cluster, flags: tuple[str, ...]) -> None:
    backend = web(cluster, 3, *flags, policy=ROUND)
    found = Counter(talk(cluster, backend)[1].number for _ in range(9))
    assert found == {0: 3, 1: 3, 2: 3}


@kinds
def test_an_endpoint_that_refuses_is_passed_over(cluster: Cluster, flags: tuple[str, ...]) -> None:
    backend = web(cluster, 3, *flags)
    backend.refuse(0)
    backend.refuse(2)
    for _ in range(6):
        assert talk(cluster, backend)[1].number == 1


@kinds
def test_an_endpoint_that_does_not_answer_is_passed_over(
    cluster: Cluster, flags: tuple[str, ...]
) -> None:
    pool = {"connectionPool": {"tcp": {"connectTimeout": "200ms"}}}
    backend = web(cluster, 2, *flags, full=(0,), policy=pool)
    for _ in range(4):
        down = cluster.connect().sock
        down.sendall(b"\x00up")
        up = backend.accept_at(1)
        assert up.exactly(3) == b"\x00up"


@kinds
def test_a_service_that_refuses_everywhere_resets(cluster: Cluster, flags: tuple[str, ...]) -> None:
    backend = web(cluster, 2, *flags)
    for number in range(2):
        backend.refuse(number)
    expect_refusal(cluster.doors["web"])
    cluster.proxy.wait_closed("connect_refused")


@kinds
def test_a_service_without_endpoints_resets(cluster: Cluster, flags: tuple[str, ...]) -> None:
    web(cluster, 0, *flags)
    expect_refusal(cluster.doors["web"])
    cluster.proxy.wait_closed("no_endpoint")


@kinds
def test_connections_above_the_most_are_reset_and_the_others_stay(
    cluster: Cluster, flags: tuple[str, ...]
) -> None:
    backend = web(cluster, 2, *flags, policy={"connectionPool": {"tcp": {"maxConnections": 2}}})
    first, second = talk(cluster, backend), talk(cluster, backend)
    for _ in range(2):
        expect_refusal(cluster.doors["web"])
    assert cluster.event("overflow_connections") >= 2
    first[0].close()
    first[1].expect_end()
    first[1].sock.close()
    eventually("its end", lambda: cluster.proxy.live()["connections"] == 1)
    third = talk(cluster, backend)
    for down, up in (second, third):
        down.sendall(b"\x01")
        assert up.exactly(1) == b"\x01"


@kinds
def test_a_source_sticks_to_its_endpoint(cluster: Cluster, flags: tuple[str, ...]) -> None:
    sticky = {"loadBalancer": {"consistentHash": {"useSourceIp": True}}}
    backend = web(cluster, 4, *flags, policy=sticky)
    chosen: dict[str, set[int]] = {}
    for number in range(36):
        source = f"127.3.0.{number % 12 + 1}"
        down = socket.socket()
        down.settimeout(PATIENCE_S)
        down.bind((source, 0))
        down.connect(cluster.doors["web"])
        cluster.rig.keep(down).sendall(b"\x00")
        up = backend.accept()
        assert up.exactly(1) == b"\x00"
        chosen.setdefault(source, set()).add(up.number)
    assert all(len(each) == 1 for each in chosen.values())
    assert len(set.union(*chosen.values())) > 1


def test_an_upstream_that_speaks_first_is_heard(cluster: Cluster) -> None:
    backend = web(cluster, 2)
    for _ in range(4):
        down = cluster.connect().sock
        up = backend.accept()
        up.send(b"220 mail\r\n")
        assert receive_exactly(down, 10) == b"220 mail\r\n"
        down.sendall(b"EHLO\r\n")
        assert up.exactly(6) == b"EHLO\r\n"


def test_relays_have_the_idle_time_of_their_service(cluster: Cluster) -> None:
    pool = {"connectionPool": {"tcp": {"idleTimeout": "300ms"}}}
    backend = web(cluster, 1, *OPAQUE, policy=pool)
    down, _ = talk(cluster, backend)
    expect_silence(down, 0.1)
    expect_reset(down)
    cluster.proxy.wait_closed("idle_timeout")


def test_endpoints_that_leave_keep_their_connections(cluster: Cluster) -> None:
    backend = web(cluster, 2, *OPAQUE, policy=ROUND)
    pairs = [talk(cluster, backend) for _ in range(4)]
    cluster.change("web", "gone", "ready")
    for down, up in pairs:
        down.sendall(b"\x05still")
        assert up.exactly(6) == b"\x05still"
    for _ in range(4):
        assert talk(cluster, backend)[1].number == 1


def test_connections_that_fail_are_counted_no_longer(cluster: Cluster) -> None:
    """Least requests: an endpoint whose connections were reset is as free as before."""
    least = {"loadBalancer": {"simple": "LEAST_REQUEST"}}
    backend = web(cluster, 2, *OPAQUE, policy=least)
    for _ in range(12):
        down, up = talk(cluster, backend)
        reset(up.sock)
        expect_reset(down)
    found = Counter(talk(cluster, backend)[1].number for _ in range(8))
    assert found == {0: 4, 1: 4}


# ---- the mesh -----------------------------------------------------------------------------------


def pod(name: str, ip: str, account: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "serviceAccountName": account,
            "containers": [{"name": "app"}, {"name": "remora-proxy"}],
        },
        "status": {"podIP": ip},
    }


ACCOUNTS: Final = ("web", "other")


def meshed(cluster: Cluster, kit: MeshKit, *flags: str, count: int = 2) -> Backend:
    """A service whose endpoints are pods in the mesh, each with an account of its own."""
    backend = cluster.service("web", count, policy={"outlierDetection": NEVER_OUT} | ROUND)
    for number, listener in enumerate(backend.listeners[:2]):
        cluster.add(pod(f"web-{number}", address_of(listener)[0], ACCOUNTS[number]))
    cluster.start("--identity", str(kit.directory(SHOP)), *flags)
    return backend


def shaken(kit: MeshKit, up: Try, account: str) -> TlsEnd:
    uri = f"spiffe://cluster.local/ns/shop/sa/{account}"
    svid = kit.svid(GOOD.but(uris=(uri,)))
    return TlsEnd(up.sock, tls.context(svid), is_server=True).shake()


@kinds
def test_each_endpoint_is_met_with_the_identity_of_its_pod(
    rig: Rig, kit: MeshKit, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    cluster = Cluster(rig, folder)
    backend = meshed(cluster, kit, *flags)
    seen = set()
    for _ in range(4):
        down = cluster.connect().sock
        up = backend.accept()
        check_talk(shaken(kit, up, ACCOUNTS[up.number]), down)
        seen.add(up.number)
    assert seen == {0, 1}


def test_an_endpoint_that_is_somebody_else_gets_no_byte(
    rig: Rig, kit: MeshKit, tmp_path: Path
) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    cluster = Cluster(rig, folder)
    backend = meshed(cluster, kit, *OPAQUE, count=1)
    down = cluster.connect().sock
    down.sendall(b"\x00secret")
    svid = kit.svid(GOOD.but(uris=("spiffe://cluster.local/ns/shop/sa/thief",)))
    for _ in range(3):  # it is dialled again: nobody has heard a byte
        thief = TlsEnd(backend.accept().sock, tls.context(svid), is_server=True)
        with pytest.raises((tls.TlsRefused, ConnectionError)):
            thief.shake().recv()
    expect_reset(down)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_requests_are_repeated_over_mesh_tls_byte_for_byte(
    rig: Rig, kit: MeshKit, tmp_path: Path, method: str
) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    cluster = Cluster(rig, folder)
    backend = meshed(cluster, kit, "--no-http-request-ids")
    text = request("/put", method=method, body=b"b" * 40_000)
    down = cluster.connect()
    down.send(text)
    first = backend.accept()
    end = shaken(kit, first, ACCOUNTS[first.number])
    assert end.exactly(len(text)) == text
    reset(first.sock)
    if method == "POST":
        assert down.response().get(b"remora-error") == b"upstream_closed"
        return
    second = backend.accept(but=[first.number])
    end = shaken(kit, second, ACCOUNTS[second.number])
    head, _, body = text.partition(b"\r\n\r\n")
    wanted = head + b"\r\nremora-attempt-count: 2\r\n\r\n" + body
    assert end.exactly(len(wanted)) == wanted
    end.sendall(response(b"ok"))
    assert down.response().body == b"ok"


def test_requests_are_counted_by_what_carries_them(rig: Rig, kit: MeshKit, tmp_path: Path) -> None:
    """One endpoint is in the mesh, the other is not: on the same connection of the downstream."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    cluster = Cluster(rig, folder)
    backend = cluster.service("web", 2, policy={"outlierDetection": NEVER_OUT} | ROUND)
    cluster.add(pod("web-0", address_of(backend.listeners[0])[0], "web"))
    cluster.start("--identity", str(kit.directory(SHOP)))
    down = cluster.connect()
    for _ in range(4):
        down.send(request("/"))
        up = backend.accept()
        if up.number == 0:
            end = shaken(kit, up, "web")
            assert end.exactly(16) == b"GET / HTTP/1.1\r\n"
            end.sendall(response(b"ok", "Connection: close"))
        else:
            up.request()
            up.send(response(b"ok", "Connection: close"))
        assert down.response().body == b"ok"
    metrics = cluster.proxy.metrics()
    assert [metrics("request_total", tls=word) for word in ("true", "false")] == [2, 2]


def test_destinations_of_no_service_have_a_limit_of_their_own(rig: Rig) -> None:
    route = rig.route("--unknown-connections-max", "2")
    first, second = route.pairs(2)
    with contextlib.suppress(ConnectionResetError):  # it may come before connect() is back
        expect_reset(route.connect())
    route.proxy.wait_closed("limit_upstream")
    first.downstream.sendall(b"\x00still here")
    assert first.upstream.recv(100) == b"\x00still here"
    second.downstream.close()
    assert second.upstream.recv(1) == b""
    second.upstream.close()
    eventually("its place is free", lambda: route.proxy.closed("ok") == 1)
    assert route.pair().downstream
