"""Each direction ends by itself: a FIN passes on as a FIN and says nothing of the other way."""

import socket

from tests.support.rig import Pair, Route
from tests.support.sockets import expect_end, expect_silence, receive_exactly, receive_until_end
from tests.support.waiting import eventually


def test_the_downstreams_end_reaches_the_upstream_and_the_answer_still_flows(pair: Pair) -> None:
    pair.downstream.sendall(b"question")
    pair.downstream.shutdown(socket.SHUT_WR)
    assert receive_until_end(pair.upstream) == b"question"
    pair.upstream.sendall(b"a late answer")
    assert receive_exactly(pair.downstream, 13) == b"a late answer"
    pair.upstream.close()
    expect_end(pair.downstream)


def test_the_upstreams_end_reaches_the_downstream_and_the_request_still_flows(pair: Pair) -> None:
    pair.upstream.sendall(b"goodbye")
    pair.upstream.shutdown(socket.SHUT_WR)
    assert receive_until_end(pair.downstream) == b"goodbye"
    pair.downstream.sendall(b"one more thing")
    assert receive_exactly(pair.upstream, 14) == b"one more thing"
    pair.downstream.close()
    expect_end(pair.upstream)


def test_the_end_of_one_direction_leaves_the_other_silent_not_ended(pair: Pair) -> None:
    pair.downstream.shutdown(socket.SHUT_WR)
    expect_end(pair.upstream)
    expect_silence(pair.downstream)


def test_a_half_open_connection_is_listed_as_such(route: Route) -> None:
    downstream, upstream = route.pair()
    downstream.shutdown(socket.SHUT_WR)
    expect_end(upstream)
    eventually("phase half_open", lambda: route.proxy.connections()[0]["phase"] == "half_open")


def test_an_end_sent_before_the_upstream_answers_is_kept_for_it(route: Route) -> None:
    downstream = route.connect()
    downstream.sendall(b"all I had to say")
    downstream.shutdown(socket.SHUT_WR)
    upstream = route.accept()
    assert receive_until_end(upstream) == b"all I had to say"
    upstream.sendall(b"heard")
    upstream.close()
    assert receive_until_end(downstream) == b"heard"


def test_ends_of_both_sides_close_the_connection_as_ok(route: Route) -> None:
    downstream, upstream = route.pair()
    downstream.shutdown(socket.SHUT_WR)
    upstream.shutdown(socket.SHUT_WR)
    expect_end(downstream)
    expect_end(upstream)
    route.proxy.wait_closed("ok")


def test_data_in_flight_when_both_sides_end_is_delivered(route: Route) -> None:
    for _ in range(50):
        downstream, upstream = route.pair()
        downstream.sendall(b"d" * 30_000)
        downstream.shutdown(socket.SHUT_WR)
        upstream.sendall(b"u" * 30_000)
        upstream.shutdown(socket.SHUT_WR)
        assert receive_until_end(downstream) == b"u" * 30_000
        assert receive_until_end(upstream) == b"d" * 30_000
    route.proxy.wait_closed("ok", count=50)


def test_a_connection_that_ends_without_a_byte_is_of_protocol_none(route: Route) -> None:
    downstream, upstream = route.pair()
    downstream.close()
    expect_end(upstream)
    upstream.close()
    route.proxy.wait_closed("ok")
    assert route.proxy.metrics()("tcp_close_total", protocol="none") == 1
