"""Two proxies between two apps that know nothing of TLS: what one says, the other hears."""

import socket

import pytest

from tests.support.http import Stream, Talk, request, response, talk_once
from tests.support.mtls import MeshKit, TwoProxies
from tests.support.rig import Pair  # noqa: TC001 - read when the test is defined
from tests.support.sockets import (
    expect_end,
    expect_reset,
    expect_silence,
    receive_exactly,
    receive_until_end,
    reset,
)
from tests.support.transfers import MIB, Payload, receive_all, send_all
from tests.support.waiting import eventually


@pytest.fixture
def two(kit: MeshKit) -> TwoProxies:
    return kit.two()


def test_a_request_passes_and_both_sides_count_a_handshake(two: TwoProxies) -> None:
    talk = Talk(two.route)
    asked, up = talk.ask(request("/hello"))
    assert asked.line == b"GET /hello HTTP/1.1"
    up.send(response(b"world"))
    assert talk.down.response().body == b"world"
    assert two.near.metrics()("remora_tls_handshakes_total", role="dialled") == 1
    assert two.far.metrics()("remora_tls_handshakes_total", role="accepted") == 1
    for proxy in (two.near, two.far):
        assert proxy.metrics()("remora_tls_connections") == 1


def test_bytes_of_no_protocol_pass_both_ways(two: TwoProxies) -> None:
    down, up = two.route.connect(), None
    down.sendall(b"\0\1\2")
    up = two.route.accept()
    assert receive_exactly(up, 3) == b"\0\1\2"
    up.sendall(b"\3\4")
    assert receive_exactly(down, 2) == b"\3\4"


def test_an_upstream_may_speak_first(two: TwoProxies) -> None:
    pair = two.pair()
    pair.upstream.sendall(b"220 mail.example\r\n")
    assert receive_exactly(pair.downstream, 18) == b"220 mail.example\r\n"
    pair.downstream.sendall(b"EHLO a\r\n")
    assert receive_exactly(pair.upstream, 8) == b"EHLO a\r\n"


@pytest.mark.parametrize("first", ["downstream", "upstream"])
def test_an_end_passes_while_the_other_direction_goes_on(two: TwoProxies, first: str) -> None:
    pair = two.pair()
    early, late = pair if first == "downstream" else reversed(pair)
    early.sendall(b"\0last word")
    early.shutdown(socket.SHUT_WR)
    assert receive_until_end(late) == b"\0last word"
    late.sendall(b"and an answer")
    assert receive_exactly(early, 13) == b"and an answer"
    late.shutdown(socket.SHUT_WR)
    expect_end(early)
    for proxy in (two.near, two.far):
        proxy.wait_closed("ok")


@pytest.mark.parametrize("first", ["downstream", "upstream"])
def test_a_reset_is_a_reset_at_the_far_end(two: TwoProxies, first: str) -> None:
    pair = two.pair()
    pair.downstream.sendall(b"\0up")
    receive_exactly(pair.upstream, 3)
    gone, left = pair if first == "downstream" else reversed(pair)
    reset(gone)
    assert expect_reset(left) == b""


@pytest.mark.parametrize("size", [MIB, 64 * MIB])
@pytest.mark.parametrize("writer", ["downstream", "upstream"])
def test_bulk_arrives_whole(two: TwoProxies, size: int, writer: str) -> None:
    pair = two.pair()
    source, target = pair if writer == "downstream" else reversed(pair)
    payload = Payload(11, size)
    sending = two.route.rig.background(send_all, source, payload)
    assert receive_all(target) == payload.digest()
    sending.result()


def test_bulk_passes_both_ways_at_once(two: TwoProxies) -> None:
    pair = two.pair()
    there, back = Payload(1, 8 * MIB), Payload(2, 8 * MIB)
    rig = two.route.rig
    rig.background(send_all, pair.downstream, there)
    rig.background(send_all, pair.upstream, back)
    heard = rig.background(receive_all, pair.upstream)
    assert receive_all(pair.downstream) == back.digest()
    assert heard.result() == there.digest()


def test_many_small_messages_keep_their_order(two: TwoProxies) -> None:
    pair = two.pair()
    for number in range(2_000):
        text = b"\0%06d" % number
        pair.downstream.sendall(text)
        if number % 7 == 0:
            pair.upstream.sendall(text)
            assert receive_exactly(pair.downstream, 7) == text
    wanted = b"".join(b"\0%06d" % number for number in range(2_000))
    assert receive_exactly(pair.upstream, len(wanted)) == wanted


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 65_536, 65_537])
def test_writes_around_the_size_of_a_record_arrive_whole(two: TwoProxies, size: int) -> None:
    pair = two.pair()
    text = b"".join(Payload(5, size).blocks())
    pair.downstream.sendall(b"\0" + text)
    assert receive_exactly(pair.upstream, size + 1) == b"\0" + text
    pair.upstream.sendall(text)
    assert receive_exactly(pair.downstream, size) == text


def test_pipelined_requests_are_answered_in_order(two: TwoProxies) -> None:
    down = Stream(two.route.connect())
    down.send(b"".join(request(f"/{number}") for number in range(12)))
    up = Stream(two.route.accept())
    for number in range(12):
        assert up.request().line == b"GET /%d HTTP/1.1" % number
        up.send(response(b"%d" % number))
    assert [down.response().body for _ in range(12)] == [b"%d" % number for number in range(12)]


def test_a_pooled_connection_is_used_again_without_a_new_handshake(two: TwoProxies) -> None:
    talk, up = talk_once(two.route)
    talk.down.sock.close()
    again = Talk(two.route)
    again.exchange(up, request("/again"), response(b"again"))
    assert two.near.metrics()("remora_tls_handshakes_total") == 1
    assert two.far.metrics()("remora_tls_handshakes_total") == 1


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_large_body_passes_whole_either_way(two: TwoProxies, method: str) -> None:
    payload = Payload(3, 8 * MIB)
    talk = Talk(two.route)
    head = request(
        "/body", f"Content-Length: {payload.size}" * (method == "PUT") or "X: y", method=method
    )
    answer = response(None, f"Content-Length: {payload.size if method == 'GET' else 0}")

    def send(target: socket.socket, text: bytes) -> None:
        target.sendall(text)
        for block in payload.blocks():
            target.sendall(block)

    rig = two.route.rig
    if method == "PUT":
        sending = rig.background(send, talk.down.sock, head)
        up = talk.accept()
        up.head()
        assert up.digest(payload.size) == payload.digest()
        up.send(answer)
        assert talk.down.head().status == 200
    else:
        talk.down.send(head)
        up = talk.accept()
        up.head()
        sending = rig.background(send, up.sock, answer)
        talk.down.head()
        assert talk.down.digest(payload.size) == payload.digest()
    sending.result()


def test_a_closed_pair_leaves_nothing_alive(two: TwoProxies) -> None:
    pair = two.pair()
    pair.downstream.sendall(b"\0x")
    receive_exactly(pair.upstream, 2)
    for end in pair:
        end.close()

    def is_empty() -> bool:
        return not any(each["connections"] or each["buffers"] for each in two.live())

    eventually("no connection", is_empty)
    for proxy in (two.near, two.far):
        assert proxy.metrics()("remora_tls_connections") == 0


def test_silence_stays_silence(two: TwoProxies) -> None:
    pair: Pair = two.pair()
    expect_silence(pair.upstream)
    expect_silence(pair.downstream)
