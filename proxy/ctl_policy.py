"""Policy on a terminal: `ctl policy`."""

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.ctl_table import printable, table

Answer = Mapping[str, Any]  # decoded JSON: its shape is policy/describe.py's


def policy(answer: Answer) -> str:
    """Return the page of `ctl policy`."""
    me, mtls = answer["me"], answer["mtls"]
    labels = ",".join(f"{name}={text}" for name, text in me["labels"].items())
    ports = ", ".join(f"{port} {mode}" for port, mode in mtls["ports"].items())
    facts = [
        ("pod", f"{me['namespace']}/{me['pod']}" if me["pod"] else f"{me['namespace']}/-"),
        ("labels", labels or "-"),
        ("identity", me["identity"] or "-"),
        ("manifests", f"{answer['manifests']}, read {answer['loaded']}"),
        ("objects", _counts(answer["objects"])),
        ("skipped", _counts(answer["skipped"])),
        ("mtls", f"{mtls['default']}{f' (ports: {ports})' if ports else ''}"),
        ("  said by", ", ".join(mtls["from"]) or "no object"),
        ("probes", ", ".join(f"{each['port']}{each['path']}" for each in answer["probes"]) or "-"),
        ("meshed", f"{len(answer['mesh'])} addresses"),
    ]
    parts = [
        table(("", ""), [(f"{name}:", printable(text)) for name, text in facts]).lstrip("\n"),
        _policies(answer["policies"], answer["decided_by_none"]),
        _list("FAULTS: nothing of the last change is in force", answer["faults"]),
        _list("NOTES", [{"sentence": note} for note in answer["notes"]]),
    ]
    return "\n\n".join(filter(None, parts))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "-"


def _policies(rows: Sequence[Answer], rest: Mapping[str, int]) -> str:
    if not rows:
        return "no authorization policy applies: everybody may do everything"
    body = [
        (
            row["name"],
            row["action"] + (" (dry run)" if row["dry_run"] else ""),
            str(row["rules"]),
            _said(row["counts"]),
            f"{printable(row['file'])}:{row['line']}",
        )
        for row in rows
    ]
    body.append(("none of them", "-", "-", _said(rest), "-"))
    return table(("POLICY", "ACTION", "RULES", "DECIDED", "FROM"), body)


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "-"


def _list(title: str, rows: Sequence[Answer]) -> str:
    if not rows:
        return ""
    return "\n".join([title, *(f"  {printable(row['sentence'])}" for row in rows)])
