"""Requests, responses, times and pools as Prometheus scrapes them."""

import pytest

from tests.support.control import Metrics
from tests.support.rig import Pair, Rig, Route
from tests.support.sockets import address_of, receive_until_end, reset
from tests.support.waiting import eventually

GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
BASE = {
    "direction": "explicit",
    "service": "unknown",
    "route": "unknown",
    "protocol": "http1",
    "tls": "false",
}


def answer(pair: Pair, request: bytes, response: bytes) -> None:
    """One exchange that works out."""
    ask(pair, request)
    pair.upstream.sendall(response)
    received = b""
    while b"\r\n\r\n" not in received:
        received += pair.downstream.recv(65_536)


def ask(pair: Pair, request: bytes) -> None:
    pair.downstream.sendall(request)
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += pair.upstream.recv(65_536)


def ended(route: Route, count: int = 1) -> Metrics:
    """Wait until that many requests have ended; return the scrape that says so."""
    found: list[Metrics] = []

    def enough() -> bool:
        found[:] = [route.proxy.metrics()]
        return found[0]("response_total") == count

    eventually(f"{count} requests to end", enough)
    return found[0]


def test_a_request_is_counted_with_its_method_and_its_answer(route: Route) -> None:
    answer(route.pair(), GET, OK)
    metrics = ended(route)
    assert metrics("request_total", method="GET", **BASE) == 1
    ending = {"status_code": "200", "classification": "success", "flag": "-"}
    assert metrics("response_total", **BASE, **ending) == 1


def test_a_method_that_a_stranger_made_up_makes_no_series(route: Route) -> None:
    pair = route.pair()
    for method in (b"BREW", b"STEEP"):
        answer(pair, GET.replace(b"GET", method), OK)
    metrics = ended(route, 2)
    assert metrics("request_total", method="OTHER") == metrics("request_total") == 2


def test_bodies_are_counted_without_heads_and_framing(route: Route) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    answer(route.pair(), GET.replace(b"GET", b"PUT")[:-2] + chunked, OK)
    metrics = ended(route)
    assert metrics("remora_http_request_bytes_total", **BASE) == 3
    assert metrics("remora_http_response_bytes_total", **BASE) == 5


def test_a_request_is_in_flight_until_its_answer_is_whole(route: Route) -> None:
    pair = route.pair()
    ask(pair, GET)
    assert route.proxy.metrics()("remora_http_in_flight_requests", **BASE) == 1
    pair.upstream.sendall(OK)
    ended(route)
    # The next scrape: one that comes just then may have read this gauge before the counter.
    assert route.proxy.metrics()("remora_http_in_flight_requests") == 0


def test_both_histograms_see_a_request_once(route: Route) -> None:
    answer(route.pair(), GET, OK)
    metrics = ended(route)
    for name in ("request_duration", "first_byte"):
        family = f"remora_http_{name}_seconds"
        assert metrics(f"{family}_count", **BASE) == 1
        assert metrics(f"{family}_bucket", le="+Inf", **BASE) == 1
        assert metrics(f"{family}_bucket", le="0.0005", **BASE) in {0, 1}
    first_byte_s = metrics("remora_http_first_byte_seconds_sum", **BASE)
    assert 0 < first_byte_s <= metrics("remora_http_request_duration_seconds_sum", **BASE)


def test_an_answer_of_the_proxys_own_has_a_flag_and_no_first_byte(rig: Rig) -> None:
    nobody = address_of(rig.bind())
    proxy = rig.start_to(nobody)
    downstream = rig.connect(proxy.listeners("explicit")[0])
    downstream.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert receive_until_end(downstream).startswith(b"HTTP/1.1 503 ")
    metrics = proxy.metrics()
    ending = {"status_code": "503", "classification": "failure", "flag": "UF"}
    assert metrics("response_total", **ending) == metrics("response_total") == 1
    assert metrics("remora_http_first_byte_seconds_count") == 0


def test_what_is_no_http_is_counted_as_a_fault_of_the_downstream(route: Route) -> None:
    pair = route.pair()
    pair.downstream.sendall(GET.replace(b"Host:", b"Host :"))
    assert receive_until_end(pair.downstream).startswith(b"HTTP/1.1 400 ")
    ending = {"status_code": "400", "classification": "success", "flag": "DPE"}
    assert route.proxy.metrics()("response_total", **ending) == 1


def test_a_downstream_that_leaves_is_no_failure_of_the_service(route: Route) -> None:
    pair = route.pair()
    ask(pair, GET)
    reset(pair.downstream)
    assert ended(route)("response_total", flag="DC", classification="success") == 1


def test_an_answer_cut_short_by_the_upstream_is_a_failure_whatever_its_status(
    route: Route,
) -> None:
    pair = route.pair()
    ask(pair, GET)
    pair.upstream.sendall(OK[:-1])
    pair.upstream.close()
    metrics = ended(route)
    assert metrics("response_total", status_code="200", flag="UC", classification="failure") == 1


def test_the_pool_is_seen_at_work_and_at_rest(route: Route) -> None:
    pair = route.pair()
    ask(pair, GET)
    connections = "remora_http_pool_connections"
    metrics = route.proxy.metrics()
    assert (metrics(connections, state="busy"), metrics(connections, state="idle")) == (1, 0)
    pair.upstream.sendall(OK)
    metrics = ended(route)
    assert (metrics(connections, state="busy"), metrics(connections, state="idle")) == (0, 1)
    answer(pair, GET, OK)
    assert ended(route, 2)("remora_http_pool_reused_total", direction="explicit") == 1


def test_without_http_nothing_is_counted_as_a_request(rig: Rig) -> None:
    route = rig.route("--no-http")
    pair = route.pair()
    answer(pair, GET, OK)
    pair.downstream.close()
    pair.upstream.close()
    route.proxy.wait_closed("ok")
    metrics = route.proxy.metrics()
    assert metrics("request_total") == metrics("response_total") == 0
    assert metrics("remora_detect_total", protocol="http1") == 1


@pytest.mark.parametrize("workers", ["1", "3"])
def test_requests_of_all_workers_are_one_sum(rig: Rig, workers: str) -> None:
    route = rig.route("--workers", workers)
    for _ in range(8):
        downstream = route.connect()
        downstream.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        upstream = route.accept()
        assert upstream.recv(65_536)
        upstream.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert receive_until_end(downstream).endswith(b"hello")
    assert ended(route, 8)("request_total", method="GET") == 8
