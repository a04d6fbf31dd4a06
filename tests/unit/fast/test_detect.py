"""The look at the first bytes, alone: what it knows after every single byte."""

from types import ModuleType

import pytest

from tests.support.hellos import hello, openssl_hello, server_name
from tests.unit.fast.looking import label, looked

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# First bytes, the verdict, and how many of them it takes.
VERDICTS = [
    (b"GET / HTTP/1.1\r\n", "http1", 12),
    (b"get / HTTP/1.1\r\n", "http1", 12),
    (b"OPTIONS * HTTP/1.0\r\n", "http1", 16),
    (b"PRI * HTTP/1.1\r\n", "http1", 12),
    (b"PR / HTTP/1.1\r\n", "http1", 11),
    (b"PRI / HTTP/2.0\r\n", "http1", 12),
    (PREFACE, "http2", 24),
    (b"PRI * HTTP/2.0\r\n\r\nXX", "opaque", 19),
    (b"PRI * HTTP/2.1", "opaque", 14),
    (b"GET / HTTP/x", "opaque", 12),
    (b"GET / http/1.1", "opaque", 7),
    (b"GET / FTP", "opaque", 7),
    (b"GET /\r\n", "opaque", 6),  # HTTP/0.9
    (b"GET /\n", "opaque", 6),
    (b"GET\t/", "opaque", 4),
    (b"GET  / HTTP/1.1", "opaque", 5),
    (b"GET /a\0b HTTP/1.1", "opaque", 7),
    (b"GET /a\x7fb HTTP/1.1", "opaque", 7),
    (b" GET / HTTP/1.1", "opaque", 1),
    (b"\r\nGET / HTTP/1.1", "opaque", 1),
    (b"HTTP/1.1 200 OK\r\n", "opaque", 5),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "opaque", 25),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "opaque", 20),
    (b"EHLO a.example\r\n", "opaque", 15),
    (b"\0", "opaque", 1),
    (b"\x80\x2e\x01\3\1", "opaque", 1),  # SSL 2
    (b"\x15\x03\x01", "opaque", 1),
    (b"\x16\x02", "opaque", 2),
    (b"\x16\x03\x01\x00\x00", "opaque", 5),
    (b"\x16\x03\x01\x40\x01", "opaque", 5),
    (b"\x16\x03\x01\x00\x05\x02", "opaque", 6),
    (b"\x16\x03\x01\x00\x05\x01\0\0\x25", "opaque", 9),
    (b"\x16\x03\x01\x00\x05\x01\0\x40\x01", "opaque", 9),
]


@pytest.mark.parametrize(("text", "protocol", "needed"), VERDICTS)
def test_the_verdict_falls_with_the_byte_that_decides(
    probe: ModuleType, text: bytes, protocol: str, needed: int
) -> None:
    look = probe.Look()
    for count, byte in enumerate(text[:needed], 1):
        assert look.feed(bytes([byte])) == (protocol if count == needed else "pending")


def test_nothing_said_is_nothing_known(probe: ModuleType) -> None:
    assert probe.Look().feed(b"") == "pending"


def test_bytes_behind_the_verdict_are_not_looked_at(probe: ModuleType) -> None:
    assert probe.Look().feed(PREFACE + b"\xff" * 5000) == "http2"
    assert looked(probe, [hello([server_name(b"a.example")]) + b"\xff" * 5000]) == (
        "tls",
        b"a.example",
    )


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        (b"", "opaque"),
        (b"G", "opaque"),
        (b"GET", "opaque"),
        (b"GET ", "opaque"),
        (b"GET /", "http1"),
        (b"GET / ", "http1"),
        (b"GET / HTTP", "http1"),
        (PREFACE[:3], "opaque"),
        (PREFACE[:14], "opaque"),
        (PREFACE[:-1], "opaque"),
        (b"\x16", "opaque"),
        (b"\x16\x03\x01", "opaque"),
        (b"\x16\x03\x01\x02\0\x01\0", "opaque"),
        (openssl_hello("a.example")[:60], "tls"),
        (openssl_hello("a.example")[:-1], "tls"),
    ],
    ids=lambda each: each if isinstance(each, str) else f"{len(each)} bytes",  # hellos are random
)
def test_a_look_cut_short_says_the_best_that_is_known(
    probe: ModuleType, text: bytes, protocol: str
) -> None:
    look = probe.Look()
    look.feed(text)
    assert look.finish() == protocol


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1", b"\0", PREFACE, openssl_hello("a.example")])
def test_cutting_a_finished_look_short_changes_nothing(probe: ModuleType, text: bytes) -> None:
    look = probe.Look()
    look.feed(text)
    before = label(look)
    look.finish()
    assert label(look) == before


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        (b"\0\0\0\4\0\0\0\0\0", "http2"),
        (b"\0\0\x12\4\0\0\0\0\0" + bytes(18), "http2"),
        (b"\0\0\x11\4\0\0\0\0\0", "opaque"),  # settings have six bytes each
        (b"\0\1\0\4\0\0\0\0\0", "opaque"),
        (b"\0\0\0\4\0\0\0\0", "opaque"),  # cut in the frame header
        (b"\0\0\0\4\1\0\0\0\0", "opaque"),  # an acknowledgement cannot come first
        (b"\0\0\0\4\0\0\0\0\1", "opaque"),  # settings of one stream
        (b"\0\0\0\6\0\0\0\0\0", "opaque"),  # a PING
        (b"220 ready\r\n", "opaque"),
        (b"\x4a\0\0\0\x0a8.0", "opaque"),
        (b"", "opaque"),
        (b"\x16\x03\x01\x02\0\1\0\0", "opaque"),
    ],
)
def test_an_upstream_that_speaks_first_is_http2_or_opaque(
    probe: ModuleType, text: bytes, protocol: str
) -> None:
    assert probe.Look().upstream_first(text) == protocol
    assert probe.Look(is_low=True).upstream_first(text) == protocol
