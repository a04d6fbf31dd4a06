"""What is in force on a terminal: `ctl config`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.ctl_table import printable, span, table

Answer = Mapping[str, Any]  # decoded JSON: its shape is traffic/describe.py's

_SECOND_MS: Final = 1000
_ENDPOINTS_SHOWN_MAX: Final = 3


def config(answer: Answer, *, is_detailed: bool) -> str:
    """Return the page of `ctl config`; with a Service named, everything about it."""
    loads = answer["loads"]
    now = "; a change is being read" if answer["is_reading"] else ""
    facts = [
        ("manifests", answer["manifests"]),
        ("in force since", f"{answer['loaded']} ({span(answer['age_s'] * _SECOND_MS)})"),
        ("read", f"{loads['good']} times, refused {loads['bad']} times{now}"),
        ("objects", _counts(answer["objects"])),
        ("skipped", _counts(answer["skipped"])),
        ("traffic", _counts(answer["counts"])),
        ("zone", answer["zone"] or "-"),
    ]
    parts = [
        table(("", ""), [(f"{name}:", printable(text)) for name, text in facts]).lstrip("\n"),
        _list("FAULTS: nothing of the last change is in force", _sentences(answer["faults"])),
        _list("NOTES", answer["notes"]),
        _services(answer["services"]),
        *(_details(each) for each in (answer["services"] if is_detailed else ())),
        "(more were left out: raise --limit)" if answer["truncated"] else "",
    ]
    return "\n\n".join(filter(None, parts))


def _counts(counts: Mapping[str, int]) -> str:
    words = [f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count]
    return ", ".join(words) or "-"


def _sentences(faults: Sequence[Answer]) -> list[str]:
    return [fault["sentence"] for fault in faults]


def _list(title: str, sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return "\n".join([title, *(f"  {printable(each)}" for each in sentences)])


def _services(rows: Sequence[Answer]) -> str:
    if not rows:
        return "no service"
    body = [
        (
            row["service"],
            str(row["port"]),
            ", ".join(row["addresses"]) or "-",
            _endpoints(row),
            row["balance"],
            str(len(row["routes"])),
            printable(", ".join(row["settings"] | row["limits"])) or "-",
        )
        for row in rows
    ]
    head = ("SERVICE", "PORT", "ADDRESSES", "ENDPOINTS", "BALANCE", "MATCHES", "SET")
    return table(head, body)


def _endpoints(row: Answer) -> str:
    found = row["endpoints"]
    local = f" ({row['local_count']} of our zone)" if row["local_count"] else ""
    more = " ..." if len(found) > _ENDPOINTS_SHOWN_MAX else ""
    named = f": {', '.join(found[:_ENDPOINTS_SHOWN_MAX])}{more}" if found else ""
    return f"{len(found)}{local}{named}"


def _details(row: Answer) -> str:
    lines = [f"{row['service']}:{row['port']}"]
    lines += [f"  name      {name}:{row['port']}" for name in row["names"]]
    lines += [f"  endpoint  {each}{_endpoint_now(row, each)}" for each in row["endpoints"]]
    lines += _now(row["now"]) if row["now"] else []
    said = row["settings"] | row["limits"]
    lines += [f"  {name} = {printable(str(value))}" for name, value in said.items()]
    lines += [f"  match     {each['route']}: {printable(each['match'])}" for each in row["routes"]]
    return "\n".join(lines)


def _endpoint_now(row: Answer, address: str) -> str:
    """Return what the workers think of an endpoint, if they have met it."""
    now = row["endpoints_now"].get(address)
    if now is None:
        return ""
    latency = f", {span(now['latency_ms'])}" if now["latency_ms"] else ""
    out = f", OUT after failures ({now['ejections']} in a row)" if now["ejected"] else ""
    return f"  {now['in_flight']} in flight{latency}{out}"


def _now(now: Answer) -> list[str]:
    """Return what the workers know of a service's port."""
    line = (
        f"  now       {now['in_flight']} in flight, {now['retrying']} of them again,"
        f" {now['pending']} waiting, {now['connections']} connections"
    )
    counts = _counts(now["events"])
    return [line, *([f"  so far    {counts}"] if now["events"] else [])]
