"""Whichever call to the kernel or the allocator fails: no crash, no leak, no wrong count.

The idea is that of nghttp2's failmalloc tests: one short life of an engine with a few connections
runs again and again, and each time a later call of it fails, until a run has no such call any more.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from tests.probes.faulty import Faulty
from tests.support.hellos import hello, server_name
from tests.support.sockets import LOOPBACK, listening, reset
from tests.support.stepper import SETTINGS

BULK = bytes(200_000)  # enough to be spliced, and to wait in a pipe
HELLO = hello([server_name(b"fault.example")])
EVERY_DIRECTION = 0b111
GET = b"GET /get HTTP/1.1\r\nhost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 4\r\n\r\nbody"

# The calls, and the ways in which each fails for real.
FAULTS = {
    "malloc": [errno.ENOMEM],
    "calloc": [errno.ENOMEM],
    "realloc": [errno.ENOMEM],
    "posix_memalign": [errno.ENOMEM],
    "PyMem_RawCalloc": [errno.ENOMEM],
    "accept4": [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ECONNABORTED, errno.EINTR],
    "connect": [errno.ECONNREFUSED, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ETIMEDOUT],
    "epoll_create1": [errno.EMFILE],
    "epoll_ctl": [errno.ENOSPC, errno.ENOMEM],
    "epoll_wait": [errno.EINTR],
    "eventfd": [errno.EMFILE],
    "fcntl64": [errno.EPERM],
    "getsockname": [errno.ENOBUFS],
    "getsockopt": [errno.ENOBUFS],
    "listen": [errno.EADDRINUSE],
    "pipe2": [errno.EMFILE, errno.ENFILE],
    "read": [errno.EAGAIN],
    "recv": [errno.ECONNRESET, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT],
    "send": [errno.EPIPE, errno.ECONNRESET, errno.EINTR, errno.EAGAIN],
    "setsockopt": [errno.ENOPROTOOPT],
    "shutdown": [errno.ENOTCONN],
    "socket": [errno.EMFILE, errno.ENOMEM],
    "splice": [errno.ECONNRESET, errno.EINVAL, errno.EINTR, errno.ENOMEM],
    "write": [errno.EAGAIN],
}


@dataclass
class Life:
    """A short life of an engine, on this thread: open, relay small and big, label, list, end."""

    module: ModuleType
    upstream: socket.socket
    sockets: list[socket.socket] = field(default_factory=list)

    def run(self) -> None:
        self.engine = self.module.Engine(1, 8, records=4)
        try:
            self.live()
        finally:
            self.engine.stop()
            self.check_counters()
            for sock in self.sockets:
                sock.close()

    def live(self) -> None:
        self.publish(1)
        address = self.listen()
        self.engine.record_connections(True)  # noqa: FBT003 - as the data plane has it
        self.tick()
        for version, say in enumerate(self.ways_to_talk(), 2):
            with suppress(OSError):  # the proxy may refuse or reset whoever meets the fault
                say(address)
            self.publish(version)
        self.list_connections()
        self.engine.stop_accepting(EVERY_DIRECTION)
        self.tick()
        self.engine.read_records(100)

    def ways_to_talk(self) -> tuple[Callable[[tuple[str, int]], None], ...]:
        talks = (self.say_little, self.say_much, self.say_hello, self.leave_rudely)
        return (*talks, self.ask, self.ask_for_much)

    def publish(self, version: int) -> None:
        targets = [self.upstream.getsockname()]
        self.engine.publish(self.module.Snapshot(version, SETTINGS, targets))

    def listen(self) -> tuple[str, int]:
        listener = listening(LOOPBACK["ipv4"])
        listener.setblocking(False)  # noqa: FBT003 - the name of the standard library
        address: tuple[str, int] = listener.getsockname()
        fd = listener.detach()
        try:
            self.engine.listen(0, fd, 2, 0, 1)
        except Exception:
            socket.socket(fileno=fd).close()  # still ours
            raise
        return address

    def tick(self, count: int = 12) -> None:
        for _ in range(count):
            self.engine.tick(0, 0)

    def pair(self, address: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
        downstream = socket.create_connection(address, timeout=1)
        self.sockets.append(downstream)
        self.tick(4)
        upstream, _ = self.upstream.accept()
        self.sockets.append(upstream)
        for sock in (downstream, upstream):
            sock.setblocking(False)  # noqa: FBT003 - the name of the standard library
        return downstream, upstream

    def say_little(self, address: tuple[str, int]) -> None:
        downstream, upstream = self.pair(address)
        downstream.send(b"hello?\r\n")
        self.tick()
        assert upstream.recv(100) == b"hello?\r\n"
        upstream.send(b"220 hello\r\n")
        downstream.shutdown(socket.SHUT_WR)
        self.tick()
        upstream.close()
        self.tick()

    def say_much(self, address: tuple[str, int]) -> None:
        downstream, upstream = self.pair(address)
        left, got = memoryview(BULK), 0
        for _ in range(12):
            with suppress(BlockingIOError):
                left = left[downstream.send(left) :]
            self.tick(2)
            with suppress(BlockingIOError):
                got += len(upstream.recv(1 << 20)) if left else 0
        downstream.close()
        self.tick()

    def say_bye_and_reset(self, address: tuple[str, int]) -> None:
        """Nobody reads the downstream any more: the reset comes by an event alone."""
        downstream, _ = self.pair(address)
        downstream.shutdown(socket.SHUT_WR)
        self.tick()
        reset(downstream)
        self.tick()

    def say_hello(self, address: tuple[str, int]) -> None:
        downstream, upstream = self.pair(address)
        downstream.send(HELLO)
        self.tick()
        assert upstream.recv(1000) == HELLO

    def leave_rudely(self, address: tuple[str, int]) -> None:
        """A downstream that says its last word, and then resets: only the event tells of it."""
        downstream, upstream = self.pair(address)
        downstream.send(b"bye")
        downstream.shutdown(socket.SHUT_WR)
        self.tick()
        upstream.send(b"unread")
        self.tick()
        reset(downstream)
        self.tick()

    def ask(self, address: tuple[str, int]) -> None:
        """Two requests on one connection, the second one again on a new upstream connection."""
        downstream, upstream = self.pair(address)
        downstream.send(POST + GET)
        self.tick()
        upstream.recv(1000)
        upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        self.tick()
        upstream.close()
        self.tick()
        with suppress(BlockingIOError):
            again, _ = self.upstream.accept()
            self.sockets.append(again)
            again.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
            self.tick()
            again.send(b"0\r\nx-end: 1\r\n\r\n")
        self.tick()

    def ask_for_much(self, address: tuple[str, int]) -> None:
        """A body that is spliced, and a downstream that leaves in the middle of it."""
        downstream, upstream = self.pair(address)
        downstream.send(GET)
        self.tick()
        left = memoryview(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + BULK)
        for _ in range(12):
            with suppress(BlockingIOError):
                left = left[upstream.send(left) :]
            self.tick(2)
        downstream.recv(1 << 16)
        downstream.close()
        self.tick()

    def list_connections(self) -> None:
        self.engine.request_connections(10)
        self.tick(2)
        self.engine.take_connections()

    def check_counters(self) -> None:
        stats = self.engine.stats()
        assert not any(stats["live"])
        assert not any(stats["open"])
        assert sum(stats["opened"]) == sum(stats["closed"])


def open_fds() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def live_once(faulty: Faulty) -> None:
    upstream = listening(LOOPBACK["ipv4"])
    upstream.settimeout(0)  # a dial that the fault prevented is never waited for
    with upstream:
        Life(faulty.module, upstream).run()


def test_a_life_without_faults_leaves_nothing_behind(faulty: Faulty) -> None:
    live_once(faulty)
    memory, fds = faulty.held_memory(), open_fds()
    live_once(faulty)
    assert faulty.held_memory() == memory
    assert open_fds() == fds


@pytest.mark.parametrize(
    ("name", "error"),
    [(name, error) for name, errors in FAULTS.items() for error in errors],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value,
)
def test_whichever_call_fails_nothing_is_left_behind(faulty: Faulty, name: str, error: int) -> None:
    memory, fds = faulty.held_memory(), open_fds()
    n = 1
    faulty.has_failed = True
    while faulty.has_failed:
        with faulty.failing(name, n, error), suppress(OSError, MemoryError):
            live_once(faulty)
        assert faulty.held_memory() == memory, f"memory leaked after call {n}"
        assert open_fds() == fds, f"descriptors leaked after call {n}"
        n += 1 + n // 16  # each of the first calls, then fewer: a life waits for events often
    assert n > 2, "the life never makes this call"
