"""Mesh TLS to a peer that nobody knows yet: not a byte for it before the verdict."""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Final

import pytest
from OpenSSL import SSL

from proxy import _fastpath
from tests.support import tls
from tests.support.http import request, response
from tests.support.mesh_stepper import MeshStepper, World
from tests.support.sockets import READ_BYTES, accepted, reset
from tests.support.tls import TlsEnd
from tests.support.waiting import PATIENCE_S

SECRET: Final = b"\0for one peer only"
ROUNDS: Final = 5


class Gate:
    """A worker that dials a mesh endpoint, played by the test; it answers questions when told."""

    def __init__(self) -> None:
        self.world = World(_fastpath)
        self.world.peer.settimeout(PATIENCE_S)
        self.stepper = MeshStepper(self.world).begin()
        self.sockets: list[socket.socket] = []
        self.version = 1

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.stepper.stop()
        self.world.close()
        assert not any(self.stepper.engine.stats()["live"])

    def publish(self, *, door: str = "strict", mesh: bool = True, **changed: int) -> None:
        self.version += 1
        snapshot = self.world.snapshot(self.version, door=door, mesh=mesh, **changed)
        self.stepper.engine.publish(snapshot)

    def tick(self) -> None:
        """Without the answers that MeshStepper.tick() gives."""
        for _ in range(ROUNDS):
            self.stepper.engine.tick(0, 2)

    def dial(self) -> socket.socket:
        sock = socket.create_connection(self.stepper.gate, timeout=PATIENCE_S)
        self.sockets.append(sock)
        self.tick()
        return sock

    def accept(self) -> TlsEnd:
        """The worker's connection, nothing said yet."""
        sock = accepted(self.world.peer)
        self.sockets.append(sock)
        sock.settimeout(0)
        return TlsEnd(sock, tls.context(self.world.svid), is_server=True)

    def move(self, end: TlsEnd) -> None:
        self.tick()
        with contextlib.suppress(BlockingIOError):
            end.hear()

    def shake(self, end: TlsEnd) -> TlsEnd:
        """The whole handshake, as far as OpenSSL goes: who the peer is, is not known then."""
        self.move(end)
        while not end.step():
            self.move(end)
        self.tick()
        return end

    def heard(self, end: TlsEnd) -> bytes:
        """What the peer has been told by now."""
        self.move(end)
        try:
            return bytes(end.ssl.recv(READ_BYTES))
        except SSL.WantReadError:
            return b""

    def answer(self) -> None:
        for _ in range(ROUNDS):
            self.stepper.tick(2)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.close()


def test_a_word_during_the_handshake_waits_for_its_end(gate: Gate) -> None:
    gate.publish(http=0)
    down = gate.dial()
    down.sendall(SECRET)
    end = gate.accept()
    gate.tick()
    down.sendall(SECRET)
    gate.shake(end)
    gate.answer()
    assert gate.heard(end) == SECRET * 2


def test_a_peer_without_a_verdict_is_told_nothing(gate: Gate) -> None:
    gate.publish(http=0)
    down = gate.dial()
    end = gate.shake(gate.accept())
    down.sendall(SECRET)
    assert gate.heard(end) == b""
    gate.answer()
    assert gate.heard(end) == SECRET


def test_a_request_sent_again_waits_for_the_verdict_on_its_new_peer(gate: Gate) -> None:
    down = gate.dial()
    first = gate.shake(gate.accept())
    gate.answer()
    down.sendall(request("/first"))
    assert gate.heard(first).startswith(b"GET /first ")
    first.sendall(response(b"1"))
    gate.answer()
    assert down.recv(READ_BYTES).endswith(b"1")
    down.sendall(request("/second"))
    assert gate.heard(first).startswith(b"GET /second ")
    gate.world.renew()  # another certificate: it is asked about anew
    reset(first.sock)
    gate.tick()
    second = gate.shake(gate.accept())
    down.sendall(request("/third"))  # an event of the downstream meanwhile
    assert gate.heard(second) == b""
    gate.answer()
    assert gate.heard(second).startswith(b"GET /second ")


def test_a_certificate_whose_verdict_got_lost_is_asked_about_again(gate: Gate) -> None:
    gate.publish(http=0)
    gate.dial()
    gate.shake(gate.accept())
    assert len(gate.stepper.engine.read_questions(10)) == 1  # and nobody answers
    deadline = time.monotonic() + PATIENCE_S
    while gate.stepper.handshakes() == 0:
        assert time.monotonic() < deadline, "nobody with that certificate is let in any more"
        gate.dial()
        gate.shake(gate.accept())
        gate.answer()
    gate.stepper.tick_until("those who waited", lambda: gate.stepper.handshakes() > 1)


def test_a_request_does_not_take_what_was_dialled_before_the_endpoint_was_meshed(
    gate: Gate,
) -> None:
    gate.publish(mesh=False)
    down = gate.dial()
    plain = accepted(gate.world.peer)
    gate.sockets.append(plain)
    gate.tick()
    gate.publish()
    down.sendall(request("/secret"))
    gate.tick()
    assert plain.recv(READ_BYTES) == b""
    end = gate.shake(gate.accept())
    gate.answer()
    assert gate.heard(end).startswith(b"GET /secret ")


# --- a ClientHello that comes late ---------------------------------------------------------------


def test_a_client_hello_has_its_time_from_when_it_comes(gate: Gate) -> None:
    """Who may speak plaintext may be silent for long; its handshake is not late for that."""
    gate.publish(door="permissive", tls_ms=200)
    sock = socket.create_connection(gate.stepper.door, timeout=PATIENCE_S)
    gate.sockets.append(sock)
    sock.settimeout(0)
    opened = time.monotonic()
    gate.stepper.tick_until("a late hour", lambda: time.monotonic() > opened + 0.3)
    end = TlsEnd(sock, tls.context(gate.world.svid), alpn=tls.ALPN_TCP)
    while not end.step():
        gate.move(end)
    gate.answer()
    assert gate.stepper.closed("tls_timeout") == 0
    assert gate.stepper.handshakes() == 1


def test_a_dial_that_failed_before_a_client_hello_is_made_again_after_it(gate: Gate) -> None:
    gate.publish(door="permissive")
    address = gate.world.app.getsockname()
    gate.world.app.close()
    sock = socket.create_connection(gate.stepper.door, timeout=PATIENCE_S)
    gate.sockets.append(sock)
    sock.settimeout(0)
    gate.tick()
    gate.world.app = socket.create_server(address)
    end = TlsEnd(sock, tls.context(gate.world.svid), alpn=tls.ALPN_ANY)
    while not end.step():
        gate.move(end)
    gate.answer()
    app, _ = gate.world.app.accept()
    gate.sockets.append(app)
    begun = time.monotonic()
    gate.stepper.tick_until("its grace to be over", lambda: time.monotonic() > begun + 0.4)
    assert gate.stepper.closed("connect_refused") == 0
    end.sendall(SECRET)
    gate.tick()
    assert app.recv(READ_BYTES) == SECRET
