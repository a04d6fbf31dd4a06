"""HTTP/1 and HTTP/2 are known by their first line, however it is cut, and by nothing less."""

import pytest

from tests.support.labels import Label, in_bytes, in_two, is_pending, label_after, label_of
from tests.support.rig import Rig, Route
from tests.support.sockets import receive_exactly

HTTP1 = Label("http1", "downstream")
HTTP2 = Label("http2", "downstream")
OPAQUE = Label("opaque", "downstream")

# RFC 9110, RFC 5789, and the longest names in IANA's registry.
METHODS = [
    *["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"],
    *["PROPFIND", "MKCALENDAR", "VERSION-CONTROL", "UPDATEREDIRECTREF", "M-SEARCH"],
]
TARGETS = ["/", "/a/long/path?with=query&more=%20", "http://example.org/absolute", "*"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


@pytest.fixture
def route(rig: Rig) -> Route:
    """A plain relay: pieces pass before a verdict, and the look at them is the same."""
    return rig.route("--no-http")


def request(method: str, target: str = "/") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: example.org\r\n\r\n".encode()


def test_every_method_is_http1(route: Route) -> None:
    assert {label_after(route, [request(method)]) for method in METHODS} == {HTTP1}


def test_every_form_of_target_is_http1(route: Route) -> None:
    requests = [request("GET", target) for target in TARGETS]
    requests.append(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
    assert {label_after(route, [text]) for text in requests} == {HTTP1}


def test_http_1_0_is_http1(route: Route) -> None:
    assert label_after(route, [b"GET / HTTP/1.0\r\n\r\n"]) == HTTP1


def test_a_request_sent_byte_by_byte_is_http1(route: Route) -> None:
    for method in METHODS:
        assert label_after(route, in_bytes(request(method))) == HTTP1


def test_a_request_cut_in_two_anywhere_is_http1(route: Route) -> None:
    assert {label_after(route, pieces) for pieces in in_two(request("POST", "/here"))} == {HTTP1}


def test_a_target_longer_than_the_look_is_still_http1(route: Route) -> None:
    assert label_after(route, [request("GET", "/" + "x" * 5000)]) == HTTP1


def test_the_preface_is_http2(route: Route) -> None:
    assert label_after(route, [PREFACE + SETTINGS]) == HTTP2


def test_the_preface_sent_byte_by_byte_is_http2(route: Route) -> None:
    assert label_after(route, in_bytes(PREFACE + SETTINGS)) == HTTP2


def test_the_preface_cut_in_two_anywhere_is_http2(route: Route) -> None:
    assert {label_after(route, pieces) for pieces in in_two(PREFACE)} == {HTTP2}


def test_a_preface_that_goes_wrong_at_its_end_is_not_http2(route: Route) -> None:
    assert label_after(route, [PREFACE[:-1] + b"!"]).protocol != "http2"


@pytest.mark.parametrize(
    "text",
    [
        b"HELO mail.example.org\r\n",
        b"GET /with no version\r\n\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
        b"GET / HTTPS/1.1\r\n\r\n",
        b"NICK remora\r\nUSER remora 0 * :fish\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x00\x00\x17\xff\x00",
        b"A" * 2000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_only_resembles_http_is_opaque(route: Route, text: bytes) -> None:
    assert label_after(route, [text]) == OPAQUE
    assert label_after(route, in_bytes(text)) == OPAQUE


def test_a_method_alone_decides_nothing_yet(route: Route) -> None:
    pair = route.pair()
    pair.downstream.sendall(b"GET")
    receive_exactly(pair.upstream, 3)
    assert is_pending(route, pair)


def test_an_answer_settles_what_an_unfinished_line_left_open(route: Route) -> None:
    """The upstream has understood something: nothing more will be known of the first line."""
    pair = route.pair()
    pair.downstream.sendall(b"PING")
    receive_exactly(pair.upstream, 4)
    pair.upstream.sendall(b"PONG")
    receive_exactly(pair.downstream, 4)
    assert label_of(route, pair) == OPAQUE


def test_an_http2_upstream_that_speaks_first_is_known_by_its_settings(route: Route) -> None:
    """RFC 9113, section 3.4: a server may send its SETTINGS before it has seen the preface."""
    pair = route.pair()
    pair.upstream.sendall(SETTINGS)
    receive_exactly(pair.downstream, len(SETTINGS))
    assert label_of(route, pair) == Label("http2", "upstream")
