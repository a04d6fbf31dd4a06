"""Answers of the operator's socket as text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy import ctl_http, ctl_identity
from proxy.ctl_table import hints, printable, size, span, table
from proxy.errors import explain

Answer = Mapping[str, Any]  # decoded JSON: its shape is control.py's

_SECOND_MS: Final = 1000


def status(answer: Answer) -> str:
    """Return the page of `ctl status`."""
    pending = f" (waiting for {', '.join(answer['pending'])})" if answer["pending"] else ""
    facts = [
        ("state", answer["state"]),
        ("ready", "yes" if answer["ready"] else f"no{pending}"),
        ("version", f"{answer['version']}, pid {answer['pid']}"),
        ("up", span(answer["uptime_s"] * _SECOND_MS)),
        ("log level", answer["log_level"]),
        ("admin", answer["admin"] or "off"),
        ("control", ", ".join(filter(None, (answer["control"], answer["control_listen"])))),
        ("connections", f"at most {answer['connections_max']}"),
        ("mesh tls", ctl_identity.in_short(answer["identity"])),
    ]
    events = [(name, str(count)) for name, count in answer["events"].items() if count]
    parts = [
        table(("", ""), [(f"{name}:", text) for name, text in facts]).lstrip("\n"),
        _listeners(answer["listeners"]),
        _totals(answer["connections"]),
        _reasons(answer["closed"]),
        ctl_http.totals(answer),
        table(("EVENT", "COUNT"), events) if events else "",
    ]
    return "\n\n".join(filter(None, parts))


def connections(answer: Answer, *, closed: bool) -> str:
    """Return the table of `ctl connections`."""
    head = ["ID", "DIRECTION", "SERVICE", "PROTOCOL", "REASON" if closed else "PHASE", "DOWNSTREAM"]
    head += ["ORIGINAL-DST", "UPSTREAM", "CONNECT", "AGE", "RECEIVED", "SENT", "SNI", "TLS", "PEER"]
    rows = [
        [
            str(row["id"]),
            row["direction"],
            row["service"],
            row["protocol"],
            row["reason" if closed else "phase"],
            row["downstream"] or "-",
            row["original_dst"] or "-",
            row["upstream"] or "-",
            "-" if row["connect_ms"] is None else span(row["connect_ms"]),
            span(row["duration_ms"]),
            size(row["received_bytes"]),
            size(row["sent_bytes"]),
            printable(row["sni"]) or "-",
            "mesh" if row["tls"] else "-",
            printable(row["peer_identity"]) or "-",
        ]
        for row in answer["connections"]
    ]
    if not rows:
        return "no connection"
    note = "\n(more were left out: raise --limit)" if answer["truncated"] else ""
    hints = _hints({row["reason"] for row in answer["connections"]}) if closed else ""
    return table(head, rows) + note + hints


def _listeners(rows: Sequence[Answer]) -> str:
    body = [
        (row["direction"], row["address"], row["target"] or "original destination") for row in rows
    ]
    return table(("LISTENER", "ADDRESS", "TO"), body)


def _totals(by_direction: Answer) -> str:
    body = [
        (direction, *(str(counts[name]) for name in ("open", "opened", "closed")))
        for direction, counts in by_direction.items()
    ]
    return table(("CONNECTIONS", "OPEN", "OPENED", "CLOSED"), body)


def _reasons(by_direction: Answer) -> str:
    body = [
        (reason, direction, str(count))
        for direction, reasons in by_direction.items()
        for reason, count in sorted(reasons.items())
    ]
    if not body:
        return ""
    return table(("CLOSED", "DIRECTION", "COUNT"), body) + _hints({row[0] for row in body})


def _hints(reasons: set[str]) -> str:
    return hints({reason: explain(reason).hint for reason in reasons})
