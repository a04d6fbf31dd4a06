"""GRPCRoute, read as the HTTPRoute that it means: a method is a path. Served when HTTP/2 comes."""

import re
from typing import Final

from proxy.sources.http_route import Kind, read_headers, read_route
from proxy.sources.meta import Meta
from proxy.sources.route import HttpRoute, PathMatch, RouteMatch
from proxy.sources.strict import Value
from proxy.traffic import rows

_RULE: Final = ("name", "matches", "filters", "backendRefs")
_SERVICE: Final = re.compile(r"(?i:\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*)")
_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_ANY: Final = "[^/]+"


def read_grpc_route(value: Value, meta: Meta) -> HttpRoute:
    """Read a GRPCRoute."""
    return read_route(value, meta, Kind(is_grpc=True, rule_fields=_RULE, match=_match))


def _match(value: Value) -> RouteMatch:
    fields = value.members(("method", "headers"))
    path = _path(fields["method"]) if "method" in fields else None
    return RouteMatch(path, read_headers(fields.get("headers")))


def _path(value: Value) -> PathMatch:
    fields = value.members(("type", "service", "method"))
    kind = fields["type"].choice("Exact", "RegularExpression") if "type" in fields else "Exact"
    service = fields["service"].text() if "service" in fields else ""
    method = fields["method"].text() if "method" in fields else ""
    if not service and not method:
        raise value.fault("has neither service nor method")
    if kind == "RegularExpression":
        return PathMatch(rows.REGEX, f"/{_group(service)}/{_group(method)}")
    if service and not _SERVICE.fullmatch(service):
        raise fields["service"].fault(f"{service!r} is no name of a gRPC service")
    if method and not _METHOD.fullmatch(method):
        raise fields["method"].fault(f"{method!r} is no name of a gRPC method")
    if not service:
        return PathMatch(rows.REGEX, f"/{_ANY}/{method}")
    return PathMatch(rows.EXACT, f"/{service}/{method}") if method else _prefix(service)


def _prefix(service: str) -> PathMatch:
    return PathMatch(rows.PREFIX, f"/{service}/")


def _group(text: str) -> str:
    return f"(?:{text})" if text else _ANY
