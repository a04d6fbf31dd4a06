"""A relay that misbehaves on purpose, for the generator to find out."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Alter = Callable[[bytes], bytes | None]  # bytes of a message → what to pass on, None: close


@dataclass(frozen=True)
class Mischief:
    """What a relay does to whole answers and requests, and in which pieces it passes them on."""

    answer: Alter = bytes
    request: Alter = bytes
    piece_bytes: int = 1 << 20
    limit: int = 1 << 30  # answers, after which it closes both connections


@contextlib.contextmanager
def relay(upstream_port: int, mischief: Mischief) -> Iterator[int]:
    """Port of a relay with one thread, so that one connection that waits keeps all waiting."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, upstream_port, mischief))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, upstream_port: int, mischief: Mischief) -> None:
    with (
        contextlib.suppress(OSError),
        listener.accept()[0] as downstream,
        socket.create_connection(("127.0.0.1", upstream_port)) as upstream,
    ):
        for side in (downstream, upstream):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(mischief.limit):
            if not _pass_on(downstream, upstream, mischief.request, mischief.piece_bytes):
                return
            if not _pass_on(upstream, downstream, mischief.answer, mischief.piece_bytes):
                return


def _pass_on(source: socket.socket, target: socket.socket, alter: Alter, piece_bytes: int) -> bool:
    message = source.recv(4096)
    altered = alter(message) if message else None
    if altered is None:
        return False
    for start in range(0, len(altered), piece_bytes):
        target.sendall(altered[start : start + piece_bytes])
    return True
