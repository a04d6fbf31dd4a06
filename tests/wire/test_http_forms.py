"""The forms of HTTP/1: methods and statuses without a body, 1.0, interim answers, other targets."""

import pytest

from tests.support.http import END, Said, Stream, Talk, refusal, request, response, talk_once
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_silence

# ---- what has no body ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", response(None, "Content-Length: 1000")),
        ("HEAD", response(None, "Transfer-Encoding: chunked")),
        ("HEAD", response(None)),
        ("GET", response(None, status="204 No Content")),
        ("GET", response(None, "Content-Length: 7", status="304 Not Modified")),
        ("POST", response(None, "Content-Length: 0")),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(
    route: Route, method: str, answer: bytes
) -> None:
    talk, up = talk_once(route)
    for _ in range(3):
        asked, answered = talk.exchange(up, request(method=method), answer)
        assert asked.line.startswith(method.encode())
        assert answered.body == b""
        assert answered.came() == Said(answer).head().fields


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", response(b"never asked for")),
        ("GET", response(None, status="204 No Content") + b"stray"),
        ("GET", response(None, "Content-Length: 5", status="304 Not Modified") + b"stray"),
        ("GET", response(b"whole") + b"stray"),
        ("GET", response(b"whole") + response(b"for nobody")),
    ],
)
def test_bytes_behind_an_answer_reach_nobody(route: Route, method: str, answer: bytes) -> None:
    talk, up = talk_once(route)
    _, answered = talk.exchange(up, request(method=method), answer)
    assert answered.body in {b"", b"whole"}
    up.expect_gone()
    asked, again = talk.ask(request("/again"))
    assert asked.line == b"GET /again HTTP/1.1"
    again.send(response(b"again"))
    assert talk.down.response().body == b"again"


# ---- interim answers ----------------------------------------------------------------------------


def test_a_continuation_is_asked_for_and_given_end_to_end(route: Route) -> None:
    talk = Talk(route)
    talk.down.send(request("/up", "Expect: 100-continue", "Content-Length: 4", method="PUT"))
    up = talk.accept()
    head = up.head()
    assert head.get(b"expect") == b"100-continue"
    expect_silence(talk.down.sock, 0.05)
    up.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert talk.down.response().status == 100
    talk.down.send(b"body")
    assert up.exactly(4) == b"body"
    up.send(response(b"done"))
    assert talk.down.response().body == b"done"


def test_a_downstream_that_does_not_wait_for_the_continuation_is_served(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(request("/", "Expect: 100-continue", method="PUT", body=b"at once"))
    assert asked.body == b"at once"
    up.send(b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"done"))
    assert talk.down.response().status == 100
    assert talk.down.response().body == b"done"


def test_a_final_answer_in_place_of_the_continuation_closes(route: Route) -> None:
    """The downstream may or may not send the body now: the connection cannot go on."""
    talk = Talk(route)
    talk.down.send(request("/", "Expect: 100-continue", "Content-Length: 4", method="PUT"))
    up = talk.accept()
    up.head()
    up.send(response(b"too large", status="413 Content Too Large"))
    answered = talk.down.response()
    assert (answered.status, answered.get(b"connection")) == (413, b"close")
    talk.down.expect_end()
    up.expect_gone()


def test_early_hints_and_many_other_interim_answers_are_passed_on(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    for _ in range(50):
        up.send(hint)
    up.send(response(b"final"))
    for _ in range(50):
        assert talk.down.until(END) == hint
    assert talk.down.response().body == b"final"


def test_interim_answers_are_not_for_http_1_0(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request(minor=0))
    up.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + response(b"final"))
    assert talk.down.response().body == b"final"


# ---- HTTP/1.0 -----------------------------------------------------------------------------------


def test_a_1_0_downstream_is_answered_and_closed(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(b"GET /old HTTP/1.0\r\n\r\n")
    assert asked.line.startswith(b"GET /old HTTP/1.")
    up.send(response(b"answer"))
    answered = talk.down.response()
    assert (answered.body, answered.get(b"connection")) == (b"answer", b"close")
    talk.down.expect_end()


def test_a_1_0_downstream_may_ask_to_be_kept(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request("/1", "Connection: keep-alive", minor=0))
    up.send(response(b"1"))
    answered = talk.down.response()
    assert (answered.body, answered.get(b"connection")) == (b"1", b"keep-alive")
    _, answered = talk.exchange(up, request("/2", minor=0), response(b"2"))
    assert (answered.body, answered.get(b"connection")) == (b"2", b"close")
    talk.down.expect_end()


def test_a_1_0_upstream_ends_its_answer_by_closing(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nup to the end")
    up.sock.close()
    answered = talk.down.response()
    assert answered.line == b"HTTP/1.1 200 OK"
    assert (answered.body, answered.get(b"connection")) == (b"up to the end", b"close")


def test_a_1_0_upstream_with_a_length_is_used_once_and_the_downstream_is_kept(
    route: Route,
) -> None:
    talk = Talk(route)
    for number in (b"1", b"2"):
        _, up = talk.ask(request())
        up.send(response(number, minor=0))
        assert talk.down.response().body == number
        up.expect_gone()


def test_a_1_0_upstream_that_keeps_its_connection_is_used_again(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request("/1"))
    up.send(response(b"1", "Connection: keep-alive", minor=0))
    assert talk.down.response().body == b"1"
    _, answered = talk.exchange(up, request("/2"), response(b"2"))
    assert answered.body == b"2"


# ---- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        ("http://b.example/x?y", b"b.example"),
        ("http://b.example:8080/", b"b.example:8080"),
        ("http://b.example", b"b.example"),
        ("HTTP://b.example?x", b"b.example"),
        ("https://b.example/", b"b.example"),
        ("http://[::1]:80/", b"[::1]:80"),
    ],
)
def test_an_absolute_target_overrides_host(route: Route, target: str, authority: bytes) -> None:
    talk = Talk(route)
    asked, up = talk.ask(request(target))
    assert asked.line == f"GET {target} HTTP/1.1".encode()
    assert asked.get(b"host") == authority
    up.send(response(b"x"))
    assert talk.down.response().body == b"x"


@pytest.mark.parametrize("target", ["http:///x", "http://?x", "http://u@/x"])
def test_an_absolute_target_without_a_host_is_refused(route: Route, target: str) -> None:
    talk = Talk(route)
    talk.down.send(request(target))
    assert talk.down.rest() == refusal(400, b"request_malformed")


def test_a_question_to_the_server_itself_passes(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(request("*", method="OPTIONS"))
    assert asked.line == b"OPTIONS * HTTP/1.1"
    up.send(response(b""))
    assert talk.down.response().status == 200


def test_an_unknown_method_passes_as_it_is(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(request(method="Frobnicate", body=b"x"))
    assert (asked.line, asked.body) == (b"Frobnicate / HTTP/1.1", b"x")
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"


# ---- CONNECT ------------------------------------------------------------------------------------


def test_connect_becomes_a_tunnel_once_the_upstream_agrees(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n")
    assert asked.line == b"CONNECT b.example:443 HTTP/1.1"
    talk.down.send(b"\x16early")
    expect_silence(up.sock, 0.05)
    up.send(b"HTTP/1.1 200 Connection established\r\n\r\nhello")
    assert talk.down.until(END).startswith(b"HTTP/1.1 200 ")
    assert talk.down.exactly(5) == b"hello"
    assert up.exactly(6) == b"\x16early"
    up.send(b"\0" * 100_000)
    assert talk.down.exactly(100_000) == b"\0" * 100_000


def test_connect_with_a_body_is_refused(route: Route) -> None:
    """An upstream would count the body's bytes, and so eat the start of the next request."""
    for field in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        talk = Talk(route)
        talk.down.send(b"CONNECT b:1 HTTP/1.1\r\nHost: b\r\n" + field + b"\r\n\r\n")
        assert talk.down.rest() == refusal(400, b"request_malformed")


def test_connect_that_is_refused_is_an_answer_like_any_other(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n")
    up.send(response(b"no", status="405 Method Not Allowed"))
    assert talk.down.response().body == b"no"
    _, answered = talk.exchange(up, request("/next"), response(b"next"))
    assert answered.body == b"next"


# ---- detection ----------------------------------------------------------------------------------


def test_a_request_sent_byte_by_byte_is_one_request(route: Route) -> None:
    talk = Talk(route)
    for byte in request("/slow", method="POST", body=b"body"):
        talk.down.send(bytes([byte]))
    up = talk.accept()
    asked = up.request()
    assert (asked.line, asked.body) == (b"POST /slow HTTP/1.1", b"body")
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"


def test_what_only_began_like_a_request_is_relayed_once_it_is_decided(route: Route) -> None:
    pair = route.pair()
    pair.downstream.sendall(b"HELO there\r\n")
    assert Stream(pair.upstream).exactly(12) == b"HELO there\r\n"


def test_what_could_still_be_a_request_is_relayed_after_the_detect_timeout(rig: Rig) -> None:
    pair = rig.route("--detect-timeout", "300ms").pair()
    pair.downstream.sendall(b"QUIT")
    expect_silence(pair.upstream, 0.1)
    assert Stream(pair.upstream).exactly(4) == b"QUIT"


def test_a_word_of_the_upstream_ends_the_look_at_once(rig: Rig) -> None:
    pair = rig.route("--detect-timeout", "1h").pair()
    pair.downstream.sendall(b"USER")
    expect_silence(pair.upstream, 0.05)
    pair.upstream.sendall(b"220 ready")
    assert Stream(pair.upstream).exactly(4) == b"USER"
    assert Stream(pair.downstream).exactly(9) == b"220 ready"


def test_without_http_everything_is_relayed_as_it_is(rig: Rig) -> None:
    pair = rig.route("--no-http").pair()
    text = b"GET / HTTP/1.1\r\nno host, and nobody minds\r\n\r\n"
    pair.downstream.sendall(text)
    assert Stream(pair.upstream).exactly(len(text)) == text
