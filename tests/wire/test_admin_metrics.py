"""What Prometheus scrapes, from a whole proxy."""

from http.client import HTTPConnection

from tests.support.rig import Rig, Route
from tests.support.waiting import PATIENCE_S


def test_a_scraper_keeps_its_connection(route: Route) -> None:
    scraper = HTTPConnection(*route.proxy.admin_address(), timeout=PATIENCE_S)
    lengths = []
    for _ in range(3):
        scraper.request("GET", "/metrics")
        answer = scraper.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lengths.append(len(answer.read()))
    scraper.close()
    assert min(lengths) > 0


def test_where_it_listens_is_told_with_the_port_the_system_chose(route: Route) -> None:
    metrics = route.proxy.metrics()
    host, port = route.address
    assert metrics("remora_listener_info", direction="explicit", address=f"{host}:{port}") == 1


def test_open_connections_are_seen_while_they_last(route: Route) -> None:
    pair = route.pair()
    assert route.proxy.metrics()("remora_worker_connections") == 1
    pair.downstream.close()
    pair.upstream.close()
    route.proxy.wait_closed("ok")
    assert route.proxy.metrics()("remora_worker_connections") == 0


def test_each_worker_has_its_own_series(rig: Rig) -> None:
    metrics = rig.route("--workers", "3").proxy.metrics()
    listeners = [metrics("remora_worker_listeners", worker=str(n)) for n in range(3)]
    assert listeners == [1, 1, 1]


def test_the_memory_of_a_scraped_proxy_is_within_its_budget(route: Route) -> None:
    """Release builds only: a sanitizer has its own idea of memory."""
    metrics = route.proxy.metrics()
    if not metrics("remora_build_info", abi="release"):
        return
    assert route.proxy.private_bytes() < 32_000_000
