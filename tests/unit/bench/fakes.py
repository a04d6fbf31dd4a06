"""A relay that misbehaves on purpose, for the generator to find out."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Alter = Callable[[bytes], bytes | None]  # bytes of an answer → what to pass on, None: close


@contextlib.contextmanager
def relay(upstream_port: int, alter: Alter) -> Iterator[int]:
    """Port of a relay with one thread, so that one connection that waits keeps all waiting."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, upstream_port, alter))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, upstream_port: int, alter: Alter) -> None:
    with (
        contextlib.suppress(OSError),
        listener.accept()[0] as downstream,
        socket.create_connection(("127.0.0.1", upstream_port)) as upstream,
    ):
        while request := downstream.recv(4096):
            upstream.sendall(request)
            answer = alter(upstream.recv(4096))
            if answer is None:
                return
            downstream.sendall(answer)
