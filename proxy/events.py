"""What ended (connections, requests) → the access log on stdout, and rings for `remora ctl`."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, TypeVar

from proxy.access_log import STYLES
from proxy.engine import Connection, Request
from proxy.sink import Sink

T = TypeVar("T", Connection, Request)

_STDOUT: Final = 1
_BACKLOG_BYTES_MAX: Final = 1024 * 1024
# How soon a reader that fell behind is tried again when no new record does it: soon while it
# reads, at leisure once it seems to have stopped.
_RETRY_S_MIN: Final = 0.02
_RETRY_S_MAX: Final = 1.0


class Events:
    """What happened, for people. Switched off it costs the data plane nothing.

    `style`: "off", or one of access_log.STYLES. `recent_max`: how many connections that ended, and
    how many requests, are kept.
    """

    def __init__(self, style: str, recent_max: int, fd: int = _STDOUT) -> None:
        self._style = STYLES.get(style)
        self._recent: deque[Connection] = deque(maxlen=recent_max)
        self._recent_requests: deque[Request] = deque(maxlen=recent_max)
        self._sink = Sink(fd, _BACKLOG_BYTES_MAX) if self._style else None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = _RETRY_S_MIN
        self._longest_s = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether anybody looks at records."""
        return self._style is not None or bool(self._recent.maxlen)

    @property
    def recent_max(self) -> int:
        """How many closed connections, and how many requests, are kept."""
        return self._recent.maxlen or 0

    @property
    def dropped(self) -> int:
        """Access log lines lost because nobody read them."""
        return self._sink.dropped if self._sink else 0

    def recent(self, limit: int) -> list[Connection]:
        """Return the connections that closed last, latest first."""
        return list(islice(reversed(self._recent), limit))

    def recent_requests(self, limit: int) -> list[Request]:
        """Return the requests that ended last, latest first."""
        return list(islice(reversed(self._recent_requests), limit))

    def take_longest_s(self) -> float:
        """Return the longest time one batch has held the loop since this was last asked."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

    def on_connections(self, records: list[Connection]) -> None:
        """Take closed connections from the engine."""
        began = time.monotonic()
        self._recent.extend(records)
        self._write(records, self._style.connection if self._style else None)
        self._longest_s = max(self._longest_s, time.monotonic() - began)

    def on_requests(self, records: list[Request]) -> None:
        """Take finished requests from the engine."""
        began = time.monotonic()
        self._recent_requests.extend(records)
        self._write(records, self._style.request if self._style else None)
        self._longest_s = max(self._longest_s, time.monotonic() - began)

    def close(self) -> None:
        """Write what the reader still takes."""
        if self._retry:
            self._retry.cancel()
        if self._sink:
            self._sink.flush()

    def _write(self, records: list[T], line_of: Callable[[T], str] | None) -> None:
        if line_of and self._sink:
            self._sink.write("".join(map(line_of, records)).encode(), len(records))
            self._arm_retry()

    def _arm_retry(self) -> None:
        if self._retry is None and self._sink and self._sink.has_backlog:
            self._retry = asyncio.get_running_loop().call_later(self._retry_s, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        if self._sink:
            has_read = self._sink.flush()
            self._retry_s = _RETRY_S_MIN if has_read else min(2 * self._retry_s, _RETRY_S_MAX)
            self._arm_retry()
