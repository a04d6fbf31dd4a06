"""What a test does to one TCP socket, and what it expects to see there.

Every socket has a timeout, so that a byte which never comes fails the test that waits for it.
"""

import contextlib
import select
import socket
import struct
from typing import Final

from tests.support.waiting import PATIENCE_S

# (host, port) for both families; the flow and scope of IPv6 are always zero here.
Address = tuple[str, int]

LOOPBACK: Final = {"ipv4": "127.0.0.1", "ipv6": "::1"}
READ_BYTES: Final = 1 << 18


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address_of(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return host, port


def written(address: Address) -> str:
    """Spell the address as a flag of the proxy takes it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parsed(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def listening(host: str, *, port: int = 0, backlog: int = 4096) -> socket.socket:
    sock = bound(host, port=port)
    sock.listen(backlog)
    return sock


def bound(host: str, *, port: int = 0) -> socket.socket:
    """Reserve a port: bound and not listening, it refuses whoever dials it."""
    sock = socket.socket(family_of(host))
    sock.settimeout(PATIENCE_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def connected(address: Address) -> socket.socket:
    sock = socket.socket(family_of(address[0]))
    sock.settimeout(PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def accepted(listener: socket.socket) -> socket.socket:
    sock, _ = listener.accept()
    sock.settimeout(PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock: socket.socket) -> None:
    """Close with RST: zero linger throws away what is unsent and skips the FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = sock.recv(size - len(received))
        assert chunk, f"ended after {len(received)} of {size} bytes: {bytes(received[-64:])!r}"
        received += chunk
    return bytes(received)


def receive_until_end(sock: socket.socket) -> bytes:
    received = bytearray()
    while chunk := sock.recv(READ_BYTES):
        received += chunk
    return bytes(received)


def expect_end(sock: socket.socket) -> None:
    """The next thing to arrive is a clean end of stream."""
    assert sock.recv(64) == b""


def expect_reset(sock: socket.socket) -> bytes:
    """The stream ends with RST, never with a clean end; returns what came before it."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(READ_BYTES):
            received += chunk
        raise AssertionError(f"clean end of stream after {len(received)} bytes; wanted a reset")
    return bytes(received)


def expect_hang_up(sock: socket.socket) -> None:
    """The kernel calls the connection dead in both directions; no byte of ours is needed."""
    poll = select.poll()
    poll.register(sock, 0)  # errors and hang-ups are always reported
    assert poll.poll(PATIENCE_S * 1000), "the connection is still alive"


def expect_refusal(address: Address) -> None:
    """Whoever dials `address` gets a reset: at once, or as soon as the proxy has looked at it."""
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError), connected(address) as s:
        expect_reset(s)


def expect_silence(sock: socket.socket, seconds: float = 0.3) -> None:
    """Nothing arrives for that long: no byte, no end, no reset."""
    readable, _, _ = select.select([sock], [], [], seconds)
    assert not readable, f"expected silence, got {sock.recv(64)!r}"


def fill_until_blocked(sock: socket.socket, chunk: bytes, *, seconds: float = 0.5) -> int:
    """Send until the kernel has taken nothing for `seconds`; returns the number of bytes taken."""
    sent_bytes = 0
    sock.setblocking(False)  # noqa: FBT003 - the name of the standard library
    while select.select([], [sock], [], seconds)[1]:
        with contextlib.suppress(BlockingIOError):
            sent_bytes += sock.send(chunk)
    sock.settimeout(PATIENCE_S)
    return sent_bytes
