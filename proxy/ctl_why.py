"""What would become of a request, on a terminal: `ctl why`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.ctl_table import printable, span

Answer = Mapping[str, Any]  # decoded JSON: its shape is traffic/why.py's

_COLUMN: Final = 14
_ENDPOINTS_SHOWN_MAX: Final = 10


def why(answer: Answer) -> str:
    """Return the page of `ctl why`."""
    asked = answer["asked"]
    query = f"?{asked['query']}" if asked["query"] else ""
    lines = [f"{asked['method']} {asked['host']}:{asked['port']}{asked['path']}{query}"]
    listener, place = answer["listener"], answer["destination"]
    at = f" at {', '.join(listener['addresses'])}" if listener["addresses"] else ""
    lines += _part("listener", f"{listener['name']}{at}", [listener["why"]])
    handling = "" if place["handling"] == "detect" else f" ({place['handling']})"
    lines += _part("destination", f"{place['service']}{handling}", [place["why"]])
    lines += _route(answer.get("route"))
    lines += _mtls(answer.get("mtls"))
    lines += _policies(answer["policies"])
    for backend in answer.get("backends", ()):
        lines += _backend(backend)
    lines += _times(answer.get("times"))
    for name, value in answer.get("limits", {}).items():
        lines += _part("limit", f"{name.replace('_', ' ')} {value}", [])
    if "application" in answer:
        lines += _part("application", f"port {answer['application']['port']}", [])
    return "\n".join(map(printable, lines))


def _part(name: str, what: str, more: list[str]) -> list[str]:
    title = f"{name}:" if name else ""
    return [f"{title:{_COLUMN}}{what}", *(f"{'':{_COLUMN}}{each}" for each in more)]


def _route(route: Answer | None) -> Iterator[str]:
    if route is None:
        return
    what = f"{route['route']}: {route['match']}" if "route" in route else "-"
    misses = [
        f"asked before: {each['route']}: {each['match']}: {each['why_not']}"
        for each in route.get("stronger", ())
    ]
    yield from _part("route", what, [route["why"], *misses])
    for each in route.get("does", ()):
        yield from _part("", f"then: {each}", [])


def _mtls(mtls: Answer | None) -> list[str]:
    return _part("mesh tls", f"{mtls['mode']}: {mtls['why']}", []) if mtls else []


def _policies(policies: Answer) -> list[str]:
    if "is_allowed" not in policies:
        return _part("policies", policies["why"], [])
    verdict = "let in" if policies["is_allowed"] else "denied (403)"
    by = f" by {policies['policy']}" if policies["policy"] else ""
    rows = [
        f"{each['action']} {each['name']}{' (dry run)' if each['dry_run'] else ''}: "
        + ("matches" if each["matches"] else "; ".join(each["why_not"]))
        for each in policies["asked"]
    ]
    return _part("policies", f"{verdict}{by}: {policies['why']}", rows)


def _backend(backend: Answer) -> list[str]:
    percent = f"{backend['percent']:g} %"
    if backend["service"] is None:
        return _part("backend", f"nobody, {percent}", [backend["why"]])
    settings = [f"{name} = {value}" for name, value in backend["settings"].items()]
    found = backend["endpoints"]
    rows = [
        f"endpoint {each['address']}{', of our zone' if each['is_local'] else ''}"
        + (f", {each['identity']}" if each["identity"] else "")
        for each in found[:_ENDPOINTS_SHOWN_MAX]
    ]
    if len(found) > _ENDPOINTS_SHOWN_MAX:
        rows.append(f"and {len(found) - _ENDPOINTS_SHOWN_MAX} more")
    what = f"{backend['service']}:{backend['port']}, {percent}"
    return _part("backend", what, [backend["why"], *rows, *settings])


def _times(times: Answer | None) -> Iterator[str]:
    if times is None:
        return
    for name in ("request", "try", "connect"):
        each = times[name]
        limit = span(each["ms"]) if each["ms"] else "-"
        yield from _part(f"{name} time", f"{limit} ({each['by']})", [])
    retry, budget = times["retry"], times["retry_budget"]
    codes = f", for {', '.join(map(str, retry['codes']))}" if retry["codes"] else ""
    what = f"{retry['attempts']} at most{codes} ({retry['by']})"
    more = f"budget: {budget['percent']} % of requests, {budget['min_per_s']} a second at least"
    yield from _part("retries", what, [more])
