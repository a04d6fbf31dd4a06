"""Looking at another process's sockets: pidfd_getfd(2) gives us a second descriptor of each."""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

# The same on every architecture that Linux has added it to (5.6).
SYS_PIDFD_GETFD: Final = 438

_libc = ctypes.CDLL(None, use_errno=True)


def _borrow_fd(pidfd: int, fd: int) -> int:
    borrowed: int = _libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    if borrowed < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return borrowed


def congestion_control(sock: socket.socket) -> str:
    """Name the congestion control of a TCP socket."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


@contextmanager
def connected_sockets(pid: int) -> Iterator[list[socket.socket]]:
    """Yield the TCP sockets of a child process that have a peer; ours close at the end."""
    pidfd = os.pidfd_open(pid)
    borrowed: list[socket.socket] = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            link = os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115
            if link.startswith("socket:"):
                borrowed.append(socket.socket(fileno=_borrow_fd(pidfd, int(name))))
        yield [sock for sock in borrowed if _has_tcp_peer(sock)]
    finally:
        for sock in borrowed:
            sock.close()
        os.close(pidfd)


def _has_tcp_peer(sock: socket.socket) -> bool:
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    with suppress(OSError):
        sock.getpeername()
        return True
    return False
