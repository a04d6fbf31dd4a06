"""HTTP/1.1 as a test speaks it: bytes out by hand, messages in by a reader of its own.

The reader is strict and knows only what the tests say: it shares no code with the proxy.
"""

import hashlib
import socket
from dataclasses import dataclass, field
from typing import Final

from tests.support.rig import Route
from tests.support.sockets import READ_BYTES
from tests.support.transfers import Digest

END: Final = b"\r\n\r\n"
PHRASES: Final = {
    400: b"Bad Request",
    403: b"Forbidden",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
# What the proxy calls each of its refusals of a request (remora-error).
REFUSALS: Final = {
    400: b"request_malformed",
    408: b"request_timeout",
    413: b"body_too_large",
    414: b"request_line_too_long",
    417: b"expectation_unknown",
    431: b"header_too_large",
    501: b"coding_unknown",
    505: b"version_unknown",
}
# Fields that the proxy adds to every request that lacks them.
ADDED: Final = {b"x-request-id", b"traceparent"}


def request(
    target: str = "/", *fields: str, method: str = "GET", body: bytes | None = None, minor: int = 1
) -> bytes:
    """Return a request with a Host, and with a Content-Length when there is a body."""
    lines = [f"{method} {target} HTTP/1.{minor}", "Host: a.example", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def response(
    body: bytes | None = b"", *fields: str, status: str = "200 OK", minor: int = 1
) -> bytes:
    """Return a response, with a Content-Length unless `body` is None."""
    lines = [f"HTTP/1.{minor} {status}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """Return a whole chunked body."""
    text = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return text + b"0\r\n" + trailers + b"\r\n"


def refusal(status: int, reason: bytes, *, closes: bool = True, is_head: bool = False) -> bytes:
    """Return an answer of the proxy's own, byte for byte."""
    body = b"remora: " + reason + b"\n"
    lines = [
        b"HTTP/1.1 %d %b" % (status, PHRASES[status]),
        b"content-type: text/plain",
        b"content-length: %d" % len(body),
        b"remora-error: " + reason,
        *([b"connection: close"] * closes),
    ]
    return b"\r\n".join(lines) + END + (b"" if is_head else body)


@dataclass(frozen=True)
class Message:
    """A request or a response as it was received."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: bytes) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None

    def came(self) -> list[tuple[bytes, bytes]]:
        """Return the fields without those that the proxy adds."""
        return [(key, value) for key, value in self.fields if key.lower() not in ADDED]


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    pairs = [line.partition(b":")[::2] for line in lines]
    return [(name, value.strip(b" \t")) for name, value in pairs]


class Stream:
    """A socket from which messages are read, one after the other, and never a byte too many."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()

    def send(self, text: bytes) -> None:
        self.sock.sendall(text)

    def _more(self) -> None:
        text = self.sock.recv(READ_BYTES)
        assert text, f"ended behind {bytes(self._buffer[-200:])!r}"
        self._buffer += text

    def until(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            self._more()
        text = bytes(self._buffer[: at + len(mark)])
        del self._buffer[: at + len(mark)]
        return text

    def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        text = bytes(self._buffer[:size])
        del self._buffer[:size]
        return text

    def head(self) -> Message:
        lines = self.until(END)[: -len(END)].split(b"\r\n")
        return Message(lines[0], _fields(lines[1:]))

    def request(self) -> Message:
        head = self.head()
        return self._with_body(head)

    def response(self, method: str = "GET") -> Message:
        """Return the next response, an interim one too, to a request of that method."""
        head = self.head()
        if method == "HEAD" or head.status < 200 or head.status in {204, 304}:
            return head
        if not head.all(b"content-length") and not head.all(b"transfer-encoding"):
            return Message(head.line, head.fields, self.rest())
        return self._with_body(head)

    def _with_body(self, head: Message) -> Message:
        if head.get(b"transfer-encoding"):
            assert head.get(b"transfer-encoding") == b"chunked"
            body, trailers = self.chunks()
            return Message(head.line, head.fields, body, trailers)
        return Message(head.line, head.fields, self.exactly(int(head.get(b"content-length") or 0)))

    def chunks(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        body = bytearray()
        while size := int(self.until(b"\r\n").partition(b";")[0], 16):
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        lines = []
        while (line := self.until(b"\r\n")) != b"\r\n":
            lines.append(line[:-2])
        return bytes(body), _fields(lines)

    def digest(self, size: int) -> Digest:
        """Read `size` bytes without keeping them."""
        sha256 = hashlib.sha256()
        left = size
        while left:
            if not self._buffer:
                self._more()
            part = self._buffer[:left]
            del self._buffer[:left]
            sha256.update(part)
            left -= len(part)
        return Digest(size, sha256.hexdigest())

    def digest_of_chunks(self) -> Digest:
        """Read a chunked body without trailers and without keeping it."""
        sha256 = hashlib.sha256()
        total = 0
        while size := int(self.until(b"\r\n").partition(b";")[0], 16):
            left = size
            while left:
                if not self._buffer:
                    self._more()
                part = self._buffer[:left]
                del self._buffer[:left]
                sha256.update(part)
                left -= len(part)
            assert self.exactly(2) == b"\r\n"
            total += size
        assert self.exactly(2) == b"\r\n"
        return Digest(total, sha256.hexdigest())

    def rest(self) -> bytes:
        """Everything up to a clean end."""
        while text := self.sock.recv(READ_BYTES):
            self._buffer += text
        text = bytes(self._buffer)
        self._buffer.clear()
        return text

    def expect_end(self) -> None:
        rest = self.rest()
        assert rest == b"", rest

    def expect_gone(self) -> None:
        """No more bytes: the other side closed or reset the connection."""
        assert not self._buffer
        try:
            text = self.sock.recv(READ_BYTES)
        except ConnectionResetError:
            return
        assert text == b"", text


class Said(Stream):
    """What was received already, read in the same way; there is no more."""

    def __init__(self, text: bytes) -> None:
        self._buffer = bytearray(text)

    def _more(self) -> None:
        raise AssertionError(f"ended behind {bytes(self._buffer[-200:])!r}")

    def rest(self) -> bytes:
        text = bytes(self._buffer)
        self._buffer.clear()
        return text


class Talk:
    """One downstream connection of a route, and the upstream connections that come of it."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.down = Stream(route.connect())

    def accept(self) -> Stream:
        return Stream(self.route.accept())

    def ask(self, text: bytes) -> tuple[Message, Stream]:
        """Send a request; return it as a new upstream connection gets it, and that connection."""
        self.down.send(text)
        up = self.accept()
        return up.request(), up

    def exchange(self, up: Stream, ask: bytes, answer: bytes) -> tuple[Message, Message]:
        """Send a request, answer it on the upstream connection that there is."""
        self.down.send(ask)
        asked = up.request()
        up.send(answer)
        method = ask.split(b" ", 1)[0].decode()
        return asked, self.down.response(method)


def talk_once(route: Route) -> tuple[Talk, Stream]:
    """Return a connection on which one exchange is over, and its upstream connection, now idle."""
    talk = Talk(route)
    asked, up = talk.ask(request("/first"))
    assert asked.line == b"GET /first HTTP/1.1"
    up.send(response(b"first"))
    assert talk.down.response().body == b"first"
    return talk, up
