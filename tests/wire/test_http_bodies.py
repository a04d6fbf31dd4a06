"""Bodies both ways: every framing and size, whole, in order, with bounded memory."""

from contextlib import suppress

import pytest

from tests.support.http import Stream, Talk, chunked, request, response, talk_once
from tests.support.memory import allowance
from tests.support.rig import Rig, Route
from tests.support.sockets import (
    accepted,
    address_of,
    expect_reset,
    expect_silence,
    fill_until_blocked,
    receive_exactly,
)
from tests.support.transfers import MIB, Payload
from tests.support.waiting import eventually

SIZES = [1, 100, 16_383, 16_384, 16_385, 32_767, 32_768, 65_535, 65_536, 65_537, 300_000]
SPLICE = pytest.mark.parametrize("flags", [[], ["--no-splice"]], ids=["splice", "copy"])


def send_payload(stream: Stream, head: bytes, payload: Payload) -> None:
    stream.send(head)
    for block in payload.blocks():
        stream.send(block)


def send_in_chunks(stream: Stream, head: bytes, payload: Payload) -> None:
    stream.send(head)
    for block in payload.blocks():
        stream.send(b"%x\r\n" % len(block))
        stream.send(block)
        stream.send(b"\r\n")
    stream.send(b"0\r\n\r\n")


def with_length(size: int, *, method: str = "PUT") -> bytes:
    return request("/up", f"Content-Length: {size}", method=method)


@pytest.mark.parametrize("size", SIZES)
def test_bodies_of_every_size_pass_both_ways_on_one_connection(route: Route, size: int) -> None:
    talk, up = talk_once(route)
    body = Payload(size, size, block_bytes=8_192)
    text = b"".join(body.blocks())
    for cut in (size, 1, 1_000):
        talk.down.send(request("/", method="PUT", body=text))
        assert up.request().body == text
        answer = response(text)
        up.send(answer[:-size] + text[:cut])
        up.send(text[cut:])
        assert talk.down.response().body == text


@SPLICE
@pytest.mark.parametrize("size", [MIB, 100 * MIB], ids=["1MiB", "100MiB"])
def test_a_large_body_reaches_the_upstream(rig: Rig, flags: list[str], size: int) -> None:
    talk, up = talk_once(rig.route(*flags))
    payload = Payload(1, size)
    sending = rig.background(send_payload, talk.down, with_length(size), payload)
    assert up.head().get(b"content-length") == b"%d" % size
    assert up.digest(size) == payload.digest()
    sending.result()
    up.send(response(b"got it"))
    assert talk.down.response().body == b"got it"
    _, answered = talk.exchange(up, request("/next"), response(b"next"))
    assert answered.body == b"next"


@SPLICE
@pytest.mark.parametrize("size", [MIB, 100 * MIB], ids=["1MiB", "100MiB"])
def test_a_large_body_reaches_the_downstream(rig: Rig, flags: list[str], size: int) -> None:
    talk, up = talk_once(rig.route(*flags))
    payload = Payload(2, size)
    talk.down.send(request("/down"))
    up.request()
    head = response(None, f"Content-Length: {size}")
    sending = rig.background(send_payload, up, head, payload)
    assert talk.down.head().get(b"content-length") == b"%d" % size
    assert talk.down.digest(size) == payload.digest()
    sending.result()
    _, answered = talk.exchange(up, request("/next"), response(b"next"))
    assert answered.body == b"next"


@SPLICE
@pytest.mark.parametrize("size", [MIB, 100 * MIB], ids=["1MiB", "100MiB"])
def test_large_chunked_bodies_pass_both_ways(rig: Rig, flags: list[str], size: int) -> None:
    talk, up = talk_once(rig.route(*flags))
    payload = Payload(3, size)
    head = request("/up", "Transfer-Encoding: chunked", method="PUT")
    sending = rig.background(send_in_chunks, talk.down, head, payload)
    assert up.head().get(b"transfer-encoding") == b"chunked"
    assert up.digest_of_chunks() == payload.digest()
    sending.result()
    head = response(None, "Transfer-Encoding: chunked")
    sending = rig.background(send_in_chunks, up, head, payload)
    assert talk.down.head().get(b"transfer-encoding") == b"chunked"
    assert talk.down.digest_of_chunks() == payload.digest()
    sending.result()
    _, answered = talk.exchange(up, request("/next"), response(b"next"))
    assert answered.body == b"next"


@SPLICE
def test_a_large_body_that_ends_with_the_connection_arrives_whole(
    rig: Rig, flags: list[str]
) -> None:
    talk = Talk(rig.route(*flags))
    _, up = talk.ask(request())
    payload = Payload(4, 20 * MIB)

    def send() -> None:
        send_payload(up, response(None), payload)
        up.sock.close()

    sending = rig.background(send)
    assert talk.down.head().get(b"connection") == b"close"
    assert talk.down.digest(payload.size) == payload.digest()
    talk.down.expect_end()
    sending.result()


def test_large_bodies_both_ways_at_once(rig: Rig) -> None:
    """An answer that begins before its request has ended, and ends after it; both are long."""
    talk, up = talk_once(rig.route())
    request_body, response_body = Payload(5, 30 * MIB), Payload(6, 30 * MIB)
    sending = rig.background(send_payload, talk.down, with_length(request_body.size), request_body)
    up.head()
    reading = rig.background(up.digest, request_body.size)

    def answer() -> None:
        up.send(response(None, f"Content-Length: {response_body.size + 4}"))
        for block in response_body.blocks():
            up.send(block)
        reading.result()
        up.send(b"last")

    answering = rig.background(answer)
    talk.down.head()
    assert talk.down.digest(response_body.size) == response_body.digest()
    assert talk.down.exactly(4) == b"last"
    assert reading.result() == request_body.digest()
    sending.result()
    answering.result()


def test_large_bodies_are_spliced_and_small_ones_are_not(route: Route) -> None:
    talk, up = talk_once(route)

    def is_spliced() -> bool:
        (row,) = route.proxy.connections()
        return bool(row["spliced"])

    talk.exchange(up, request(), response(bytes(60_000)))
    assert not is_spliced()
    talk.exchange(up, request(), response(bytes(MIB)))
    assert is_spliced()


# ---- chunks -------------------------------------------------------------------------------------


def test_chunks_pass_as_they_came(route: Route) -> None:
    """No chunk is split, joined or rewritten: sizes, extensions and all."""
    talk, up = talk_once(route)
    body = b'5;a=b\r\nhello\r\n00a;x="y z"\r\n0123456789\r\nF\r\n0123456789abcde\r\n0;last\r\n\r\n'
    head = "Transfer-Encoding: chunked"
    for cut in range(0, len(body), 3):
        talk.down.send(request("/", head, method="POST") + body[:cut])
        up.head()
        talk.down.send(body[cut:])
        assert up.exactly(len(body)) == body
        up.send(response(None, head) + body[:cut])
        up.send(body[cut:])
        assert talk.down.head().status == 200
        assert talk.down.exactly(len(body)) == body


def test_trailers_pass_both_ways_without_the_forbidden_ones(route: Route) -> None:
    talk, up = talk_once(route)
    trailers = (
        b"X-Checksum: abc\r\nContent-Length: 3\r\nHost: evil\r\nTransfer-Encoding: gzip\r\n"
        b"authorization: Basic eA==\r\nConnection: close\r\nserver-timing: x\r\n"
        b"X-Forwarded-For: 1\r\n"
    )
    kept = [(b"X-Checksum", b"abc"), (b"server-timing", b"x")]
    text = request("/", "Transfer-Encoding: chunked", "Trailer: X-Checksum", method="POST")
    talk.down.send(text + chunked(b"body", trailers=trailers))
    asked = up.request()
    assert (asked.body, asked.trailers) == (b"body", kept)
    assert asked.get(b"trailer") == b"X-Checksum"
    up.send(response(None, "Transfer-Encoding: chunked") + chunked(b"answer", trailers=trailers))
    answered = talk.down.response()
    assert (answered.body, answered.trailers) == (b"answer", kept)
    _, answered = talk.exchange(up, request("/next"), response(b"next"))
    assert answered.body == b"next"


def test_trailers_sent_byte_by_byte_are_the_same(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/", "Transfer-Encoding: chunked", method="POST"))
    up.head()
    for byte in chunked(b"ab", b"c", trailers=b"A: 1\r\nHost: x\r\nB: 2\r\n"):
        talk.down.send(bytes([byte]))
    assert up.chunks() == (b"abc", [(b"A", b"1"), (b"B", b"2")])
    talk.down.sock.close()


def test_many_tiny_chunks_cost_no_more_than_their_bytes(rig: Rig) -> None:
    """CVE-2025-69229: quadratic time over chunks of one byte."""
    route = rig.route()
    talk, up = talk_once(route)
    count = 200_000
    body = b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    head = request("/", "Transfer-Encoding: chunked", method="POST")
    before = route.proxy.cpu_seconds()
    sending = rig.background(talk.down.send, head + body)
    up.head()
    assert up.exactly(len(body)) == body
    sending.result()
    assert route.proxy.cpu_seconds() - before < 2


def test_endless_trailers_break_the_framing(rig: Rig) -> None:
    talk, up = talk_once(rig.route())
    text = request("/", "Transfer-Encoding: chunked", method="POST")
    talk.down.send(text + b"1\r\nx\r\n0\r\n")
    up.head()
    assert up.exactly(9) == b"1\r\nx\r\n0\r\n"
    with suppress(ConnectionError):
        talk.down.send(b"X: y\r\n" * 20_000)
    assert talk.down.response().status == 400
    expect_reset(up.sock)


# ---- slow and blocked ---------------------------------------------------------------------------


def test_a_body_of_one_byte_at_a_time_passes_byte_by_byte(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(with_length(200))
    up.head()
    for number in range(200):
        talk.down.send(bytes([number]))
        assert up.exactly(1) == bytes([number])
    up.send(response(None, "Content-Length: 200"))
    talk.down.head()
    for number in range(200):
        up.send(bytes([number]))
        assert talk.down.exactly(1) == bytes([number])


@SPLICE
def test_readers_that_do_not_read_block_their_writers_and_cost_bounded_memory(
    rig: Rig, flags: list[str]
) -> None:
    route = rig.route(*flags)
    talk, idle = talk_once(route)
    idle.sock.close()
    eventually("an empty pool", lambda: route.proxy.live()["upstreams"] == 0)
    before = route.proxy.private_bytes()
    writers: list[tuple[Stream, Stream, int]] = []
    for number in range(20):
        talk = Talk(route)
        if number % 2:
            talk.down.send(with_length(1 << 40))
        else:
            talk.down.send(request())
        up = talk.accept()
        up.head()
        writer, reader = (talk.down, up) if number % 2 else (up, talk.down)
        if writer is up:
            up.send(response(None, f"Content-Length: {1 << 40}"))
            talk.down.head()
        sent_bytes = fill_until_blocked(writer.sock, bytes(65_536), seconds=0.2)
        writers.append((writer, reader, sent_bytes))
    assert route.proxy.private_bytes() - before < allowance(8 * MIB)
    for _, reader, sent_bytes in writers:
        assert receive_exactly(reader.sock, min(sent_bytes, MIB)) == bytes(min(sent_bytes, MIB))


def test_a_blocked_answer_leaves_other_connections_alone(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request())
    up.request()
    up.send(response(None, f"Content-Length: {1 << 40}"))
    fill_until_blocked(up.sock, bytes(65_536), seconds=0.2)
    other = Talk(route)
    _, other_up = other.ask(request("/other"))
    for number in range(50):
        other_up.send(response(b"%d" % number))
        assert other.down.response().body == b"%d" % number
        other.down.send(request())
        other_up.request()


def test_a_large_body_waits_for_an_upstream_that_is_slow_to_accept(rig: Rig) -> None:
    listener = rig.full_listener()
    address = rig.start_to(address_of(listener)).listeners("explicit")[0]
    down = Stream(rig.connect(address))
    payload = Payload(11, 4 * MIB)
    sending = rig.background(send_payload, down, with_length(payload.size), payload)
    expect_silence(down.sock, 0.1)
    accepted(listener).close()
    up = Stream(rig.keep(accepted(listener)))
    up.head()
    assert up.digest(payload.size) == payload.digest()
    sending.result()
    up.send(response(b"at last"))
    assert down.response().body == b"at last"


def test_when_all_is_over_no_buffer_and_no_pipe_is_left(route: Route) -> None:
    talk, up = talk_once(route)
    talk.exchange(up, request("/", method="PUT", body=bytes(200_000)), response(bytes(300_000)))

    def is_clean() -> bool:
        live = route.proxy.live()
        return (live["buffers"], live["pipes"], live["exchanges"], live["upstreams"]) == (
            0,
            0,
            0,
            1,
        )

    eventually("nothing but the idle connection", is_clean)
