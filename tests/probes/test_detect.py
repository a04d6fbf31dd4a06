"""The look at the first bytes, alone: what it knows after every single byte."""

from types import ModuleType

import pytest

from tests.support.hellos import (
    BIG_KEY_SHARE_BYTES,
    KEY_SHARE,
    extension,
    hello,
    openssl_hello,
    server_name,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# First bytes, the verdict, and how many of them it takes.
VERDICTS = [
    (b"GET / HTTP/1.1\r\n", "http1", 12),
    (b"OPTIONS * HTTP/1.0\r\n", "http1", 16),
    (b"PRI * HTTP/1.1\r\n", "http1", 12),
    (PREFACE, "http2", 24),
    (b"PRI * HTTP/2.0\r\n\r\nXX", "opaque", 19),
    (b"GET / HTTP/x", "opaque", 12),
    (b"GET / FTP", "opaque", 7),
    (b"GET /\r\n", "opaque", 6),
    (b"GET  / HTTP/1.1", "opaque", 5),
    (b"\r\nGET / HTTP/1.1", "opaque", 1),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "opaque", 25),
    (b"\x15\x03\x01", "opaque", 1),
    (b"\x16\x02", "opaque", 2),
    (b"\x16\x03\x01\x00\x00", "opaque", 5),
    (b"\x16\x03\x01\x00\x05\x02", "opaque", 6),
]


@pytest.mark.parametrize(("text", "protocol", "needed"), VERDICTS)
def test_the_verdict_falls_with_the_byte_that_decides(
    probe: ModuleType, text: bytes, protocol: str, needed: int
) -> None:
    look = probe.Look()
    for count, byte in enumerate(text[:needed], 1):
        assert look.feed(bytes([byte])) == (protocol if count == needed else "pending")


@pytest.mark.parametrize(
    "text",
    [
        openssl_hello("a.example"),
        openssl_hello(None),
        hello([]),
        hello([server_name(b"a.example")], record_bytes=7),
        hello([extension(KEY_SHARE, bytes(BIG_KEY_SHARE_BYTES)), server_name(b"a.example")]),
    ],
    ids=["openssl", "nameless", "bare", "records", "post-quantum"],
)
def test_a_hello_is_tls_with_its_last_byte_and_pending_before(
    probe: ModuleType, text: bytes
) -> None:
    for cut in range(1, len(text)):
        look = probe.Look()
        assert look.feed(text[:cut]) == "pending"
        assert look.feed(text[cut:]) == "tls"


def test_bytes_behind_the_verdict_are_not_looked_at(probe: ModuleType) -> None:
    look = probe.Look()
    assert look.feed(PREFACE + b"\xff" * 5000) == "http2"


def test_a_name_is_put_together_from_its_pieces(probe: ModuleType) -> None:
    look = probe.Look()
    for byte in hello([server_name(b"pieces.example.org")], record_bytes=3):
        look.feed(bytes([byte]))
    assert look.sni == b"pieces.example.org"


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        (b"GET", "opaque"),
        (b"GET ", "opaque"),
        (b"GET /", "http1"),
        (b"GET / ", "http1"),
        (b"\x16\x03\x01", "opaque"),
        (openssl_hello("a.example")[:60], "tls"),
    ],
)
def test_a_look_cut_short_says_the_best_that_is_known(
    probe: ModuleType, text: bytes, protocol: str
) -> None:
    look = probe.Look()
    look.feed(text)
    assert look.finish() == protocol


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        (b"\0\0\0\4\0\0\0\0\0", "http2"),
        (b"\0\0\x12\4\0\0\0\0\0" + bytes(18), "http2"),
        (b"\0\0\x11\4\0\0\0\0\0", "opaque"),
        (b"\0\0\0\4\0\0\0\0", "opaque"),
        (b"\0\0\0\4\1\0\0\0\0", "opaque"),
        (b"220 ready\r\n", "opaque"),
        (b"\x4a\0\0\0\x0a8.0", "opaque"),
    ],
)
def test_an_upstream_that_speaks_first_is_http2_or_opaque(
    probe: ModuleType, text: bytes, protocol: str
) -> None:
    assert probe.Look().upstream_first(text) == protocol
