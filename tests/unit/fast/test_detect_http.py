"""HTTP by its first line, byte for byte."""

from types import ModuleType

import pytest

from tests.unit.fast.looking import assert_same_in_every_cut, in_pieces, looked
from tests.unit.fast.test_detect import PREFACE

# IANA's registry of methods, and some that are in use without standing there.
METHODS = [
    *["ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET"],
    *["HEAD", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL"],
    *["MKREDIRECTREF", "MKWORKSPACE", "MOVE", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI"],
    *["PROPFIND", "PROPPATCH", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND"],
    *["UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL"],
    *["M-SEARCH", "NOTIFY", "PURGE", "SUBSCRIBE"],
]
TCHARS = set(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
METHOD_BYTES_MAX = 24


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_http1_however_the_line_is_cut(probe: ModuleType, method: str) -> None:
    text = f"{method} /index.html HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()
    assert assert_same_in_every_cut(probe, text) == ("http1", b"")


@pytest.mark.parametrize("target", ["/", "*", "a.example:443", "http://a.example/?q=%20", "/\xe9"])
def test_every_form_of_target_is_http1_however_the_line_is_cut(
    probe: ModuleType, target: str
) -> None:
    text = f"GET {target} HTTP/1.0\r\n\r\n".encode()
    assert assert_same_in_every_cut(probe, text) == ("http1", b"")


def test_a_truncated_line_is_pending_and_nothing_else(probe: ModuleType) -> None:
    text = b"DELETE /a/b HTTP/1"
    for cut in range(len(text)):
        assert looked(probe, [text[:cut]]) == ("pending", b"")
    assert looked(probe, [text]) == ("http1", b"")


@pytest.mark.parametrize("byte", range(256))
def test_a_method_consists_of_token_characters(probe: ModuleType, byte: int) -> None:
    text = b"G" + bytes([byte]) + b"T / HTTP/1.1"
    assert looked(probe, [text])[0] == ("http1" if byte in TCHARS else "opaque")


@pytest.mark.parametrize("byte", range(256))
def test_a_target_has_no_blanks_and_no_controls(probe: ModuleType, byte: int) -> None:
    text = b"GET /" + bytes([byte]) + b"x HTTP/1.1"
    assert looked(probe, [text])[0] == ("opaque" if byte <= 0x20 or byte == 0x7F else "http1")


def test_the_longest_method_is_known_and_a_longer_one_is_not(probe: ModuleType) -> None:
    assert looked(probe, [b"M" * METHOD_BYTES_MAX + b" / HTTP/1.1"]) == ("http1", b"")
    assert looked(probe, [b"M" * (METHOD_BYTES_MAX + 1) + b" / HTTP/1.1"]) == ("opaque", b"")


@pytest.mark.parametrize("bytes_max", [64, 1024, 65_535])
def test_a_target_is_looked_at_up_to_the_limit(probe: ModuleType, bytes_max: int) -> None:
    text = b"GET /" + b"x" * bytes_max
    assert looked(probe, [text[: bytes_max - 1]], bytes_max=bytes_max)[0] == "pending"
    assert looked(probe, [text[:bytes_max]], bytes_max=bytes_max)[0] == "http1"
    for size in (1, 100, 4096):
        assert looked(probe, in_pieces(text, size), bytes_max=bytes_max)[0] == "http1"


@pytest.mark.parametrize("bytes_max", [64, 1024, 65_000])
def test_a_line_that_ends_near_the_limit_is_read_to_its_end(
    probe: ModuleType, bytes_max: int
) -> None:
    for length in range(bytes_max - 20, bytes_max):
        start = b"GET /".ljust(length, b"x")
        assert looked(probe, [start + b" HTTP/1"], bytes_max=bytes_max)[0] == "http1"
        assert looked(probe, [start + b" HTTP/x"], bytes_max=bytes_max)[0] == "opaque"


def test_a_line_that_ends_near_the_highest_limit_is_read_to_its_end(probe: ModuleType) -> None:
    for length in range(65_500, 65_535):
        start = b"GET /".ljust(length, b"x")
        assert looked(probe, [start + b" HTTP/1"], bytes_max=65_535)[0] == "http1"


def test_the_preface_is_http2_however_it_is_cut(probe: ModuleType) -> None:
    text = PREFACE + b"\0\0\0\4\0\0\0\0\0"
    assert assert_same_in_every_cut(probe, text) == ("http2", b"")
    for cut in range(len(PREFACE)):
        assert looked(probe, [PREFACE[:cut]])[0] == "pending"


@pytest.mark.parametrize("at", range(len(PREFACE)))
def test_a_preface_with_one_wrong_byte_is_not_http2(probe: ModuleType, at: int) -> None:
    for byte in range(256):
        if byte == PREFACE[at]:
            continue
        text = PREFACE[:at] + bytes([byte]) + PREFACE[at + 1 :]
        verdict = looked(probe, [text])[0]
        # Up to the version it may be a request line like any other.
        assert verdict in ({"http1", "opaque"} if at < PREFACE.index(b".") else {"opaque"})
        assert looked(probe, in_pieces(text, 1))[0] == verdict
