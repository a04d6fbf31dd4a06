"""HTTPRoute: which requests for a Service go where (`gateway.networking.k8s.io`)."""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from proxy.sources.addresses import read_port
from proxy.sources.annotations import RETRIES_MAX, STATUS_MAX, STATUS_MIN, read_route_annotations
from proxy.sources.meta import Meta
from proxy.sources.route import (
    GATEWAY_GROUP,
    BackendRef,
    FieldMatch,
    Filters,
    HttpRoute,
    ParentRef,
    PathMatch,
    RouteMatch,
    RouteRule,
)
from proxy.sources.route_filters import read_backend, read_filters
from proxy.sources.strict import TOP, Fault, Fields, Value
from proxy.sources.times import of_gateway
from proxy.traffic import rows
from proxy.traffic.rows import Retry

Times = tuple[int | None, int | None]

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_SPEC: Final = ("parentRefs", "useDefaultGateways", "hostnames", "rules")
_RULE: Final = ("name", "matches", "filters", "backendRefs", "timeouts", "retry")
_FORMS: Final = {
    "Exact": rows.EXACT,
    "PathPrefix": rows.PREFIX,
    "RegularExpression": rows.REGEX,
}
# What Gateway API refuses in a path, because two readers could take it for two paths.
_BAD_IN_PATH: Final = ("//", "/./", "/../", "%2f", "%2F", "#", "?")
_BAD_PATH_ENDS: Final = ("/..", "/.")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_TIMES: Final[Times] = (None, None)
_RETRIES: Final = 2  # where a retry does not say how many
_BACKOFF_MS: Final = 25


class Kind(NamedTuple):
    """What differs between kinds of routes."""

    is_grpc: bool
    rule_fields: tuple[str, ...]
    match: Callable[[Value], RouteMatch]


def read_http_route(value: Value, meta: Meta) -> HttpRoute:
    """Read an HTTPRoute."""
    return read_route(value, meta, Kind(is_grpc=False, rule_fields=_RULE, match=_match))


def read_route(value: Value, meta: Meta, kind: Kind) -> HttpRoute:
    """Read a route of any kind."""
    faults: list[Fault] = []
    top = Fields(value, TOP, faults)
    spec = Fields(top.get("spec"), _SPEC, faults)
    parents = spec.each("parentRefs", lambda at: _parent(at, meta.namespace))
    annotations = read_route_annotations(value, meta, faults)
    if parents and not any(parent.is_service for parent in parents):
        # Of a gateway: what it says is none of our business, and neither is what is wrong with it.
        return HttpRoute(meta, parents, (), (), annotations, kind.is_grpc)
    return HttpRoute(
        meta,
        parents,
        spec.each("hostnames", Value.text),
        spec.each("rules", lambda at: _rule(at, meta.namespace, kind, faults)),
        annotations,
        kind.is_grpc,
        tuple(faults),
    )


def _items(fields: Mapping[str, Value], name: str) -> list[Value]:
    return fields[name].items() if name in fields else []


def _parent(value: Value, namespace: str) -> ParentRef:
    fields = value.members(("group", "kind", "namespace", "name", "sectionName", "port"))
    if "name" not in fields:
        raise value.fault("has no name")
    texts = {name: each.text() for name, each in fields.items() if name != "port"}
    # A Service's group is "", and an empty string is not a missing one.
    return ParentRef(
        texts.get("kind", "Gateway"),
        texts.get("group", GATEWAY_GROUP),
        texts.get("namespace", namespace),
        texts["name"],
        read_port(fields["port"]) if "port" in fields else 0,
        texts.get("sectionName", ""),
    )


# ---- rules --------------------------------------------------------------------------------------


def _rule(value: Value, namespace: str, kind: Kind, faults: list[Fault]) -> RouteRule:
    """Read a rule; what is wrong with its parts goes into `faults`."""
    fields = Fields(value, kind.rule_fields, faults)
    matches = fields.each("matches", kind.match)
    filters = fields.read(
        "filters", lambda at: read_filters(at, namespace, is_grpc=kind.is_grpc), Filters()
    )
    backends = fields.each("backendRefs", lambda at: read_backend(at, namespace))
    fields.read("filters", lambda at: _fits(at, matches, filters, backends), None)
    request_ms, try_ms = fields.read("timeouts", _timeouts, _NO_TIMES)
    return RouteRule(
        fields.read("name", Value.text, ""),
        matches,
        filters,
        backends,
        request_ms,
        try_ms,
        fields.read("retry", _retry, None),
    )


def _fits(
    value: Value,
    matches: tuple[RouteMatch, ...],
    filters: Filters,
    backends: tuple[BackendRef, ...],
) -> None:
    if filters.redirect and backends:
        raise value.fault("has a RequestRedirect, which cannot stand beside backendRefs")
    change = filters.redirect or filters.rewrite
    if change and change.path_kind == rows.REPLACE_PREFIX:
        paths = [match.path for match in matches]
        if len(paths) > 1 or any(path and path.form != rows.PREFIX for path in paths):
            raise value.fault("has a ReplacePrefixMatch, which needs one match, a PathPrefix")


def _timeouts(value: Value) -> Times:
    fields = value.members(("request", "backendRequest"))
    request_ms = of_gateway(fields["request"]) if "request" in fields else None
    try_ms = of_gateway(fields["backendRequest"]) if "backendRequest" in fields else None
    if request_ms and try_ms and try_ms > request_ms:
        raise fields["backendRequest"].fault("is longer than request")
    return request_ms, try_ms


def _retry(value: Value) -> Retry | None:
    fields = value.members(("codes", "attempts", "backoff"))
    codes = [each.between(STATUS_MIN, STATUS_MAX) for each in _items(fields, "codes")]
    return Retry(
        fields["attempts"].between(0, RETRIES_MAX) if "attempts" in fields else _RETRIES,
        tuple(sorted(set(codes))),
        of_gateway(fields["backoff"]) if "backoff" in fields else _BACKOFF_MS,
        is_said=True,
    )


# ---- matches ------------------------------------------------------------------------------------


def _match(value: Value) -> RouteMatch:
    fields = value.members(("path", "headers", "queryParams", "method"))
    return RouteMatch(
        _path(fields["path"]) if "path" in fields else None,
        read_headers(fields.get("headers")),
        _firsts([_field(item) for item in _items(fields, "queryParams")]),
        fields["method"].choice(*METHODS) if "method" in fields else "",
    )


def _path(value: Value) -> PathMatch:
    fields = value.members(("type", "value"))
    form = _FORMS[fields["type"].choice(*_FORMS)] if "type" in fields else rows.PREFIX
    text = fields["value"].text() if "value" in fields else "/"
    if form != rows.REGEX:
        if not text.startswith("/"):
            raise value.fault(f"{text!r} does not begin with /")
        bad = [part for part in _BAD_IN_PATH if part in text]
        bad += [end for end in _BAD_PATH_ENDS if text.endswith(end)]
        if bad or not text.isprintable() or " " in text:
            raise value.fault(f"{text!r} can be no path{f': it has {bad[0]}' if bad else ''}")
    return PathMatch(form, text)


def read_headers(value: Value | None) -> tuple[FieldMatch, ...]:
    """Read conditions on headers."""
    found = []
    for item in value.items() if value else []:
        each = _field(item)
        if not _HEADER.fullmatch(each.name):
            raise item.fault(f"{each.name!r} is no name of a header")
        found.append(each._replace(name=each.name.lower()))
    return _firsts(found)


def _field(value: Value) -> FieldMatch:
    fields = value.members(("type", "name", "value"))
    for name in ("name", "value"):
        if name not in fields:
            raise value.fault(f"has no {name}")
    kind = fields["type"].choice("Exact", "RegularExpression") if "type" in fields else "Exact"
    return FieldMatch(fields["name"].text(), fields["value"].text(), kind != "Exact")


def _firsts(found: list[FieldMatch]) -> tuple[FieldMatch, ...]:
    """Return the first of each name: the API ignores the others."""
    firsts: dict[str, FieldMatch] = {}
    for each in found:
        firsts.setdefault(each.name, each)
    return tuple(firsts.values())
