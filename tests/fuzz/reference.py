"""What detection should say, written a second time: whole input, slow, obvious, and in Python."""

import re
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# RFC 9112, section 3; a method of up to 24 letters, as proxy/fast/limits.pxd has it.
METHOD: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,24}"
TARGET: Final = rb"[^\x00-\x20\x7f]+"
REQUEST_LINE: Final = re.compile(METHOD + rb" " + TARGET + rb" HTTP/[0-9]")
# Every beginning that may still become a request line.
BEGINNING: Final = re.compile(METHOD + rb"( (" + TARGET + rb"( (H(T(T(P(/)?)?)?)?)?)?)?)?")
HELLO_BYTES: Final = range(38, 16385)
SNI_BYTES: Final = range(1, 256)
SERVER_NAME: Final = 0  # extension types
ALPN: Final = 16
ALPN_BYTES_MIN: Final = 4  # shorter ones hold no name, and are not looked at
SESSION_BYTES: Final = range(33)
CIPHERS_BYTES: Final = range(2, 65536, 2)
COMPRESSION_BYTES: Final = range(1, 256)


class Verdict(NamedTuple):
    protocol: str
    sni: bytes = b""


PENDING: Final = Verdict("pending")
OPAQUE: Final = Verdict("opaque")


class _MalformedError(Exception):
    """No ClientHello."""


class _ShortError(Exception):
    """The bytes end before the decision."""


class _Reader:
    """Takes bytes from the front, inside a bound that a length field has set."""

    def __init__(self, text: bytes, left: int) -> None:
        self.text = text
        self.left = left  # bytes that the enclosing structure has, here or still to come

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _MalformedError
        if count > len(self.text):
            raise _ShortError
        taken, self.text = self.text[:count], self.text[count:]
        self.left -= count
        return taken

    def number(self, count: int) -> int:
        if count > self.left > len(self.text):
            raise _ShortError  # it will not fit, but the byte that shows it is not here yet
        return int.from_bytes(self.take(count))

    def vector(self, length_bytes: int, allowed: range) -> bytes:
        length = self.number(length_bytes)
        _expect(length in allowed)
        return self.take(length)


def verdict_of(text: bytes, bytes_max: int) -> Verdict:
    if not text:
        return PENDING
    return _tls(text) if text[0] == 0x16 else _line(text, bytes_max)


def _line(text: bytes, bytes_max: int) -> Verdict:
    if PREFACE.startswith(text[: len(PREFACE)]):
        return Verdict("http2") if len(text) >= len(PREFACE) else PENDING
    target = re.match(METHOD + rb" " + TARGET, text)
    if target and target.end() >= bytes_max:
        return Verdict("http1")
    if text.startswith(PREFACE[:12]):
        return OPAQUE  # began as the preface does, and left it after "PRI * HTTP/2"
    if REQUEST_LINE.match(text):
        return Verdict("http1")
    return PENDING if BEGINNING.fullmatch(text) else OPAQUE


def _tls(text: bytes) -> Verdict:
    message, is_faulty = _without_records(text)
    try:
        return Verdict("tls", _server_name(message))
    except _MalformedError:
        return OPAQUE
    except _ShortError:
        return OPAQUE if is_faulty else PENDING


def _without_records(text: bytes) -> tuple[bytes, bool]:
    """Return the handshake bytes of the records, and whether a faulty record follows them."""
    message = b""
    while text:
        header, rest = text[:5], text[5:]
        if header[0] != 0x16 or header[1:2] not in {b"", b"\3"}:
            return message, True
        if len(header) < 5:
            break
        record_bytes = int.from_bytes(header[3:])
        if not 0 < record_bytes <= HELLO_BYTES[-1]:
            return message, True
        message += rest[:record_bytes]
        text = rest[record_bytes:]
    return message, False


def _server_name(message: bytes) -> bytes:
    """Read a whole ClientHello (RFC 8446, section 4.1.2)."""
    head = _Reader(message, len(message) + 4)
    if head.number(1) != 1:
        raise _MalformedError
    hello_bytes = head.number(3)
    if hello_bytes not in HELLO_BYTES:
        raise _MalformedError
    hello = _Reader(head.text, hello_bytes)
    hello.take(34)
    hello.vector(1, SESSION_BYTES)
    hello.vector(2, CIPHERS_BYTES)
    hello.vector(1, COMPRESSION_BYTES)
    if hello.left and hello.number(2) != hello.left:
        raise _MalformedError
    name = b""
    while hello.left:
        name = _extension(hello, name)
    return name if re.fullmatch(rb"[A-Za-z0-9._-]*", name) else b""


def _extension(hello: _Reader, name: bytes) -> bytes:
    """Read one extension; return its server name, or `name` when it is of another kind."""
    kind, left = hello.number(2), hello.number(2)
    if left > hello.left:
        raise _MalformedError
    if kind == ALPN and left >= ALPN_BYTES_MIN:
        _names(hello, left - 2)
        return name
    if kind != SERVER_NAME:
        hello.take(left)
        return name
    _expect(not name and left >= 5)
    _expect(hello.number(2) == left - 2)  # one list
    _expect(hello.number(1) == 0)  # of one host_name
    name_bytes = hello.number(2)
    _expect(name_bytes == left - 5 and name_bytes in SNI_BYTES)
    return hello.take(name_bytes)


def _names(hello: _Reader, left: int) -> None:
    """Read the list of protocol names (RFC 7301, section 3.1)."""
    _expect(hello.number(2) == left)
    while left:
        name_bytes = hello.number(1)
        _expect(0 < name_bytes < left)
        hello.take(name_bytes)
        left -= name_bytes + 1


def _expect(condition: bool) -> None:  # noqa: FBT001 - a condition is what it takes
    if not condition:
        raise _MalformedError
