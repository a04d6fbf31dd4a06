"""TLS is known by a whole ClientHello, and its server name is found wherever it stands."""

import pytest

from tests.support.hellos import (
    BIG_KEY_SHARE_BYTES,
    KEY_SHARE,
    PADDING,
    extension,
    hello,
    openssl_hello,
    server_name,
)
from tests.support.labels import Label, in_bytes, in_two, is_pending, label_after
from tests.support.rig import Rig, Route
from tests.support.sockets import receive_exactly

NAME = "shop.example.org"
TLS = Label("tls", "downstream", NAME)
NAMELESS = Label("tls", "downstream", "")
OPAQUE = Label("opaque", "downstream")
BIG_KEY_SHARE = extension(KEY_SHARE, bytes(BIG_KEY_SHARE_BYTES))


@pytest.fixture
def route(rig: Rig) -> Route:
    """A plain relay: pieces pass before a verdict, and the look at them is the same."""
    return rig.route("--no-http")


def test_the_hello_of_a_real_client_is_tls_with_its_server_name(route: Route) -> None:
    assert label_after(route, [openssl_hello(NAME, alpn=["h2", "http/1.1"])]) == TLS


def test_a_hello_without_a_server_name_is_tls_without_a_name(route: Route) -> None:
    assert label_after(route, [openssl_hello(None)]) == NAMELESS


def test_a_hello_sent_byte_by_byte_is_tls(route: Route) -> None:
    assert label_after(route, in_bytes(openssl_hello(NAME))) == TLS


def test_a_hello_cut_in_two_anywhere_is_tls(route: Route) -> None:
    text = hello([extension(PADDING, bytes(30)), server_name(NAME.encode())])
    assert {label_after(route, pieces) for pieces in in_two(text)} == {TLS}


def test_a_name_behind_a_big_key_share_is_found(route: Route) -> None:
    text = hello([BIG_KEY_SHARE, server_name(NAME.encode())])
    assert len(text) > 1024
    assert label_after(route, [text]) == TLS
    assert label_after(route, [text[:600], text[600:1200], text[1200:]]) == TLS


def test_a_name_before_a_big_key_share_is_found(route: Route) -> None:
    assert label_after(route, [hello([server_name(NAME.encode()), BIG_KEY_SHARE])]) == TLS


@pytest.mark.parametrize("record_bytes", [1, 5, 40, 100])
def test_a_hello_in_several_records_is_tls(route: Route, record_bytes: int) -> None:
    text = hello([server_name(NAME.encode())], record_bytes=record_bytes)
    assert label_after(route, [text]) == TLS


def test_a_hello_is_pending_until_its_last_byte(route: Route) -> None:
    text = openssl_hello(NAME)
    pair = route.pair()
    pair.downstream.sendall(text[:-1])
    receive_exactly(pair.upstream, len(text) - 1)
    assert is_pending(route, pair)


def test_the_longest_server_name_is_kept_whole(route: Route) -> None:
    name = ".".join(["a" * 62] * 4) + ".bcd"
    assert len(name) == 255
    assert label_after(route, [hello([server_name(name.encode())])]).sni == name


@pytest.mark.parametrize("name", [b"a\nb.example", b'"quoted"', b"a b", b"\xff\xfe", b"x" * 256])
def test_a_name_that_no_host_has_is_not_kept(route: Route, name: bytes) -> None:
    """It would go to logs as it stands."""
    assert label_after(route, [hello([server_name(name)])]).sni == ""


MALFORMED = {
    "another handshake message": b"\x16\x03\x01\0\x04\x02\0\0\0" + bytes(50),
    "an alert": b"\x15\x03\x01\0\x02\x01\0",
    "version 2 of the record": b"\x16\x02\x00\0\x40" + bytes(64),
    "an empty record": b"\x16\x03\x01\0\0" + bytes(50),
    "a message too short": b"\x16\x03\x01\0\x08\x01\0\0\x04" + bytes(4),
    "an extension past the end": hello([b"\0\x0a\xff\xff"]),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_only_resembles_a_hello_is_opaque(route: Route, text: bytes) -> None:
    assert label_after(route, [text]) == OPAQUE
