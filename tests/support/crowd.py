"""Many connections at once: an echo server on one epoll, and batches of downstreams."""

import select
import socket
from collections.abc import Iterator
from typing import Final

from tests.support.sockets import Address, connected, receive_exactly, reset

# How soon the echo notices that its listener was closed.
_ROUND_S: Final = 0.05


def echo_until_closed(listener: socket.socket) -> None:
    """Echo for whoever comes, in this one thread, until another one closes `listener`.

    Messages are small: a write that does not fit is a fault of the test.
    """
    listener.setblocking(False)  # noqa: FBT003 - the name of the standard library
    listener_fd = listener.fileno()
    sockets: dict[int, socket.socket] = {}
    with select.epoll() as poll:
        poll.register(listener, select.EPOLLIN)
        while listener.fileno() >= 0:
            for fd, _ in poll.poll(_ROUND_S):
                if fd != listener_fd:
                    _echo(sockets, fd)
                    continue
                for sock in _accept_waiting(listener):
                    sockets[sock.fileno()] = sock
                    poll.register(sock, select.EPOLLIN)
    for sock in sockets.values():
        sock.close()


def _accept_waiting(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:  # nobody waits any more, or the listener was closed just now
            return
        yield sock


def _echo(sockets: dict[int, socket.socket], fd: int) -> None:
    sock = sockets[fd]
    try:
        if received := sock.recv(4096):
            sock.sendall(received)
            return
    except ConnectionError:
        pass
    del sockets[fd]
    sock.close()


def churn(address: Address, count: int, *, batch: int = 50) -> None:
    """Open, use and close `count` connections, `batch` at a time; every fifth ends by a reset."""
    for start in range(0, count, batch):
        numbers = range(start, min(start + batch, count))
        downstreams = [connected(address) for _ in numbers]
        for number, sock in zip(numbers, downstreams, strict=True):
            sock.sendall(number.to_bytes(8))
        for number, sock in zip(numbers, downstreams, strict=True):
            assert receive_exactly(sock, 8) == number.to_bytes(8)
            if number % 5:
                sock.close()
            else:
                reset(sock)
