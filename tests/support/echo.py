"""An upstream for a load: it echoes what begins with a zero byte, and answers requests."""

import contextlib
import socket
import threading

from tests.support.http import END, response
from tests.support.rig import Rig
from tests.support.sockets import READ_BYTES

ANSWER = response(b"served")


class Echo:
    """Serves `listener` until the rig closes it."""

    def __init__(self, rig: Rig) -> None:
        self.listener = rig.listen()
        self._rig = rig
        self.listener.settimeout(None)
        self._is_over = threading.Event()
        rig.background(self._accept)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(None)
            self._rig.keep(sock)
            self._rig.background(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            first = sock.recv(READ_BYTES)
            if first[:1] == b"\0":
                self._echo(sock, first)
            else:
                self._answer(sock, first)

    def _echo(self, sock: socket.socket, text: bytes) -> None:
        while text:
            sock.sendall(text)
            text = sock.recv(READ_BYTES)

    def _answer(self, sock: socket.socket, text: bytes) -> None:
        while text:
            while END in text:
                text = text.partition(END)[2]
                sock.sendall(ANSWER)
            more = sock.recv(READ_BYTES)
            text = text + more if more else b""
