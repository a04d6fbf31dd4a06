"""Whichever call fails while mesh TLS is set up or used: no crash, no leak, no wrong count.

Calls to the kernel, the allocator and libcrypto fail as in test_failed_calls.py. OpenSSL allocates
for itself, out of our reach: what it says of that is played by other functions in our table of its
own, with records that stay with it, so that each of them is called.
"""

import contextlib
import ctypes
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from OpenSSL import SSL

from proxy import symbols
from tests.probes.faulty import Faulty
from tests.support import tls
from tests.support.mesh_stepper import MeshStepper, World
from tests.support.sockets import READ_BYTES, Address
from tests.support.svids import Signer
from tests.support.tls import TlsEnd

ROUNDS: Final = 8
BULK: Final = bytes(100_000)  # more than a write, and more than a socket takes at once

FAULTS: Final = {
    "malloc": [errno.ENOMEM],
    "calloc": [errno.ENOMEM],
    "PyMem_RawCalloc": [errno.ENOMEM],
    "recv": [errno.ECONNRESET, errno.EINTR, errno.EAGAIN],
    "send": [errno.EPIPE, errno.EINTR, errno.EAGAIN],
    "shutdown": [errno.ENOTCONN],
    "epoll_ctl": [errno.ENOMEM],
    "socket": [errno.EMFILE],
    "EVP_CIPHER_CTX_new": [errno.ENOMEM],
    "EVP_CIPHER_CTX_ctrl": [errno.ENOMEM],
    "EVP_CipherFinal_ex": [errno.ENOMEM],
    "EVP_CipherInit_ex": [errno.ENOMEM],
    "EVP_CipherUpdate": [errno.ENOMEM],
    "HMAC": [errno.ENOMEM],
}

POINTER, INT = ctypes.c_void_p, ctypes.c_int
# Name → what it returns when it fails, the type of that, the types of its arguments.
OPENSSL_FAULTS: Final[dict[str, tuple[Any, Any, tuple[Any, ...]]]] = {
    "SSL_new": (None, POINTER, (POINTER,)),
    "BIO_new": (None, POINTER, (POINTER,)),
    "BIO_new_mem_buf": (None, POINTER, (POINTER, INT)),
    "SSL_do_handshake": (-1, INT, (POINTER,)),
    "SSL_read": (-1, INT, (POINTER, POINTER, INT)),
    "SSL_write": (-1, INT, (POINTER, POINTER, INT)),
    "SSL_shutdown": (-1, INT, (POINTER,)),
    "SSL_get_peer_certificate": (None, POINTER, (POINTER,)),
    "SSL_set_alpn_protos": (1, INT, (POINTER, POINTER, ctypes.c_uint)),
    "X509_digest": (0, INT, (POINTER, POINTER, POINTER, POINTER)),
    "EVP_get_digestbyname": (None, POINTER, (ctypes.c_char_p,)),
    "i2d_X509_bio": (0, INT, (POINTER, POINTER)),
}
FAILS: Final = (OSError, MemoryError, SSL.Error, tls.TlsRefused)


class Life:
    """A short life of a worker in mesh TLS: who comes in, who is dialled, who is refused."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sockets: list[socket.socket] = []

    def run(self) -> None:
        self.stepper = MeshStepper(self.world, connections_max=8)
        try:
            self.stepper.begin()
            for part in (self.come_in, self.go_out, self.be_refused):
                with contextlib.suppress(*FAILS):
                    part()
        finally:
            self.stepper.stop()
            stats = self.stepper.engine.stats()
            for sock in self.sockets:
                sock.close()
            self.forget_backlog()
            assert not any(stats["live"]), stats["live"]
            assert not any(stats["tls_open"])
            assert not any(stats["open"])
            assert sum(stats["opened"]) == sum(stats["closed"])

    def forget_backlog(self) -> None:
        for listener in (self.world.app, self.world.peer):
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()

    def tick(self, count: int = 4) -> None:
        for _ in range(count):
            self.stepper.tick()

    def dial(self, address: Address) -> socket.socket:
        sock = socket.create_connection(address, timeout=1)
        self.sockets.append(sock)
        sock.settimeout(0)
        self.tick()
        return sock

    def accept(self, listener: socket.socket) -> socket.socket:
        sock, _ = listener.accept()
        self.sockets.append(sock)
        sock.settimeout(0)
        return sock

    def shake(self, end: TlsEnd) -> None:
        for _ in range(ROUNDS):
            with contextlib.suppress(SSL.WantReadError):
                end.ssl.do_handshake()
            self.move(end)

    def move(self, end: TlsEnd) -> None:
        """Records there and back, as far as they go now."""
        if records := end.records():
            end.sock.send(records)
        self.tick()
        with contextlib.suppress(BlockingIOError):
            end.feed(end.sock.recv(READ_BYTES))

    def talk(self, end: TlsEnd, plain: socket.socket) -> None:
        """Words, a bulk that must wait, an end both ways."""
        end.ssl.send(b"\0there")
        self.move(end)
        for _ in range(ROUNDS):
            with contextlib.suppress(BlockingIOError):
                plain.send(BULK)
            self.tick()
        for _ in range(ROUNDS):
            self.move(end)
            with contextlib.suppress(SSL.WantReadError):
                while end.ssl.recv(READ_BYTES):
                    pass
        plain.shutdown(socket.SHUT_WR)
        self.move(end)
        end.ssl.shutdown()
        self.move(end)
        with contextlib.suppress(BlockingIOError):
            plain.recv(READ_BYTES)
        plain.close()
        self.move(end)

    def come_in(self) -> None:
        end = TlsEnd(self.dial(self.stepper.door), tls.context(self.world.svid), alpn=tls.ALPN_TCP)
        self.shake(end)
        self.talk(end, self.accept(self.world.app))

    def go_out(self) -> None:
        down = self.dial(self.stepper.gate)
        down.send(b"\0begin")
        self.tick()
        up = self.accept(self.world.peer)
        end = TlsEnd(up, tls.context(self.world.svid), is_server=True)
        self.shake(end)
        self.talk(end, down)

    def be_refused(self) -> None:
        stranger = Signer.root("stranger").issue()
        end = TlsEnd(self.dial(self.stepper.door), tls.context(stranger))
        self.shake(end)


def open_fds() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.fixture
def world(faulty: Faulty) -> Iterator[World]:
    made = World(faulty.module)
    yield made
    made.close()


def live_once(world: World) -> None:
    Life(world).run()


def test_a_life_without_faults_leaves_nothing_behind(faulty: Faulty, world: World) -> None:
    life = Life(world)
    life.run()
    stats = life.stepper.engine.stats()
    assert sum(stats["tls_handshakes"]) == 2
    assert sum(stats["tls_failed"]) == 1
    del life
    memory, fds = faulty.held_memory(), open_fds()
    live_once(world)
    assert faulty.held_memory() == memory
    assert open_fds() == fds


@pytest.mark.parametrize(
    ("name", "error"),
    [(name, error) for name, errors in FAULTS.items() for error in errors],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value,
)
def test_whichever_call_of_ours_fails_nothing_is_left_behind(
    faulty: Faulty, world: World, name: str, error: int
) -> None:
    live_once(world)
    memory, fds = faulty.held_memory(), open_fds()
    n = 1
    faulty.has_failed = True
    while faulty.has_failed:
        with faulty.failing(name, n, error), contextlib.suppress(OSError, MemoryError):
            live_once(world)
        assert faulty.held_memory() == memory, f"memory leaked after call {n}"
        assert open_fds() == fds, f"descriptors leaked after call {n}"
        n += 1 + n // 8
    assert n > 2, "the life never makes this call"


class Failing:
    """A function of OpenSSL in the module's table whose n-th call fails."""

    def __init__(self, world: World, name: str) -> None:
        self._failure, result, arguments = OPENSSL_FAULTS[name]
        kind = ctypes.CFUNCTYPE(result, *arguments)
        self._address = symbols.addresses([name])[name]
        self._real: Callable[..., Any] = kind(self._address)
        self._fake = kind(self._call)
        self._world, self._name = world, name
        self._left = 0

    def _call(self, *arguments: Any) -> Any:  # noqa: ANN401 - of any function
        self._left -= 1
        return self._failure if self._left == 0 else self._real(*arguments)

    @contextlib.contextmanager
    def at(self, n: int) -> Iterator[None]:
        self._left = n
        address = ctypes.cast(self._fake, POINTER).value
        assert address
        self._world.module.load_openssl({self._name: address})
        try:
            yield
        finally:
            self._world.module.load_openssl({self._name: self._address})

    @property
    def has_failed(self) -> bool:
        return self._left <= 0


@pytest.fixture
def openssl_world(faulty: Faulty) -> Iterator[World]:
    made = World(faulty.module, own_records=False)
    yield made
    made.close()


@pytest.mark.parametrize("name", OPENSSL_FAULTS)
def test_whichever_call_of_openssl_fails_nothing_is_left_behind(
    faulty: Faulty, openssl_world: World, name: str
) -> None:
    world = openssl_world
    live_once(world)
    memory, fds = faulty.held_memory(), open_fds()
    failing = Failing(world, name)
    n, has_failed = 1, True
    while has_failed:
        with failing.at(n), contextlib.suppress(OSError, MemoryError):
            live_once(world)
        has_failed = failing.has_failed
        assert faulty.held_memory() == memory, f"memory leaked after call {n}"
        assert open_fds() == fds, f"descriptors leaked after call {n}"
        n += 1 + n // 8
    assert n > 2, "the life never makes this call"


def test_a_certificate_without_a_digest_is_not_taken_for_the_one_before(world: World) -> None:
    life = Life(world)
    life.stepper = MeshStepper(world).begin()
    failing = Failing(world, "X509_digest")
    with failing.at(2):
        life.come_in()
        with contextlib.suppress(*FAILS):
            life.come_in()
    assert failing.has_failed
    assert (life.stepper.handshakes(), life.stepper.failed()) == (1, 1)
    life.stepper.stop()
    for sock in life.sockets:
        sock.close()
