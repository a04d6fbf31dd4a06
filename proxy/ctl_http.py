"""HTTP on a terminal: the requests part of `ctl status`, and `ctl requests`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.answers import explain_flag
from proxy.ctl_table import hints, printable, size, span, table

Answer = Mapping[str, Any]  # decoded JSON: its shape is control.py's

_RATES: Final = ("BEGUN", "IN-FLIGHT", "SUCCESS", "P50", "P99")


def totals(answer: Answer) -> str:
    """Return the tables of requests, services, pools and flags; "" while there was no request."""
    directions = [name for name, row in answer["requests"].items() if row["begun"]]
    if not directions:
        return ""
    parts = [_rates(answer["requests"], directions), _services(answer["services"])]
    parts.append(_pools(answer["pools"], directions))
    if answer["flags"]:
        parts.append(_flags(answer["flags"]))
    return "\n\n".join(parts)


def _rates(rows: Answer, directions: list[str]) -> str:
    return table(("REQUESTS", *_RATES), [(name, *_rate(rows[name])) for name in directions])


def _services(rows: Sequence[Answer]) -> str:
    head = ("SERVICE", "DIRECTION", *_RATES)
    return table(head, [(row["service"], row["direction"], *_rate(row)) for row in rows])


def _rate(row: Answer) -> tuple[str, ...]:
    return (
        str(row["begun"]),
        str(row["in_flight"]),
        _percentage(row["success_rate"]),
        _about(row["p50_ms"]),
        _about(row["p99_ms"]),
    )


def _pools(pools: Answer, directions: list[str]) -> str:
    columns = ("idle", "busy", "waiting", "reused")
    rows = [(name, *(str(pools[name][column]) for column in columns)) for name in directions]
    return table(("POOLS", *map(str.upper, columns)), rows)


def _flags(by_direction: Answer) -> str:
    rows = [
        (flag, direction, str(count))
        for direction, flags in by_direction.items()
        for flag, count in sorted(flags.items())
    ]
    return table(("FLAG", "DIRECTION", "COUNT"), rows) + _flag_hints({row[0] for row in rows})


def requests(answer: Answer) -> str:
    """Return the table of `ctl requests`."""
    head = [
        "TIME",
        "DIRECTION",
        "SERVICE",
        "STATUS",
        "FLAG",
        "TOOK",
        "UPSTREAM-TOOK",
        "RECEIVED",
        "SENT",
    ]
    head += ("METHOD", "HOST", "TARGET", "UPSTREAM", "TRACE", "PEER")
    rows = [
        (
            row["time"],
            row["direction"],
            row["service"],
            str(row["status"] or "-"),
            row["flag"],
            span(row["duration_ms"]),
            "-" if row["upstream_ms"] is None else span(row["upstream_ms"]),
            size(row["request_bytes"]),
            size(row["response_bytes"]),
            *(printable(row[name]) or "-" for name in ("method", "host", "target")),
            row["upstream"] or "-",
            printable(row["trace_id"]) or "-",
            printable(row["peer_identity"]) or "-",
        )
        for row in answer["requests"]
    ]
    if not rows:
        return "no request"
    note = "\n(more were left out: raise --limit)" if answer["truncated"] else ""
    return table(head, rows) + note + _flag_hints({row["flag"] for row in answer["requests"]})


def _flag_hints(flags: set[str]) -> str:
    return hints({flag: explain_flag(flag).hint for flag in flags})


def _percentage(share: float | None) -> str:
    # Rounded down: 100 % is said only of what is.
    return "-" if share is None else f"{int(share * 10_000) / 100:.2f}%"


def _about(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"~{span(milliseconds)}"
