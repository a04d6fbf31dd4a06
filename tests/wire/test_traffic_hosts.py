"""--listen-hosts: one port in front of every Service, and Host says which."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.http import Message, Stream, request, response
from tests.support.rig import Rig
from tests.support.services import PORT, Cluster
from tests.support.traffic import route, rule, service, to

Connect = Callable[[], Stream]


@pytest.fixture
def services(rig: Rig, tmp_path: Path) -> Cluster:
    """Two Services and a headless one, with an endpoint each."""
    cluster = Cluster(rig, tmp_path)
    for name in ("web", "cart", "db"):
        cluster.service(name, 1)
    db = service("db", "None", ports=(PORT,))
    cluster.objects = [each for each in cluster.objects if each["metadata"]["name"] != "db"]
    cluster.add(db, route("r", rule(to("cart"), path="/cart"), rule(to("web"), path="/")))
    cluster.write()
    return cluster


@pytest.fixture
def connect(rig: Rig, services: Cluster) -> Connect:
    where = ("--manifests", str(services.manifests.directory), "--namespace", "shop")
    proxy = rig.start("--no-interception", "--listen-hosts", "127.0.0.1:0", *where)
    (door,) = proxy.listeners("explicit")
    return lambda: Stream(rig.connect(door))


def to_host(host: str, path: str = "/") -> bytes:
    return request(path).replace(b"Host: a.example", b"Host: " + host.encode())


def answered(down: Stream, services: Cluster, by: str, text: bytes) -> Message:
    down.send(text)
    up = services.backends[by].accept()
    asked = up.request()
    up.send(response(by.encode(), "Connection: close"))
    assert down.response().body == by.encode()
    return asked


@pytest.mark.parametrize(
    "host",
    [
        "web",
        "web.shop",
        "WEB.shop.svc",
        "web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.",
    ],
)
def test_every_name_of_a_service_leads_to_it(
    services: Cluster, connect: Connect, host: str
) -> None:
    asked = answered(connect(), services, "web", to_host(f"{host}:{PORT}"))
    assert asked.get(b"host") == f"{host}:{PORT}".encode()


def test_requests_of_one_connection_go_to_different_services(
    services: Cluster, connect: Connect
) -> None:
    down = connect()
    for name in ("web", "cart", "db", "web"):
        answered(down, services, name, to_host(f"{name}:{PORT}"))


def test_the_routes_of_the_service_that_is_named_count(services: Cluster, connect: Connect) -> None:
    answered(connect(), services, "cart", to_host(f"web:{PORT}", "/cart/1"))


@pytest.mark.parametrize("host", ["nobody", "web:1", f"web.elsewhere:{PORT}", "web:x"])
def test_a_name_of_no_service_is_told_and_the_connection_goes_on(
    services: Cluster, connect: Connect, host: str
) -> None:
    down = connect()
    down.send(to_host(host))
    refused = down.response()
    assert refused.status in {400, 404}
    if refused.status == 404:
        assert refused.get(b"remora-error") == b"unknown_host"
        answered(down, services, "web", to_host(f"web:{PORT}"))


def test_what_is_no_http_is_reset(connect: Connect) -> None:
    down = connect()
    down.send(b"\x00\x01\x02\x03")
    with pytest.raises(ConnectionResetError):
        down.rest()
