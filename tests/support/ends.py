"""One end of a connection that never waits: it says as much as is taken, hears what is there."""

import random
import socket
from dataclasses import dataclass, field

from tests.support.sockets import READ_BYTES, reset


@dataclass
class End:
    """What it still has to say, and what it has heard."""

    sock: socket.socket
    to_say: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)
    is_over: bool = False  # nothing comes any more, or nobody is there to hear it
    saw_end: bool = False  # it ended in good order
    saw_error: bool = False  # it ended by a reset

    def __post_init__(self) -> None:
        self.sock.setblocking(False)  # noqa: FBT003 - the name of the standard library

    def say(self, size: int) -> bool:
        """Send up to `size` bytes; whether any went."""
        if self.is_over or not self.to_say:
            return False
        try:
            sent = self.sock.send(self.to_say[:size])
        except BlockingIOError:
            return False
        except ConnectionError:
            self.to_say.clear()
            return False
        del self.to_say[:sent]
        return True

    def hear(self) -> bool:
        """Take one portion; whether anything was there, an end included."""
        if self.is_over:
            return False
        try:
            text = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionError:
            self.is_over = self.saw_error = True
            return True
        self.heard += text
        self.is_over = self.saw_end = not text
        return True

    def leave(self, dice: random.Random) -> None:
        if not self.is_over:
            self.is_over = True
            reset(self.sock) if dice.random() < 0.5 else self.sock.close()
