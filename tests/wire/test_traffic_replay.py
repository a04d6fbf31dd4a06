"""Another try: byte for byte the same request, never where it could have been seen before."""

import random
from collections.abc import Callable
from typing import Final

import pytest

from tests.support.http import Stream, chunked, request, response
from tests.support.services import Backend, Cluster, Try
from tests.support.sockets import expect_reset, expect_silence, reset
from tests.support.transfers import MIB, Payload
from tests.support.tries import (
    IDEMPOTENT,
    OTHERS,
    again,
    answer,
    eager,
    ending,
    failed,
    fin,
)
from tests.support.waiting import eventually

KIB: Final = 1024
# A request up to this size, head and body, is kept for another try; below what is certain.
KEPT_BYTES_MAX: Final = 64 * KIB


# ---- byte for byte ------------------------------------------------------------------------------


@ending
def test_a_request_cut_at_any_byte_arrives_whole_at_the_other_endpoint(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = eager(cluster)
    text = request("/cut?x=1", "X-A: b", method="PUT", body=b"0123456789")
    for cut in range(1, len(text) + 1):
        down = cluster.connect()
        down.send(text)
        first = backend.accept()
        assert first.exactly(cut) == text[:cut]
        end(first)
        second = backend.accept(but=[first.number])
        assert second.exactly(len(again(text))) == again(text)
        answer(second, b"%d" % cut)
        answered = down.response()
        assert (answered.body, answered.get(b"remora-attempt-count")) == (b"%d" % cut, b"2")
        down.sock.close()
        second.sock.close()


@ending
def test_a_post_that_an_endpoint_may_have_seen_is_never_sent_twice(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = eager(cluster, codes="503")
    for method in OTHERS:
        text = request("/pay", method=method, body=b"0123456789")
        for cut in range(1, len(text) + 1, 7):
            down = cluster.connect()
            down.send(text)
            first = backend.accept()
            first.exactly(cut)
            end(first)
            failed(down)
            down.sock.close()
    backend.expect_no_more()


@ending
def test_an_answer_cut_in_its_head_is_no_answer(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = eager(cluster)
    whole = response(b"", "X-B: c", status="200 OK")
    for cut in range(len(whole)):
        down = cluster.connect()
        down.send(request("/"))
        first = backend.accept()
        assert first.request().line == b"GET / HTTP/1.1"
        first.send(whole[:cut])
        end(first)
        second = backend.accept(but=[first.number])
        second.request()
        answer(second)
        assert down.response().body == b"ok"
        down.sock.close()
        second.sock.close()


@ending
def test_an_answer_cut_in_its_body_is_cut_for_the_downstream_and_not_asked_for_again(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = eager(cluster)
    whole = response(b"0123456789")
    for cut in range(len(whole) - 10, len(whole)):
        down = cluster.connect()
        down.send(request("/"))
        first = backend.accept()
        first.request()
        first.send(whole[:cut])
        assert down.exactly(len(whole[:cut]) - 10 if cut < 10 else 1) == b"H"
        end(first)
        expect_reset(down.sock)
    backend.expect_no_more()


def pieces(dice: random.Random, text: bytes) -> list[bytes]:
    """Cut at random places, sometimes not at all."""
    places = sorted(dice.randrange(len(text) + 1) for _ in range(dice.choice((0, 1, 2, 5))))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True) if a < b]


def random_request(dice: random.Random, method: str) -> bytes:
    size = dice.choice(
        (0, 1, dice.randrange(2000), dice.randrange(70 * KIB), 64 * KIB - dice.randrange(200))
    )
    body = dice.randbytes(size)
    fields = [f"X-{number}: {'v' * dice.randrange(40)}" for number in range(dice.randrange(4))]
    if dice.random() < 0.5:
        return request("/r", *fields, method=method, body=body)
    trailers = b"X-Sum: 1\r\nX-T: u\r\n" if dice.random() < 0.5 else b""
    text = chunked(*pieces(dice, body), trailers=trailers)
    head = request("/r", *fields, "Transfer-Encoding: chunked", method=method)
    return head + text


def lose(dice: random.Random, first: Try, text: bytes) -> int:
    """Take some of the request, or all of it, and fail; how many bytes were taken."""
    seen = len(text) if dice.random() < 0.4 else dice.randrange(1, len(text) + 1)
    assert first.exactly(seen) == text[:seen]
    if seen == len(text) and dice.random() < 0.5:
        first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"[: dice.randrange(36)])
    dice.choice((fin, lambda up: reset(up.sock)))(first)
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_any_request_is_repeated_byte_for_byte_or_honestly_not_at_all(
    cluster: Cluster, seed: int
) -> None:
    """Bodies of all sizes and framings, written in any pieces, also while the first try fails."""
    backend = eager(cluster, retry_backoff="5ms")
    dice = random.Random(seed)  # noqa: S311 - it only varies a test
    repeated = 0
    for _ in range(40):
        method = dice.choice(IDEMPOTENT[2:] + OTHERS)
        text = random_request(dice, method)
        down = cluster.connect()
        writing = cluster.rig.background(write, down, pieces(dice, text))
        first = backend.accept()
        lose(dice, first, text)
        may = method in IDEMPOTENT
        answered = cluster.rig.background(down.response)
        second = eventually("either", lambda: answered.done() or waiting(backend))  # noqa: B023
        if second is True:
            assert not may or len(text) > KEPT_BYTES_MAX - 200
            assert answered.result().get(b"remora-error") == b"upstream_closed"
        else:
            assert may
            up = backend.accept(but=[first.number])
            assert up.exactly(len(again(text))) == again(text)
            expect_silence(up.sock, 0)
            answer(up, b"%d" % len(text))
            assert answered.result().body == b"%d" % len(text)
            up.sock.close()
            repeated += 1
        down.sock.close()
        assert writing.exception() is None
    assert repeated > 5


def write(down: Stream, parts: list[bytes]) -> None:
    try:
        for part in parts:
            down.send(part)
    except OSError:
        pass  # refused, and closed


def waiting(backend: Backend) -> str:
    """Say "yes" once somebody dials the backend."""
    try:
        backend.expect_no_more(0)
    except AssertionError:
        return "yes"
    return ""


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_a_body_that_goes_on_while_a_try_fails_is_not_torn(cluster: Cluster, kind: str) -> None:
    backend = eager(cluster, retry_backoff="500ms")
    early, late = b"a" * 5_000, b"b" * 7_000
    if kind == "length":
        text = request("/", method="PUT", body=early + late)
    else:
        text = request("/", "Transfer-Encoding: chunked", method="PUT") + chunked(early, late)
    middle = text.index(b"bbb")
    down = cluster.connect()
    down.send(text[:middle])
    first = backend.accept()
    assert first.exactly(middle) == text[:middle]
    reset(first.sock)
    eventually("the pause", lambda: cluster.proxy.metrics()("remora_events_total", event="retried"))
    down.send(text[middle:])
    second = backend.accept(but=[first.number])
    assert second.exactly(len(again(text))) == again(text)
    answer(second)
    assert down.response().body == b"ok"


def test_a_body_that_outgrows_what_is_kept_while_a_try_fails_is_not_torn(
    cluster: Cluster,
) -> None:
    backend = eager(cluster, retry_backoff="500ms")
    text = request("/", "Transfer-Encoding: chunked", method="PUT")
    text += chunked(b"a" * 10_000, b"b" * 60_000, b"c" * 60_000)
    middle = text.index(b"bbb")
    down = cluster.connect()
    down.send(text[:middle])
    first = backend.accept()
    assert first.exactly(middle) == text[:middle]
    reset(first.sock)
    eventually("the pause", lambda: cluster.proxy.metrics()("remora_events_total", event="retried"))
    cluster.rig.background(down.send, text[middle:])
    second = backend.accept(but=[first.number])
    assert second.exactly(len(again(text))) == again(text)
    answer(second)
    assert down.response().body == b"ok"


def test_a_body_too_large_to_be_kept_is_sent_once(cluster: Cluster) -> None:
    backend = eager(cluster)
    for number, text in enumerate(
        (
            request("/", method="PUT", body=b"x" * 200_000),
            request("/", "Transfer-Encoding: chunked", method="PUT") + chunked(b"x" * 200_000),
        )
    ):
        down = cluster.connect()
        cluster.rig.background(write, down, [text])
        up = backend.accept()
        assert up.exactly(150_000) == text[:150_000]
        reset(up.sock)
        failed(down)
        assert cluster.ended(503, "UC") == number + 1
        down.sock.close()
    backend.expect_no_more()


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_of_any_size_goes_to_the_endpoint_that_can_be_reached(
    cluster: Cluster, method: str
) -> None:
    backend = eager(cluster, 3)
    backend.refuse(0)
    backend.refuse(1)
    body = b"".join(Payload(3, MIB).blocks())
    for _ in range(4):
        down = cluster.connect()
        cluster.rig.background(write, down, [request("/", method=method, body=body)])
        up = backend.accept()
        assert up.request().body == body
        answer(up)
        assert down.response().body == b"ok"
        down.sock.close()


def test_a_body_that_waits_to_be_asked_for_is_asked_for_by_the_next_endpoint(
    cluster: Cluster,
) -> None:
    backend = eager(cluster)
    down = cluster.connect()
    text = request("/", "Expect: 100-continue", method="PUT", body=b"late")
    down.send(text[:-4])
    first = backend.accept()
    first.until(b"\r\n\r\n")
    fin(first)
    second = backend.accept(but=[first.number])
    assert second.until(b"\r\n\r\n") == again(text)[:-4]
    second.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert down.response().status == 100
    down.send(b"late")
    assert second.exactly(4) == b"late"
    answer(second)
    assert down.response().body == b"ok"
