"""Time limits of HTTP, each with its answer or its reason; and answers to dials that fail."""

import itertools
import socket
from contextlib import suppress

import pytest

from tests.support.http import Talk, refusal, request, response, talk_once
from tests.support.memory import allowance
from tests.support.rig import Rig
from tests.support.sockets import (
    Address,
    address_of,
    connected,
    expect_reset,
    expect_silence,
    fill_until_blocked,
)
from tests.support.transfers import MIB
from tests.support.waiting import eventually

HEADS = [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a.ex", request()[:-1]]


# ---- slow downstreams ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", HEADS)
def test_a_head_that_is_not_whole_in_time_is_a_408(rig: Rig, text: bytes) -> None:
    talk = Talk(rig.route("--http-header-timeout", "300ms"))
    talk.down.send(text)
    expect_silence(talk.down.sock, 0.15)
    assert talk.down.rest() == refusal(408, b"request_timeout")


def test_each_later_head_has_the_same_time(rig: Rig) -> None:
    talk, up = talk_once(rig.route("--http-header-timeout", "300ms"))
    expect_silence(talk.down.sock, 0.5)
    talk.down.send(b"GET / HTTP/1.1\r\nHost")
    assert talk.down.rest() == refusal(408, b"request_timeout")
    expect_silence(up.sock, 0.01)


def test_dripping_does_not_put_the_time_off(rig: Rig) -> None:
    """Slowloris: a byte now and then."""
    route = rig.route("--http-header-timeout", "500ms")
    talk = Talk(route)
    talk.down.send(b"GET / HTTP/1.1\r\nX: ")

    def is_answered() -> bool:
        talk.down.sock.settimeout(0.02)
        try:
            talk.down.send(b"y")
            return bool(talk.down.sock.recv(1))
        except TimeoutError:
            return False

    eventually("the answer", is_answered, seconds=3)
    talk.down.sock.settimeout(5)
    assert b"TTP/1.1 408 " in b"".join(iter(lambda: talk.down.sock.recv(1000), b""))


def test_a_crowd_of_slow_heads_leaves_others_alone_and_costs_little(rig: Rig) -> None:
    route = rig.route("--http-header-timeout", "1h")
    talk, up = talk_once(route)
    before = route.proxy.private_bytes()
    crowd = [Talk(route) for _ in range(300)]
    for each in crowd:
        each.down.send(b"GET / HTTP/1.1\r\nX: y")
    for number in range(100):
        _, answered = talk.exchange(up, request(), response(b"%d" % number))
        assert answered.body == b"%d" % number
    assert route.proxy.private_bytes() - before < allowance(16 * MIB)


def test_silence_between_requests_has_its_own_time(rig: Rig) -> None:
    talk, up = talk_once(
        rig.route("--http-idle-timeout", "400ms", "--http-header-timeout", "100ms")
    )
    expect_silence(talk.down.sock, 0.2)
    talk.down.expect_end()
    expect_silence(up.sock, 0.01)


def test_a_body_that_stops_is_a_408(rig: Rig) -> None:
    talk, up = talk_once(rig.route("--http-idle-timeout", "400ms"))
    talk.down.send(request("/", "Content-Length: 100", method="POST") + b"some")
    up.head()
    assert up.exactly(4) == b"some"
    assert talk.down.rest() == refusal(408, b"request_timeout")
    expect_reset(up.sock)


def test_a_body_that_drips_lives_as_long_as_it_drips(rig: Rig) -> None:
    talk, up = talk_once(rig.route("--http-idle-timeout", "400ms"))
    talk.down.send(request("/", "Content-Length: 6", method="POST"))
    up.head()
    for number in range(6):
        expect_silence(up.sock, 0.15)
        talk.down.send(bytes([number]))
        assert up.exactly(1) == bytes([number])
    up.send(response(b"patience"))
    assert talk.down.response().body == b"patience"


def test_a_downstream_that_reads_nothing_of_a_long_answer_is_given_up(rig: Rig) -> None:
    route = rig.route("--http-flush-timeout", "500ms")
    talk, up = talk_once(route)
    talk.down.send(request())
    up.request()
    up.send(response(None, f"Content-Length: {1 << 40}"))
    with suppress(ConnectionError):  # given up before it was blocked
        fill_until_blocked(up.sock, bytes(65_536), seconds=1)
    with pytest.raises(ConnectionError):
        up.send(bytes(1 << 26))
    eventually("the reason", lambda: route.proxy.closed("flush_timeout") == 1)


def test_a_downstream_that_reads_nothing_of_many_short_answers_is_given_up(rig: Rig) -> None:
    """Answers of the proxy's own, to pipelined requests: held back, and in nobody's exchange."""
    route = rig.route("--http-flush-timeout", "500ms")
    talk = Talk(route)
    rig.background(_close_whoever_comes, route.upstream)
    with suppress(ConnectionError):  # given up before it was blocked
        fill_until_blocked(talk.down.sock, request("/x" * 100) * 100, seconds=1)
    eventually("the reason", lambda: route.proxy.closed("flush_timeout") == 1)


def _close_whoever_comes(listener: socket.socket) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock, suppress(OSError):
            sock.recv(65_536)


def test_a_downstream_that_reads_slowly_is_not_given_up(rig: Rig) -> None:
    talk, up = talk_once(rig.route("--http-flush-timeout", "500ms"))
    talk.down.send(request())
    up.request()
    size = 20 * MIB
    sending = rig.background(up.send, response(None, f"Content-Length: {size}") + bytes(size))
    talk.down.head()
    left = size
    while left > 16 * MIB:
        assert talk.down.exactly(256 * 1024)
        left -= 256 * 1024
        expect_silence_of_nobody()
    assert talk.down.exactly(left) == bytes(left)
    sending.result()


def expect_silence_of_nobody() -> None:
    """Let a little time pass: the reader is slow, not gone."""
    eventually("a moment", iter([False] * 8 + [True]).__next__)


# ---- slow and missing upstreams -----------------------------------------------------------------


def test_an_upstream_that_does_not_answer_is_a_504(rig: Rig) -> None:
    talk = Talk(rig.route("--http-idle-timeout", "400ms"))
    _, up = talk.ask(request())
    expect_silence(talk.down.sock, 0.2)
    assert talk.down.until(b"\r\n\r\n") + talk.down.exactly(25) == refusal(
        504, b"upstream_timeout", closes=False
    )
    expect_reset(up.sock)
    _, up = talk.ask(request("/again"))
    up.send(response(b"again"))
    assert talk.down.response().body == b"again"


def test_an_answer_that_stops_is_cut_off(rig: Rig) -> None:
    talk = Talk(rig.route("--http-idle-timeout", "400ms"))
    _, up = talk.ask(request())
    up.send(response(None, "Content-Length: 100") + b"some")
    talk.down.head()
    assert talk.down.exactly(4) == b"some"
    expect_reset(talk.down.sock)
    expect_reset(up.sock)


def refused(rig: Rig) -> Address:
    return address_of(rig.bind())


def test_a_request_to_an_upstream_that_refuses_is_a_503(rig: Rig) -> None:
    address = rig.start_to(refused(rig)).listeners("explicit")[0]
    for text in (request(), request(method="POST", body=b"x"), request(method="HEAD")):
        with connected(address) as sock:
            sock.sendall(text)
            answer = b"".join(iter(lambda: sock.recv(1000), b""))
        is_head = text.startswith(b"HEAD")
        assert answer == refusal(503, b"connect_failed", is_head=is_head)


def test_a_request_that_comes_after_the_refusal_gets_the_same_answer(rig: Rig) -> None:
    """The dial begins at accept; who asks within the grace is told why it failed."""
    address = rig.start_to(refused(rig)).listeners("explicit")[0]
    with connected(address) as sock:
        expect_silence(sock, 0.1)
        sock.sendall(request())
        answer = b"".join(iter(lambda: sock.recv(1000), b""))
    assert answer == refusal(503, b"connect_failed")


def test_who_says_nothing_is_reset_when_the_upstream_refuses(rig: Rig) -> None:
    proxy = rig.start_to(refused(rig))
    with connected(proxy.listeners("explicit")[0]) as sock:
        assert expect_reset(sock) == b""
    proxy.wait_closed("connect_refused")


@pytest.mark.parametrize("text", [b"\x16\x03\x01", b"hello", b"\0"])
def test_what_is_not_http_is_reset_when_the_upstream_refuses(rig: Rig, text: bytes) -> None:
    proxy = rig.start_to(refused(rig), "--detect-timeout", "100ms")
    with connected(proxy.listeners("explicit")[0]) as sock:
        sock.sendall(text)
        assert expect_reset(sock) == b""
    proxy.wait_closed("connect_refused")


def test_an_upstream_that_comes_back_is_dialled_for_the_request(rig: Rig) -> None:
    reserved = rig.bind()
    proxy = rig.start_to(address_of(reserved))
    with connected(proxy.listeners("explicit")[0]) as sock:
        expect_silence(sock, 0.05)
        reserved.listen()
        sock.sendall(request())
        up, _ = reserved.accept()
        with up:
            up.sendall(response(b"here I am"))
            assert b"here I am" in sock.recv(1000)


def test_a_request_to_an_upstream_that_does_not_take_it_is_a_504(rig: Rig) -> None:
    target = address_of(rig.full_listener())
    address = rig.start_to(target, "--connect-timeout", "400ms").listeners("explicit")[0]
    with connected(address) as sock:
        sock.sendall(request())
        expect_silence(sock, 0.2)
        answer = b"".join(iter(lambda: sock.recv(1000), b""))
    assert answer == refusal(504, b"connect_timeout")


def test_a_kept_downstream_is_told_when_the_upstream_went_away(rig: Rig) -> None:
    talk, up = talk_once(rig.route())
    talk.route.upstream.close()
    up.sock.close()
    talk.down.send(request())
    assert talk.down.response().get(b"remora-error") in {b"connect_failed", b"upstream_closed"}


def test_timers_of_many_connections_fire_for_each(rig: Rig) -> None:
    route = rig.route("--http-header-timeout", "200ms")
    talks = [Talk(route) for _ in range(50)]
    for each, text in zip(talks, itertools.cycle(HEADS), strict=False):
        each.down.send(text)
    for each in talks:
        assert each.down.rest() == refusal(408, b"request_timeout")


# ---- who does not stop talking ------------------------------------------------------------------


def test_a_downstream_that_talks_on_after_its_refusal_starves_nobody(rig: Rig) -> None:
    route = rig.route()
    talk, up = talk_once(route)
    loud = Talk(route)
    loud.down.send(b"GET / HTTP/1.1\r\n\r\n")

    def shout() -> None:
        block = bytes(1 << 20)
        try:
            while True:
                loud.down.send(block)
        except OSError:
            return

    shouting = rig.background(shout)
    for number in range(200):
        _, answered = talk.exchange(up, request(), response(b"%d" % number))
        assert answered.body == b"%d" % number
    shouting.result()
    eventually("its end", lambda: route.proxy.live()["connections"] == 1)
