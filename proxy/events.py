"""Records of closed connections → the access log on stdout, and a ring for `remora ctl`."""

import asyncio
import time
from collections import deque
from itertools import islice
from typing import Final

from proxy.engine import Connection
from proxy.errors import explain
from proxy.logs import json_line, text_value, timestamp
from proxy.sink import Sink

_STDOUT: Final = 1
_BACKLOG_BYTES_MAX: Final = 1024 * 1024
# How soon a reader that fell behind is tried again when no new record does it: soon while it
# reads, at leisure once it seems to have stopped.
_RETRY_S_MIN: Final = 0.02
_RETRY_S_MAX: Final = 1.0


class Events:
    """What happened to connections, for people. Switched off it costs the data plane nothing."""

    def __init__(self, style: str, recent_max: int, fd: int = _STDOUT) -> None:
        self._format = {"json": _json, "text": _text}.get(style)
        self._recent: deque[Connection] = deque(maxlen=recent_max)
        self._sink = Sink(fd, _BACKLOG_BYTES_MAX) if self._format else None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = _RETRY_S_MIN
        self._longest_s = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether anybody looks at records."""
        return self._format is not None or bool(self._recent.maxlen)

    @property
    def recent_max(self) -> int:
        """How many closed connections are kept."""
        return self._recent.maxlen or 0

    @property
    def dropped(self) -> int:
        """Access log lines lost because nobody read them."""
        return self._sink.dropped if self._sink else 0

    def recent(self, limit: int) -> list[Connection]:
        """Return the connections that closed last, latest first."""
        return list(islice(reversed(self._recent), limit))

    def take_longest_s(self) -> float:
        """Return the longest time one batch has held the loop since this was last asked."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

    def handle(self, records: list[Connection]) -> None:
        """Take closed connections from the engine."""
        began = time.monotonic()
        self._recent.extend(records)
        if self._format and self._sink:
            lines = "".join(map(self._format, records))
            self._sink.write(lines.encode(), len(records))
            self._arm_retry()
        self._longest_s = max(self._longest_s, time.monotonic() - began)

    def close(self) -> None:
        """Write what the reader still takes."""
        if self._retry:
            self._retry.cancel()
        if self._sink:
            self._sink.flush()

    def _arm_retry(self) -> None:
        if self._retry is None and self._sink and self._sink.has_backlog:
            self._retry = asyncio.get_running_loop().call_later(self._retry_s, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        if self._sink:
            has_read = self._sink.flush()
            self._retry_s = _RETRY_S_MIN if has_read else min(2 * self._retry_s, _RETRY_S_MAX)
            self._arm_retry()


def describe(connection: Connection) -> dict[str, object]:
    """Return a connection as the access log and the operator's socket show it."""
    return {
        "id": connection.id,
        "time": timestamp(connection.opened_unix_us),
        "direction": connection.direction,
        "phase": connection.phase,
        "protocol": connection.protocol,
        "speaker": connection.speaker,
        "reason": connection.reason,
        "flag": explain(connection.reason).flag,
        "downstream": _address(connection.downstream),
        "original_dst": _address(connection.original_dst),
        "upstream": _address(connection.upstream),
        "sni": connection.sni,
        "received_bytes": connection.received_bytes,
        "sent_bytes": connection.sent_bytes,
        "connect_ms": connection.connect_us / 1000 if connection.connect_us >= 0 else None,
        "duration_ms": connection.duration_us / 1000,
        "spliced": connection.spliced,
        "worker": connection.worker,
    }


def _address(pair: tuple[str, int]) -> str | None:
    host, port = pair
    if not host:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _json(connection: Connection) -> str:
    fields = describe(connection)
    del fields["phase"]
    return json_line(fields)


def _text(connection: Connection) -> str:
    fields = describe(connection)
    moment = fields.pop("time")
    del fields["phase"]
    shown = (item for item in fields.items() if item[1] not in {None, ""})
    return f"{moment} {' '.join(f'{key}={text_value(value)}' for key, value in shown)}\n"
