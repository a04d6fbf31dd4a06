"""HTTPRoutes → rules, and the matches of each port of a Service, the strongest first."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from proxy.policy.effective import Who
from proxy.policy.paths import normalize
from proxy.sources.route import BackendRef, FieldMatch, ParentRef, PathMatch, RouteMatch, RouteRule
from proxy.sources.route import HttpRoute as RouteObject
from proxy.sources.service import EXTERNAL_NAME, HEADLESS, Service, ServicePort
from proxy.sources.strict import Fault
from proxy.traffic.numbers import Numbers
from proxy.traffic.precedence import Strength, strength
from proxy.traffic.regex import RegexError, compile_regex
from proxy.traffic.rows import (
    ANY,
    NOBODY,
    PREFIX,
    REGEX,
    Backend,
    Dfa,
    Field,
    Mirror,
    Retry,
    Rewrite,
    Route,
    Rule,
    Share,
)
from proxy.traffic.settings import NO_LIMIT_MS, retry_of

_ASCII: Final = 128


class Match(NamedTuple):
    """A match of a route, and what it is sorted by."""

    strength: Strength
    route: Route


class Attached(NamedTuple):
    """A route at a Service, or at one of its ports."""

    parent: ParentRef
    is_consumer: bool  # of the clients' namespace, not of the Service's
    matches: tuple[Match, ...]


class Routing:
    """Rules and regular expressions of all routes, and which of them a port has."""

    def __init__(
        self,
        who: Who,
        services: Mapping[str, Service],
        backends: Mapping[tuple[str, int], int],
        rows: "list[Backend]",
        numbers: Numbers,
    ) -> None:
        self.rules: list[Rule] = []
        self.dfas: list[Dfa] = []
        self.notes: list[str] = []
        self.faults: list[Fault] = []
        self._who = who
        self._services = services
        self._backends = backends
        self._rows = rows
        self._numbers = numbers
        self._dfa_indexes: dict[str, int] = {}
        self._attached: dict[str, list[Attached]] = {}

    def attach(self, routes: Iterable[RouteObject]) -> None:
        """Attach routes to the Services that they name."""
        for route in sorted(routes, key=lambda each: each.meta.path):
            parents = [each for each in route.parents if self._is_ours(route, each)]
            if not parents:
                continue
            if route.is_grpc:
                self.notes.append(f"{route.meta} is read, and served when HTTP/2 comes")
                continue
            if route.hostnames:
                self.notes.append(f"{route.meta}: hostnames count for nothing at a Service")
            matches = tuple(self._matches(route))
            for parent in parents:
                path = f"{parent.namespace}/{parent.name}"
                is_consumer = route.meta.namespace != parent.namespace
                attached = Attached(parent, is_consumer, matches)
                self._attached.setdefault(path, []).append(attached)

    def of_port(self, path: str, port: ServicePort) -> tuple[Route, ...]:
        """Return the matches of a port: those of our own namespace replace the Service's."""
        here = [
            each
            for each in self._attached.get(path, ())
            if each.parent.port in {0, port.port} and each.parent.section in {"", port.name}
        ]
        ours = [each for each in here if each.is_consumer]
        # A dict: a route that names a port and its Service is asked once.
        found = {match.strength: match.route for each in ours or here for match in each.matches}
        return tuple(found[key] for key in sorted(found))

    def _is_ours(self, route: RouteObject, parent: ParentRef) -> bool:
        """Whether a route is attached there: by who owns the Service, or for our own namespace."""
        if not parent.is_service:
            return False
        if route.meta.namespace not in {parent.namespace, self._who.namespace}:
            return False
        path = f"{parent.namespace}/{parent.name}"
        service = self._services.get(path)
        if service is None:
            why = "there is none here"
        elif not any(
            parent.port in {0, port.port} and parent.section in {"", port.name}
            for port in service.ports
        ):
            why = "it has no such port"
        elif service.kind in {HEADLESS, EXTERNAL_NAME}:
            why = f"it is {service.kind}, and has no address of its own"
        else:
            return True
        self.notes.append(f"{route.meta} is not attached to Service {path}: {why}")
        return False

    # ---- rules ------------------------------------------------------------------------------

    def _matches(self, route: RouteObject) -> Iterable[Match]:
        for i, rule in enumerate(route.rules):
            self.rules.append(self._rule(route, i, rule))
            for j, match in enumerate(rule.matches or (RouteMatch(),)):
                where = f"spec.rules[{i}].matches[{j}]"
                row = self._route(route, match, where)
                yield Match(strength(row, route.meta, i, j), row)

    def _rule(self, route: RouteObject, index: int, rule: RouteRule) -> Rule:
        filters, said = rule.filters, route.annotations
        request_ms = said.request_ms if rule.request_ms is None else rule.request_ms
        try_ms = said.try_ms if rule.try_ms is None else rule.try_ms
        where = f"spec.rules[{index}]"
        if request_ms and try_ms and try_ms > request_ms:
            text = f"a try may take {try_ms} ms and the whole request only {request_ms} ms"
            self._blame(route, where, text)
        shares = tuple(self._share(route, each) for each in rule.backends)
        backends = [self._rows[share.backend] for share in shares if share.backend != NOBODY]
        if not shares and not filters.redirect:
            self.notes.append(f"{route.meta}: {where} has no backend and answers 500")
        mirrors = [
            Mirror(backend, each.per_million)
            for each in filters.mirrors
            if (backend := self._backend(route, each.backend, "gets no copy")) != NOBODY
        ]
        return Rule(
            number=self._numbers.route(route.meta.path),
            route=route.meta.path,
            shares=shares,
            request_edits=filters.request,
            response_edits=filters.response,
            mirrors=tuple(mirrors),
            rewrite=filters.redirect or filters.rewrite or Rewrite(),
            request_ms=_limit_ms(request_ms, [each.request_ms for each in backends]),
            try_ms=_limit_ms(try_ms, [each.try_ms for each in backends]),
            retry=_said(rule.retry or retry_of(said)),
            limit=said.limit or Rule(0, "").limit,
            fault=said.fault,
        )

    def _share(self, route: RouteObject, ref: BackendRef) -> Share:
        backend = self._backend(route, ref, "its share is answered with 500")
        return Share(backend, ref.weight, ref.filters.request, ref.filters.response)

    def _backend(self, route: RouteObject, ref: BackendRef, then: str) -> int:
        """Return the index of a backend; one that is not there is NOBODY.

        It may be of any namespace: at a Service routes need no ReferenceGrant (GEP-1294).
        """
        path = f"{ref.namespace}/{ref.name}"
        index = self._backends.get((path, ref.port), NOBODY)
        if index == NOBODY:
            why = "is no port of a Service with endpoints here"
            self.notes.append(f"{route.meta}: {path}:{ref.port} {why}: {then}")
        return index

    # ---- matches ----------------------------------------------------------------------------

    def _route(self, route: RouteObject, match: RouteMatch, where: str) -> Route:
        form, path, dfa = self._path(route, match.path, f"{where}.path")
        conditions = [(each, False) for each in match.headers]
        conditions += [(each, True) for each in match.queries]
        fields = [self._field(route, each, where, is_query) for each, is_query in conditions]
        return Route(len(self.rules) - 1, form, path, dfa, match.method, tuple(fields))

    def _path(
        self, route: RouteObject, path: PathMatch | None, where: str
    ) -> tuple[str, bytes, int]:
        if path is None:
            return ANY, b"", NOBODY
        if path.form == REGEX:
            return REGEX, path.value.encode(), self._dfa(route, path.value, where)
        text = normalize(_escaped(path.value))
        if text is None:
            self._blame(route, where, f"the path {path.value!r} can be read in several ways")
            return ANY, b"", NOBODY
        if path.form == PREFIX:
            # Whole segments count: a slash at the end says nothing, and the first one is in all.
            text = text.rstrip(b"/")
            return (PREFIX, text, NOBODY) if text else (ANY, b"", NOBODY)
        return path.form, text, NOBODY

    def _field(self, route: RouteObject, each: FieldMatch, where: str, is_query: bool) -> Field:  # noqa: FBT001
        name = each.name if is_query else each.name.lower()
        place = f"{where}.{'queryParams' if is_query else 'headers'}"
        dfa = self._dfa(route, each.value, place) if each.is_regex else NOBODY
        return Field(is_query, name.encode(), each.value.encode(), dfa)

    def _dfa(self, route: RouteObject, pattern: str, where: str) -> int:
        if pattern in self._dfa_indexes:
            return self._dfa_indexes[pattern]
        try:
            self.dfas.append(compile_regex(pattern))
        except RegexError as wrong:
            self._blame(route, where, f"the regular expression {pattern!r} {wrong}")
            return NOBODY
        self._dfa_indexes[pattern] = len(self.dfas) - 1
        return self._dfa_indexes[pattern]

    def _blame(self, route: RouteObject, where: str, text: str) -> None:
        meta = route.meta
        self.faults.append(Fault(meta.file, meta.line, str(meta), where, text))


def _escaped(path: str) -> bytes:
    """Return a path as it stands in a request, where what is no ASCII is escaped."""
    return b"".join(
        bytes([byte]) if byte < _ASCII else f"%{byte:02X}".encode() for byte in path.encode()
    )


def _limit_ms(said_ms: int | None, defaults_ms: list[int]) -> int:
    """Return a limit for a row, where 0 leaves it to the backend."""
    if said_ms == 0 and any(defaults_ms):
        return NO_LIMIT_MS
    return said_ms or 0


def _said(retry: Retry | None) -> Retry:
    return retry._replace(is_said=True) if retry else Retry()
