"""A small WebSocket server and client (RFC 6455): handshake, masked frames, echo, close."""

import base64
import hashlib
import os
import socket
from contextlib import suppress
from typing import Final, NamedTuple

from tests.support.http import Stream, request

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10


class Frame(NamedTuple):
    """One frame: a message, or a part of one."""

    opcode: int
    payload: bytes
    is_last: bool = True


def accept_key(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())  # noqa: S324 - RFC 6455, 4.2.2


def send_frame(stream: Stream, frame: Frame, *, masked: bool) -> None:
    size = len(frame.payload)
    head = bytes([0x80 * frame.is_last | frame.opcode])
    flag = 0x80 * masked
    if size < 126:
        head += bytes([flag | size])
    elif size < 1 << 16:
        head += bytes([flag | 126]) + size.to_bytes(2)
    else:
        head += bytes([flag | 127]) + size.to_bytes(8)
    payload = frame.payload
    if masked:
        mask = os.urandom(4)
        head += mask
        payload = _masked(payload, mask)
    stream.send(head + payload)


def _masked(payload: bytes, mask: bytes) -> bytes:
    pad = mask * (len(payload) // 4 + 1)
    size = len(payload)
    return (int.from_bytes(payload) ^ int.from_bytes(pad[:size])).to_bytes(size)


def read_frame(stream: Stream) -> Frame:
    first, second = stream.exactly(2)
    size = second & 0x7F
    if size == 126:
        size = int.from_bytes(stream.exactly(2))
    elif size == 127:
        size = int.from_bytes(stream.exactly(8))
    mask = stream.exactly(4) if second & 0x80 else b""
    payload = stream.exactly(size)
    payload = _masked(payload, mask) if mask else payload
    return Frame(first & 0x0F, payload, bool(first & 0x80))


def echo_server(listener: socket.socket) -> None:
    """Serve one connection after the other until `listener` is closed."""
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        sock.settimeout(20)
        with sock, suppress(OSError, AssertionError):
            _echo(Stream(sock))


def _echo(stream: Stream) -> None:
    head = stream.head()
    key = head.get(b"sec-websocket-key")
    assert key
    assert (head.get(b"upgrade") or b"").lower() == b"websocket"
    assert b"upgrade" in (head.get(b"connection") or b"").lower()
    stream.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key) + b"\r\n\r\n"
    )
    while True:
        frame = read_frame(stream)
        opcode = PONG if frame.opcode == PING else frame.opcode
        send_frame(stream, frame._replace(opcode=opcode), masked=False)
        if frame.opcode == CLOSE:
            return


def client(sock: socket.socket) -> Stream:
    """Open a WebSocket; the answer must be the one to our key."""
    stream = Stream(sock)
    key = base64.b64encode(os.urandom(16))
    fields = (
        *("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        f"Sec-WebSocket-Key: {key.decode()}",
    )
    stream.send(request("/socket", *fields))
    head = stream.head()
    assert head.status == 101, head
    assert head.get(b"sec-websocket-accept") == accept_key(key)
    assert (head.get(b"upgrade") or b"").lower() == b"websocket"
    assert (head.get(b"connection") or b"").lower() == b"upgrade"
    return stream
