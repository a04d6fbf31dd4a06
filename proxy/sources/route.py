"""What HTTPRoute and GRPCRoute say, in the same words for both (`gateway.networking.k8s.io`)."""

from typing import Final, NamedTuple

from proxy.sources.annotations import RouteAnnotations
from proxy.sources.meta import Meta
from proxy.sources.strict import Fault
from proxy.traffic.rows import MILLION, Edit, Retry, Rewrite

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
SERVICE: Final = "Service"


class ParentRef(NamedTuple):
    """What a route is attached to."""

    kind: str
    group: str
    namespace: str
    name: str
    port: int = 0  # 0: every port
    section: str = ""

    @property
    def is_service(self) -> bool:
        """Whether it is a Service of Kubernetes; others mean nothing to a sidecar."""
        return self.kind == SERVICE and not self.group


class PathMatch(NamedTuple):
    """What a path must be."""

    form: str  # rows.EXACT, PREFIX or REGEX
    value: str


class FieldMatch(NamedTuple):
    """What a header (its name in small letters) or a query parameter must be."""

    name: str
    value: str
    is_regex: bool = False


class RouteMatch(NamedTuple):
    """All of it must hold."""

    path: PathMatch | None = None
    headers: tuple[FieldMatch, ...] = ()
    queries: tuple[FieldMatch, ...] = ()
    method: str = ""


class Filters(NamedTuple):
    """What is done with requests and responses on their way. Names of headers in small letters."""

    request: tuple[Edit, ...] = ()
    response: tuple[Edit, ...] = ()
    rewrite: Rewrite | None = None
    redirect: Rewrite | None = None
    mirrors: "tuple[MirrorRef, ...]" = ()


class BackendRef(NamedTuple):
    """A port of a Service that gets a share of the requests."""

    namespace: str
    name: str
    port: int
    weight: int = 1
    filters: Filters = Filters()


class MirrorRef(NamedTuple):
    """Who gets a copy."""

    backend: BackendRef
    per_million: int = MILLION


class RouteRule(NamedTuple):
    """What is done with requests that one of the matches fits; (): every request."""

    name: str
    matches: tuple[RouteMatch, ...] = ()
    filters: Filters = Filters()
    backends: tuple[BackendRef, ...] = ()
    request_ms: int | None = None  # None: not said; 0: no limit
    try_ms: int | None = None
    retry: Retry | None = None


class HttpRoute(NamedTuple):
    """An HTTPRoute or a GRPCRoute. Where no parent is a Service, rules are not read at all.

    With `faults` it must not be used: what could not be read is left out, so that it matches more.
    """

    meta: Meta
    parents: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    rules: tuple[RouteRule, ...]
    annotations: RouteAnnotations
    is_grpc: bool = False
    faults: tuple[Fault, ...] = ()
