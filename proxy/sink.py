"""Lines to a file descriptor that nobody may be reading: written if there is room, else dropped.

Whoever reads our output (a container runtime, a pipe, a terminal) may stop, and then a plain write
would stop us too: no readiness probe answered, no drain. O_NONBLOCK is no way out, because it would
change the descriptor for every process that shares it. So we ask with poll(2) before each write of
at most PIPE_BUF bytes: a pipe or socket that says "writable" takes that much without blocking.
"""

import os
import select
from typing import Final

# pipe(7): a pipe with room at all has room for this much.
_CHUNK_BYTES: Final = select.PIPE_BUF


class Sink:
    """A queue of lines in front of a descriptor, bounded by `backlog_bytes_max`.

    `dropped` counts lines that found the queue full or the reader gone.
    """

    def __init__(self, fd: int, backlog_bytes_max: int) -> None:
        self.dropped = 0
        self._fd = fd
        self._backlog_bytes_max = backlog_bytes_max
        self._backlog = bytearray()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._closed = False

    @property
    def has_backlog(self) -> bool:
        """Whether lines wait for a reader: call `flush` in a while."""
        return bool(self._backlog)

    def write(self, lines: bytes, line_count: int = 1) -> None:
        """Queue whole lines and write what the reader takes now."""
        if self._closed or len(self._backlog) + len(lines) > self._backlog_bytes_max:
            # The lines that wait are older, so they go first; the new ones are lost.
            self.flush()
            if self._closed or len(self._backlog) + len(lines) > self._backlog_bytes_max:
                self.dropped += line_count
                return
        self._backlog += lines
        self.flush()

    def flush(self) -> bool:
        """Write what the reader takes without blocking us; whether that was anything."""
        waiting_bytes = len(self._backlog)
        try:
            while self._backlog and self._is_writable():
                written = os.write(self._fd, self._backlog[:_CHUNK_BYTES])
                del self._backlog[:written]
        except BlockingIOError:
            pass  # somebody else made the descriptor non-blocking
        except OSError:
            self._give_up()
        return len(self._backlog) < waiting_bytes

    def _is_writable(self) -> bool:
        ready = self._poll.poll(0)
        if not ready:
            return False
        if ready[0][1] & select.POLLNVAL:
            self._give_up()
            return False
        return True

    def _give_up(self) -> None:
        self._closed = True
        self.dropped += self._backlog.count(b"\n")
        self._backlog.clear()
