"""What a proof puts on the wire: a relay that can be read and turned, and an impostor."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.hello import Hello, parse
from bench.identities import ALPN

FIRST_BYTES: Final = 1 << 14  # of what a server sends: its hello is in there
PATIENCE_SECONDS: Final = 5.0
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Tap:
    """A relay to `target`."""

    target: int
    port: int = 0
    firsts: list[bytearray] = field(default_factory=list)  # what the target sent, each connection
    _open: list[socket.socket] = field(default_factory=list)

    def turn(self, target: int) -> None:
        """Lead to another port from now on, and end the connections made so far."""
        self.target = target
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def hello(self) -> Hello | None:
        """Tell what the first connection that got so far agreed on."""
        return next((hello for first in self.firsts if (hello := parse(bytes(first)))), None)

    def relay(self, downstream: socket.socket) -> None:
        """Pass on one connection, both ways, until its end."""
        with socket.create_connection(("127.0.0.1", self.target)) as upstream:
            self._open += [downstream, upstream]
            first = bytearray()
            self.firsts.append(first)
            back = threading.Thread(target=_copy, args=(upstream, downstream, first))
            back.start()
            _copy(downstream, upstream)
            back.join()


def _copy(source: socket.socket, target: socket.socket, first: bytearray | None = None) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            if first is not None and len(first) < FIRST_BYTES:
                first += piece
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tap(target: int) -> Iterator[Tap]:
    """Run a tap; leaving the block ends its connections."""
    made = Tap(target)
    with _serving(made.relay) as made.port:
        try:
            yield made
        finally:
            made.turn(0)


@contextlib.contextmanager
def impostor(identity: Path, roots: Path) -> Iterator[int]:
    """Port of a server with that identity, which answers whoever has a certificate of `roots`."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(identity / "tls.crt", identity / "tls.key")
    tls.load_verify_locations(roots)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.set_alpn_protocols(ALPN)

    def answer(plain: socket.socket) -> None:
        plain.settimeout(PATIENCE_SECONDS)
        with tls.wrap_socket(plain, server_side=True) as downstream:
            if downstream.recv(1 << 16):
                downstream.sendall(ANSWER)
                downstream.unwrap()

    with _serving(answer) as port:
        yield port


@contextlib.contextmanager
def _serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Port of a listener with a thread for each connection; all are gone after the block."""
    threads = []

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=one, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
