"""Which rule a request falls to, asked of the rows in plain Python: slow, and easy to see right.

The data plane does the same over C memory (fast/route.pxd). Tests compare the two; `remora ctl why`
tells with these functions what did not fit. Paths are in their one form (policy/paths.py).
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from proxy.traffic.regex import matches
from proxy.traffic.rows import (
    ANY,
    EXACT,
    NOBODY,
    PREFIX,
    Field,
    Front,
    Route,
    Traffic,
)

Header = tuple[bytes, bytes]

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


class Asked(NamedTuple):
    """A request: its path without the query, the query without the question mark."""

    method: str
    path: bytes
    query: bytes = b""
    headers: tuple[Header, ...] = ()


def reference_match(
    traffic: Traffic,
    front: Front,
    method: str,
    path: bytes,
    query: bytes = b"",
    headers: Sequence[Header] = (),
) -> int:
    """Return the index of the rule of the first route that fits, NOBODY where none does."""
    asked = Asked(method, path, query, tuple(headers))
    for route in front.routes:
        if not misfit(traffic, route, asked):
            return route.rule
    return NOBODY


def misfit(traffic: Traffic, route: Route, asked: Asked) -> str:
    """Return why a route does not fit, "" where it does."""
    if not path_fits(traffic, route, asked.path):
        return f"the path is not {path_text(route)}"
    if route.method and route.method != asked.method:
        return f"the method is not {route.method}"
    for field in route.fields:
        value = value_of(field, asked)
        kind = "query parameter" if field.is_query else "header"
        name = field.name.decode("latin-1")
        if value is None:
            return f"there is no {kind} {name}"
        if not _value_fits(traffic, field, value):
            return f"the {kind} {name} is {value.decode('latin-1')!r}"
    return ""


def path_fits(traffic: Traffic, route: Route, path: bytes) -> bool:
    """Whether a route's path fits; a prefix fits whole segments."""
    if route.path_form == ANY:
        return True
    if route.path_form == EXACT:
        return path == route.path
    if route.path_form == PREFIX:
        return path == route.path or path.startswith(route.path + b"/")
    return matches(traffic.dfas[route.dfa], path)


def path_text(route: Route) -> str:
    """Return a route's path as people say it."""
    words = {ANY: "any", EXACT: "exactly", PREFIX: "below", "regex": "an instance of"}
    return f"{words[route.path_form]} {route.path.decode('latin-1')}".rstrip()


def value_of(field: Field, asked: Asked) -> bytes | None:
    """Return the value that a condition looks at, None where there is none.

    Of a query parameter the first one counts; a header that comes several times is one list.
    """
    if field.is_query:
        pairs = [pair.partition(b"=") for pair in asked.query.split(b"&")]
        values = [_decoded(value) for name, _, value in pairs if _decoded(name) == field.name]
        return values[0] if values else None
    values = [value for name, value in asked.headers if name.lower() == field.name]
    return b", ".join(values) if values else None


def _decoded(text: bytes) -> bytes:
    """Return a part of a query as forms mean it; what is no escape stands for itself."""
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), text.replace(b"+", b" "))


def _value_fits(traffic: Traffic, field: Field, value: bytes) -> bool:
    if field.dfa == NOBODY:
        return value == field.value
    return matches(traffic.dfas[field.dfa], value)


def match_text(route: Route) -> str:
    """Return a match as people say it."""
    words = [route.method, "" if route.path_form == ANY else f"path {path_text(route)}"]
    for field in route.fields:
        kind = "parameter" if field.is_query else "header"
        sign = "=" if field.dfa == NOBODY else "~"
        text = f"{field.name.decode('latin-1')}{sign}{field.value.decode('utf-8', 'replace')}"
        words.append(f"{kind} {text}")
    return ", ".join(filter(None, words)) or "everything"
