"""Many connections at once: an echo server on one epoll, and batches of downstreams."""

import select
import socket
from collections.abc import Iterator
from typing import Final

from tests.support.sockets import Address, connected, receive_exactly, reset

_ROUND_S: Final = 0.5


def echo_until_closed(listener: socket.socket) -> int:
    """Echo for whoever comes, in this one thread, until `listener` is shut; returns how many came.

    Messages are small: a write that does not fit is a fault of the test.
    """
    listener.setblocking(False)  # noqa: FBT003 - the name of the standard library
    accepted_count = 0
    sockets: dict[int, socket.socket] = {}
    with select.epoll() as poll:
        poll.register(listener, select.EPOLLIN)
        try:
            while True:
                for fd, events in poll.poll(_ROUND_S):
                    if fd != listener.fileno():
                        _echo(sockets, fd)
                    elif events & select.EPOLLHUP:
                        return accepted_count
                    else:
                        for sock in _accept_waiting(listener):
                            accepted_count += 1
                            sockets[sock.fileno()] = sock
                            poll.register(sock, select.EPOLLIN)
        finally:
            for sock in sockets.values():
                sock.close()


def _accept_waiting(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
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
