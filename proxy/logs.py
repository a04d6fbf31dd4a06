"""Structured logs on stderr: an event's name and its fields, as a line of JSON or of text.

Our own, because the standard library's module is built for strings with a logger tree behind them.
An event's name is a constant, so that logs can be searched and counted; what varies is a field.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from proxy.sink import Sink

LEVELS: Final = ("debug", "info", "warning", "error")
_BACKLOG_BYTES_MAX: Final = 64 * 1024

_COLOURS: Final = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[1;31m",
}
_PLAIN: Final = "\x1b[0m"
_STDERR: Final = 2


class Log:
    """Where the control side writes what happened. `level` may be changed at any time."""

    def __init__(self, level: str, style: str, fd: int = _STDERR) -> None:
        self.level = level
        self._is_text = style == "text"
        self._has_colours = self._is_text and os.isatty(fd) and "NO_COLOR" not in os.environ
        self._sink = Sink(fd, _BACKLOG_BYTES_MAX)

    @property
    def dropped(self) -> int:
        """Lines lost because nobody read them."""
        return self._sink.dropped

    def debug(self, event: str, **fields: object) -> None:
        """Detail that only a search for a fault wants."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Mark a step in the life of the process."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell the operator of something to look at; service goes on."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell the operator of something that failed."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        moment = timestamp(time.time_ns() // 1000)
        if self._is_text:
            line = self._text_line(moment, level, event, fields)
        else:
            line = json_line({"time": moment, "level": level, "event": event, **fields})
        self._sink.write(line.encode())

    def _text_line(self, moment: str, level: str, event: str, fields: Mapping[str, object]) -> str:
        label = f"{level.upper():<7}"
        if self._has_colours:
            label = f"{_COLOURS[level]}{label}{_PLAIN}"
        words = " ".join(f"{key}={text_value(value)}" for key, value in fields.items())
        return f"{moment} {label} {event} {words}".rstrip() + "\n"


def timestamp(unix_us: int) -> str:
    """Return a wall clock in microseconds as RFC 3339 in UTC."""
    seconds, fraction_us = divmod(unix_us, 1_000_000)
    return f"{_moment(seconds)}.{fraction_us:06d}Z"


@lru_cache(maxsize=64)
def _moment(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


_encode: Final = json.JSONEncoder(check_circular=False, separators=(",", ":"), default=str).encode


# Printable ASCII without blank, quote and equals sign.
_BARE: Final = re.compile(r"[!#-<>-~]+")


def json_line(record: Mapping[str, object]) -> str:
    """Return a record as one line of JSON."""
    return _encode(record) + "\n"


def text_value(value: object) -> str:
    """Return a value for text logs: bare if it reads as one plain word, else JSON.

    What peers chose (an SNI, for one) cannot forge a field, a line or a terminal's control code.
    """
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    if type(value) in {int, float}:  # not bool, whose JSON is another word
        return repr(value)
    return _encode(value)
