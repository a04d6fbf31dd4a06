r"""The lines of the access log, in three styles.

json and text have a line for each request and one for each connection (`kind` tells them apart);
combined is Apache's format, has requests only, and a dash where Apache would have a word that we do
not keep. What strangers chose is escaped in every style: no peer can write a line, a field or a
terminal's control code of its own.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from proxy import describe
from proxy.engine import Connection, Request
from proxy.logs import json_line, text_value

# As ap_escape_logitem() of Apache: C's short escapes, and \xhh for what else is no printable ASCII.
_SHORT: Final = {"\b": r"\b", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
_ESCAPES: Final = (
    {code: rf"\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))}
    | {ord(letter): text for letter, text in _SHORT.items()}
    | {ord('"'): r"\"", ord("\\"): r"\\"}
)
# English whatever the locale, as parsers of the format expect.
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


class Style(NamedTuple):
    """How records become lines; None: they have none in this style."""

    connection: Callable[[Connection], str] | None
    request: Callable[[Request], str]


def combined(record: Request) -> str:
    r"""Return a request in Apache's format `%h - - %t "%r" %>s %b "-" "%{User-agent}i"`."""
    line = f"{record.method} {record.target} {record.version}".translate(_ESCAPES)
    agent = record.user_agent.translate(_ESCAPES) or "-"
    return (
        f"{record.downstream[0] or '-'} - - [{_moment(record.started_unix_us // 1_000_000)}]"
        f' "{line}" {record.status or "-"} {record.response_bytes or "-"} "-" "{agent}"\n'
    )


@lru_cache(maxsize=64)
def _moment(unix_s: int) -> str:
    moment = time.gmtime(unix_s)
    month = _MONTHS[moment.tm_mon - 1]
    return time.strftime(f"%d/{month}/%Y:%H:%M:%S +0000", moment)


def _connection_fields(record: Connection) -> dict[str, object]:
    fields = describe.connection(record)
    del fields["phase"]
    return _led_by("connection", fields)


def _request_fields(record: Request) -> dict[str, object]:
    return _led_by("request", describe.request(record))


def _led_by(kind: str, fields: dict[str, object]) -> dict[str, object]:
    return {"time": fields.pop("time"), "kind": kind, **fields}


def _text_line(fields: dict[str, object]) -> str:
    moment = fields.pop("time")
    return f"{moment} {_words(fields)}\n"


def _words(fields: Mapping[str, object]) -> str:
    shown = (item for item in fields.items() if item[1] not in {None, ""})
    return " ".join(f"{key}={text_value(value)}" for key, value in shown)


# By the words of --access-log.
STYLES: Final = {
    "json": Style(
        lambda record: json_line(_connection_fields(record)),
        lambda record: json_line(_request_fields(record)),
    ),
    "text": Style(
        lambda record: _text_line(_connection_fields(record)),
        lambda record: _text_line(_request_fields(record)),
    ),
    "combined": Style(None, combined),
}
