"""A program that is talked to by its standard input, and whose output is read as it comes."""

import array
import fcntl
import os
import socket
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence

from tests.support.sockets import READ_BYTES
from tests.support.tools import needed, plain_environment
from tests.support.waiting import PATIENCE_S, eventually


class Command:
    """Started at once; `said` grows. `stdin` is a pipe, or the socket that it is to serve."""

    def __init__(
        self,
        words: Sequence[str],
        stdin: socket.socket | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.said = bytearray()
        self._process = subprocess.Popen(
            [needed(words[0]), *words[1:]],
            stdin=stdin.fileno() if stdin else subprocess.PIPE,
            stdout=stdin.fileno() if stdin else subprocess.PIPE,
            stderr=subprocess.PIPE if stdin else subprocess.STDOUT,
            env=environment or plain_environment(),
            pass_fds=pass_fds,
        )
        self._output = self._process.stderr if stdin else self._process.stdout
        self._reader = threading.Thread(target=self._read, name=words[0])
        self._reader.start()

    def _read(self) -> None:
        assert self._output is not None
        with self._output as stream:
            while text := os.read(stream.fileno(), READ_BYTES):
                self.said += text

    def say(self, text: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def say_command(self, text: bytes) -> None:
        """Say it, and wait until it was read: what comes next is read apart from it."""
        self.say(text)
        eventually("it to be read", lambda: self._unread_bytes() == 0)

    def _unread_bytes(self) -> int:
        assert self._process.stdin is not None
        unread = array.array("i", [0])
        fcntl.ioctl(self._process.stdin, termios.FIONREAD, unread)
        return unread[0]

    def wait_for(self, text: bytes, *, count: int = 1) -> None:
        def has_said() -> bool:
            return self.said.count(text) >= count

        try:
            eventually(f"{text!r}", has_said)
        except AssertionError as fault:
            raise AssertionError(f"{fault}; it said {bytes(self.said[-3000:])!r}") from None

    def stop(self) -> None:
        self._process.terminate()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._reader.join()
