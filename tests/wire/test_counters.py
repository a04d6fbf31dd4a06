"""What Prometheus sees of a connection: counts, labels, bytes each way, and how long it took."""

import pytest

from tests.support.hellos import openssl_hello
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_end, receive_exactly, receive_until_end
from tests.support.transfers import MIB, Payload, receive_all, send_all
from tests.support.waiting import eventually

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def route(rig: Rig) -> Route:
    """A plain relay: what is counted here is counted of connections, whatever they speak."""
    return rig.route("--no-http")


def finish(route: Route, question: bytes, answer: bytes) -> None:
    """One whole connection: the downstream asks, the upstream answers, both end."""
    pair = route.pair()
    with pair.downstream, pair.upstream:
        pair.downstream.sendall(question)
        receive_exactly(pair.upstream, len(question))
        pair.upstream.sendall(answer)
        pair.upstream.close()
        assert receive_until_end(pair.downstream) == answer


def test_an_open_connection_is_counted_as_open_under_its_protocol(route: Route) -> None:
    pair = route.pair()
    pair.downstream.sendall(REQUEST)
    receive_exactly(pair.upstream, len(REQUEST))
    metrics = route.proxy.metrics()
    assert metrics("tcp_open_total", direction="explicit") == 1
    assert metrics("tcp_open_connections", direction="explicit") == 1
    assert metrics("tcp_open_connections", direction="explicit", protocol="http1") == 1
    assert metrics("tcp_close_total") == 0


def test_a_closed_connection_is_counted_under_protocol_and_reason(route: Route) -> None:
    finish(route, REQUEST, b"HTTP/1.1 204 No Content\r\n\r\n")
    finish(route, openssl_hello("a.example"), b"\x15\x03\x03\0\x02\x02\x28")
    finish(route, b"\0", b"\0")
    route.proxy.wait_closed("ok", count=3)
    metrics = route.proxy.metrics()
    for protocol in ("http1", "tls", "opaque"):
        assert metrics("tcp_close_total", direction="explicit", protocol=protocol) == 1
    assert metrics("tcp_open_connections") == 0
    assert metrics("tcp_open_total") == 3


def test_each_verdict_of_detection_is_counted_with_its_speaker(route: Route) -> None:
    finish(route, REQUEST, b"HTTP/1.1 204 No Content\r\n\r\n")
    finish(route, b"", b"220 ready\r\n")
    route.proxy.wait_closed("ok", count=2)
    metrics = route.proxy.metrics()
    detect = "remora_detect_total"
    assert metrics(detect, direction="explicit", protocol="http1", speaker="downstream") == 1
    assert metrics(detect, direction="explicit", protocol="opaque", speaker="upstream") == 1
    assert metrics(detect) == 2


def test_bytes_are_counted_on_both_sides_of_both_directions(route: Route) -> None:
    finish(route, b"q" * 100, b"a" * 3000)
    route.proxy.wait_closed("ok")
    metrics = route.proxy.metrics()
    assert metrics("tcp_read_bytes_total", direction="explicit", peer="src") == 100
    assert metrics("tcp_write_bytes_total", direction="explicit", peer="dst") == 100
    assert metrics("tcp_read_bytes_total", direction="explicit", peer="dst") == 3000
    assert metrics("tcp_write_bytes_total", direction="explicit", peer="src") == 3000


@pytest.mark.parametrize("flags", [[], ["--no-splice"]], ids=["splice", "copy"])
def test_bytes_of_bulk_are_counted_to_the_last_one(rig: Rig, flags: list[str]) -> None:
    route = rig.route(*flags)
    pair = route.pair()
    payload = Payload(11, 20 * MIB + 12345)
    sending = rig.background(send_all, pair.downstream, payload)
    assert receive_all(pair.upstream) == payload.digest()
    sending.result()
    metrics = route.proxy.metrics()
    assert metrics("tcp_read_bytes_total", peer="src") == payload.size
    assert metrics("tcp_write_bytes_total", peer="dst") == payload.size


def test_a_row_of_a_live_connection_has_its_addresses_and_bytes(route: Route) -> None:
    pair = route.pair()
    pair.downstream.sendall(b"q" * 10)
    receive_exactly(pair.upstream, 10)
    pair.upstream.sendall(b"a" * 20)
    receive_exactly(pair.downstream, 20)

    def settled() -> bool:
        row = route.proxy.connections()[0]
        return (row["received_bytes"], row["sent_bytes"]) == (10, 20)

    eventually("10 bytes received and 20 sent", settled)


def test_every_connect_is_in_the_latency_histogram(route: Route) -> None:
    for _ in range(5):
        finish(route, b"q", b"a")
    metrics = route.proxy.metrics()
    name = "remora_connect_duration_seconds"
    assert metrics(f"{name}_count", direction="explicit") == 5
    assert metrics(f"{name}_bucket", direction="explicit", le="+Inf") == 5
    assert 0 < metrics(f"{name}_sum", direction="explicit") < 5


def test_only_ended_connections_are_in_the_duration_histogram(route: Route) -> None:
    pair = route.pair()
    name = "remora_connection_duration_seconds_count"
    assert route.proxy.metrics()(name) == 0
    pair.downstream.close()
    expect_end(pair.upstream)
    pair.upstream.close()
    eventually("one duration", lambda: route.proxy.metrics()(name, direction="explicit") == 1)
