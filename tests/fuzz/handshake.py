"""Handshakes of mesh TLS with damaged flights: none may succeed, each must be counted, and end.

The first byte of an input says what the rest is: a ClientHello as it is, the answer of a server as
it is, or where a real handshake is to be damaged. The second one is the size of the pieces.
"""

import contextlib
import socket
from functools import cache
from types import ModuleType
from typing import Final

from OpenSSL import SSL

from tests.support import tls
from tests.support.mesh_stepper import MeshStepper, World
from tests.support.sockets import READ_BYTES, Address, reset
from tests.support.tls import TlsEnd

HELLO, ANSWER, LIVE = range(3)
# What does not count at the head of either flight: the type and the version of a ClientHello's
# record (RFC 8446, 5.1: nobody looks at it), and a change_cipher_spec, which means nothing.
SPARED_BYTES: Final = (3, 6)


@cache
def stepper(module: ModuleType) -> MeshStepper:
    return MeshStepper(World(module)).begin()


def check_handshake(module: ModuleType, text: bytes) -> None:
    check(stepper(module), text, is_blind=False)


def check_blind_handshake(module: ModuleType, text: bytes) -> None:
    """Like a worker that does not look at what it is told."""
    check(stepper(module), text, is_blind=True)


def check(worker: MeshStepper, text: bytes, *, is_blind: bool) -> None:
    kind, size, *_ = (*text[:2], 0, 0)
    before = worker.handshakes(), worker.failed(), worker.closed("plaintext_refused")
    if kind % 3 == HELLO:
        is_good, is_tls = say_hello(worker, text[2:], size), text[2:3] == b"\x16"
    elif kind % 3 == ANSWER:
        is_good, is_tls = answer(worker, text[2:], size), True
    else:
        is_good, is_tls = shake(worker, text[2:], size, is_blind=is_blind), True
    worker.tick_until("the end of all connections", worker.is_empty)
    refused = int(not is_tls and len(text) > 2)
    after = worker.handshakes(), worker.failed(), worker.closed("plaintext_refused")
    found = tuple(now - was for now, was in zip(after, before, strict=True))
    wanted = (int(is_good), int(is_tls and not is_good), refused)
    assert found == wanted, f"handshakes, failures, refusals: {found}, not {wanted}"


def dialled(address: Address) -> socket.socket:
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(0)
    return sock


def send(worker: MeshStepper, sock: socket.socket, text: bytes, size: int) -> None:
    """Send it in pieces, each met by the worker alone; it may have hung up."""
    size = size * 16 or len(text) or 1
    for start in range(0, len(text), size):
        with contextlib.suppress(OSError):
            sock.send(text[start : start + size])
        worker.tick()


def say_hello(worker: MeshStepper, text: bytes, size: int) -> bool:
    with dialled(worker.door) as sock:
        send(worker, sock, text, size)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        worker.tick_until("the end", lambda: ended(sock))
    return False


def ended(sock: socket.socket) -> bool:
    try:
        return not sock.recv(READ_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        return True


def answer(worker: MeshStepper, text: bytes, size: int) -> bool:
    """Be the server that a worker dials."""
    with dialled(worker.gate) as down:
        down.send(b"\0")  # or it would be held back: this might become HTTP
        up = accepted(worker, worker.world.peer)
        with up:
            worker.tick_until("a ClientHello", lambda: heard(up))
            send(worker, up, text, size)
            with contextlib.suppress(OSError):
                up.shutdown(socket.SHUT_WR)
            worker.tick_until("the end", lambda: ended(down))
    return False


def heard(sock: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        return bool(sock.recv(READ_BYTES))
    return False


def accepted(worker: MeshStepper, listener: socket.socket) -> socket.socket:
    found: list[socket.socket] = []

    def has_come() -> bool:
        with contextlib.suppress(BlockingIOError):
            found.append(listener.accept()[0])
        return bool(found)

    worker.tick_until("a dial", has_come)
    found[0].settimeout(0)
    return found[0]


def shake(worker: MeshStepper, text: bytes, size: int, *, is_blind: bool) -> bool:
    """Shake hands for real; returns whether nothing was damaged."""
    number, how, high, low, value, *_ = (*text[:5], 0, 0, 0, 0, 0)
    is_good = how % 4 == 0
    with dialled(worker.door) as sock:
        end = TlsEnd(sock, tls.context(worker.world.svid), alpn=tls.ALPN_TCP)
        for flight in range(2):
            if flight:
                worker.tick_until("the server's flight", lambda: fed(end))
            with contextlib.suppress(SSL.WantReadError, SSL.Error):
                end.ssl.do_handshake()
            records = end.records()
            if flight == number % 2 and not is_good and not is_blind:
                records = damaged(records, flight, how % 4, high << 8 | low, value)
            send(worker, sock, records, size)
            if flight == number % 2 and not is_good:
                break
        if is_good or (is_blind and number % 2):
            finish(worker, sock)
        else:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            worker.tick_until("the end", lambda: ended(sock))
    return is_good


def fed(end: TlsEnd) -> bool:
    with contextlib.suppress(BlockingIOError):
        text = end.sock.recv(READ_BYTES)
        end.feed(text)
        return True
    return False


def finish(worker: MeshStepper, sock: socket.socket) -> None:
    """The handshake is good: the app is dialled. Let all of it go."""
    with accepted(worker, worker.world.app) as app:
        worker.tick()
        reset(app)
        worker.tick_until("the end", lambda: ended(sock))


def damaged(records: bytes, flight: int, how: int, at: int, value: int) -> bytes:
    """Change, lose or double a byte that counts."""
    first = SPARED_BYTES[flight]
    at = first + at % (len(records) - first)
    if how == 1:
        changed = records[at] ^ (value or 1)
        return records[:at] + bytes([changed]) + records[at + 1 :]
    if how == 2:
        return records[:at] + records[at + 1 :]
    return records[: at + 1] + records[at:]
