"""Messages that end early: each side learns the truth, and no truncated body looks complete."""

import socket

import pytest

from tests.support.http import END, Talk, refusal, request, response, talk_once
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_reset, expect_silence, reset
from tests.support.waiting import eventually

PART = bytes(5_000)


def end(sock: socket.socket, ending: str) -> None:
    if ending == "fin":
        sock.close()
    else:
        reset(sock)


ENDINGS = pytest.mark.parametrize("ending", ["fin", "reset"])


# ---- the upstream ends early --------------------------------------------------------------------


@ENDINGS
@pytest.mark.parametrize("framing", ["length", "large", "chunked"])
def test_a_body_that_the_upstream_cuts_short_is_cut_short_for_the_downstream(
    route: Route, framing: str, ending: str
) -> None:
    talk, up = talk_once(route)
    talk.down.send(request())
    up.request()
    if framing == "chunked":
        up.send(response(None, "Transfer-Encoding: chunked") + b"1388\r\n" + PART + b"\r\n")
    else:
        size = 10_000_000 if framing == "large" else len(PART) + 1
        up.send(response(None, f"Content-Length: {size}") + PART)
    talk.down.head()
    talk.down.exactly(len(PART) + 8 * (framing == "chunked"))
    end(up.sock, ending)
    assert expect_reset(talk.down.sock) == b""


def test_a_chunked_body_without_its_last_chunk_is_not_complete(route: Route) -> None:
    for cut in range(1, 5):
        talk = Talk(route)
        _, up = talk.ask(request())
        text = b"1\r\nx\r\n" + b"0\r\n\r\n"[:cut]
        up.send(response(None, "Transfer-Encoding: chunked") + text)
        up.sock.close()
        with pytest.raises((AssertionError, ConnectionResetError)):
            talk.down.response()


@ENDINGS
def test_an_upstream_that_ends_without_an_answer_is_a_503(route: Route, ending: str) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    end(up.sock, ending)
    assert talk.down.until(END) + talk.down.exactly(24) == refusal(
        503, b"upstream_closed", closes=False
    )


def test_a_reset_ends_an_answer_that_ends_with_the_connection_as_a_reset(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(response(None) + PART)
    talk.down.head()
    talk.down.exactly(len(PART))
    reset(up.sock)
    assert expect_reset(talk.down.sock) == b""


def test_an_answer_of_no_known_length_ends_with_the_connection(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(response(None) + b"all ")
    answered = talk.down.head()
    assert answered.get(b"connection") == b"close"
    assert talk.down.exactly(4) == b"all "
    up.send(b"there is")
    up.sock.close()
    assert talk.down.rest() == b"there is"


def test_an_upstream_that_ends_with_a_half_head_is_a_503(route: Route) -> None:
    text = response(b"x", "X: y")
    for cut in range(1, len(text) - 1, 5):
        talk = Talk(route)
        _, up = talk.ask(request())
        up.send(text[:cut])
        up.sock.close()
        assert talk.down.response().get(b"remora-error") == b"upstream_closed"


# ---- early answers ------------------------------------------------------------------------------


def test_an_answer_before_the_body_is_sent_on_and_ends_both_connections(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/", "Content-Length: 1000000", method="POST") + PART)
    up.head()
    up.send(response(b"too large", status="413 Content Too Large"))
    answered = talk.down.response()
    assert (answered.status, answered.body) == (413, b"too large")
    assert answered.get(b"connection") == b"close"
    talk.down.expect_end()
    up.exactly(len(PART))
    up.expect_gone()


def test_an_early_answer_survives_a_downstream_that_goes_on_sending(rig: Rig) -> None:
    """No RST overtakes it, though nobody takes the body any more."""
    talk, up = talk_once(rig.route())
    size = 3_000_000
    talk.down.send(request("/", f"Content-Length: {size}", method="POST") + PART)
    up.head()
    up.exactly(len(PART))
    up.send(response(b"too large" * 1_000, "Connection: close", status="413 Content Too Large"))
    up.sock.close()
    talk.down.send(bytes(size - len(PART)))
    answered = talk.down.response()
    assert (answered.status, answered.body) == (413, b"too large" * 1_000)
    talk.down.expect_end()


def test_an_upstream_that_answers_and_resets_while_the_body_flows_is_heard(rig: Rig) -> None:
    """What it said before the reset is there to be read: an early answer (RFC 9112 9.5)."""
    talk, up = talk_once(rig.route())
    talk.down.send(request("/", "Content-Length: 100000000", method="POST"))
    up.head()
    up.send(response(b"enough", status="413 Content Too Large"))
    assert talk.down.response().body == b"enough"
    up.sock.close()  # with unread bytes, if there are any: a reset


def test_the_rest_of_a_body_that_was_answered_early_is_no_request(route: Route) -> None:
    """CVE-2025-4366: an undrained body must never be read as the next request."""
    talk, up = talk_once(route)
    smuggled = request("/smuggled")
    talk.down.send(request("/", f"Content-Length: {len(smuggled)}", method="POST"))
    up.head()
    up.send(response(b"early"))
    assert talk.down.response().body == b"early"
    try:
        talk.down.send(smuggled)
        talk.down.expect_end()
    except ConnectionError:
        pass
    up.expect_gone()
    expect_silence(route.upstream, 0.1)


def test_an_early_answer_to_a_chunked_body_ends_the_connection_too(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n")
    up.head()
    up.send(response(b"early"))
    answered = talk.down.response()
    assert (answered.body, answered.get(b"connection")) == (b"early", b"close")
    talk.down.expect_end()


def test_an_answer_that_begins_early_and_ends_after_the_body_is_whole(route: Route) -> None:
    """Streaming both ways: an echo begins before the request has ended."""
    talk, up = talk_once(route)
    talk.down.send(request("/echo", "Content-Length: 20", method="POST"))
    up.head()
    up.send(response(None, "Content-Length: 20"))
    talk.down.head()
    for number in range(20):
        talk.down.send(bytes([number]))
        up.send(up.exactly(1))
        assert talk.down.exactly(1) == bytes([number])
    talk.down.expect_end()


# ---- the downstream ends early ------------------------------------------------------------------


@ENDINGS
@pytest.mark.parametrize(
    "text",
    [
        request("/", "Content-Length: 6000", method="POST") + PART,
        request("/", "Content-Length: 9000000", method="POST") + PART,
        request("/", "Transfer-Encoding: chunked", method="POST") + b"1388\r\n" + PART + b"\r\n",
    ],
    ids=["length", "large", "chunked"],
)
def test_a_request_that_is_cut_short_is_never_complete_for_the_upstream(
    route: Route, text: bytes, ending: str
) -> None:
    talk, up = talk_once(route)
    talk.down.send(text)
    up.head()
    up.exactly(len(PART))
    end(talk.down.sock, ending)
    expect_reset(up.sock)


def test_a_downstream_that_resets_while_it_waits_cancels_the_work(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/slow"))
    up.request()
    reset(talk.down.sock)
    expect_reset(up.sock)


def test_a_downstream_that_resets_in_the_middle_of_its_answer_cancels_it(rig: Rig) -> None:
    talk, up = talk_once(rig.route())
    talk.down.send(request())
    up.request()
    up.send(response(None, "Content-Length: 100000000") + PART)
    talk.down.head()
    reset(talk.down.sock)
    with pytest.raises(ConnectionError):
        up.send(bytes(100_000_000))


def test_a_downstream_that_closes_while_it_waits_cancels_the_work(route: Route) -> None:
    """By a FIN, as most that give up do. Nginx, Envoy and Linkerd read it so, too."""
    talk, up = talk_once(route)
    talk.down.send(request("/slow"))
    up.request()
    talk.down.sock.close()
    expect_reset(up.sock)
    eventually("its end", lambda: route.proxy.live()["exchanges"] == 0)


def test_a_downstream_that_closes_in_the_middle_of_its_answer_cancels_it(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request())
    up.request()
    up.send(response(None, "Content-Length: 5001") + PART)
    talk.down.head()
    talk.down.sock.shutdown(socket.SHUT_WR)
    expect_reset(up.sock)
    with pytest.raises(ConnectionResetError):
        talk.down.expect_end()


@pytest.mark.parametrize("text", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_downstream_that_leaves_between_or_within_heads_bothers_nobody(
    route: Route, text: bytes
) -> None:
    talk, up = talk_once(route)
    talk.down.send(text)
    talk.down.sock.close()
    eventually("its end", lambda: route.proxy.live()["connections"] == 0)
    asked, _ = Talk(route).exchange(up, request("/next"), response(b""))
    assert asked.line == b"GET /next HTTP/1.1"


def test_a_downstream_that_leaves_the_queue_of_a_dial_ends_the_dial(rig: Rig) -> None:
    route = rig.route("--connect-timeout", "10m")
    talk, up = talk_once(route)
    up.sock.close()
    route.upstream.listen(0)
    blocker = rig.connect(route.upstream.getsockname())
    talk.down.send(request())
    eventually("the dial", lambda: route.proxy.live()["upstreams"] == 1)
    reset(talk.down.sock)
    eventually("its end", lambda: route.proxy.live()["upstreams"] == 0)
    blocker.close()


# ---- answers that are none ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"220 smtp.example ready\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        response(b"hello", "Content-Length: 6"),
        response(b"hello", "Transfer-Encoding: chunked"),
        response(None, "Transfer-Encoding: gzip"),
        response(None, "Transfer-Encoding: gzip, chunked"),
        response(None, "Content-Length: 5, 5") + b"hello",
        response(None, "Content-Length: -1"),
        response(b"", "X: a\r\n folded"),
        response(b"", "X : y"),
        response(b"", "X: a\0b"),
        response(b"", *["A: b"] * 100),
        response(None, "Transfer-Encoding: chunked", minor=0) + b"0\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_a_502_and_the_connection_is_dropped(
    route: Route, text: bytes
) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(text)
    assert talk.down.until(END) + talk.down.exactly(27) == refusal(
        502, b"response_malformed", closes=False
    )
    up.expect_gone()
    _, up = talk.ask(request("/again"))
    up.send(response(b"again"))
    assert talk.down.response().body == b"again"


def test_endless_fields_of_an_answer_are_a_502(rig: Rig) -> None:
    talk = Talk(rig.route())
    _, up = talk.ask(request())

    def endless() -> None:
        try:
            up.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000)
        except ConnectionError:
            return

    sending = rig.background(endless)
    assert talk.down.response().get(b"remora-error") == b"response_malformed"
    sending.result()


def test_chunks_that_break_in_the_middle_of_an_answer_cut_it_off(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(response(None, "Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
    talk.down.head()
    assert talk.down.exactly(8) == b"3\r\nabc\r\n"
    up.send(b"3\nabc\r\n0\r\n\r\n")
    rest = expect_reset(talk.down.sock)
    assert b"0\r\n\r\n" not in rest
    up.expect_gone()


def test_an_answer_nobody_asked_for_ends_the_connection_it_came_on(route: Route) -> None:
    """Before any request: this is no HTTP upstream, and nothing but a relay."""
    pair = route.pair()
    pair.upstream.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    assert pair.downstream.recv(100) == b"HTTP/1.1 200 OK\r\n\r\n"


def test_head_gets_errors_of_the_proxy_without_a_body(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request(method="HEAD"))
    up.sock.close()
    assert talk.down.until(END) == refusal(503, b"upstream_closed", closes=False, is_head=True)
    _, up = talk.ask(request("/next"))
    up.send(response(b"next"))
    assert talk.down.response().body == b"next"
