"""How requests are sent to a port of a Service: what DestinationRules and annotations say of it."""

from collections.abc import Iterable
from typing import Final

from proxy.policy.effective import Who
from proxy.sources.annotations import RouteAnnotations, ServiceAnnotations
from proxy.sources.destination_rule import RING_SIZE, DestinationRule, Policy
from proxy.sources.service import ZONE, Service
from proxy.traffic.names import service_of
from proxy.traffic.rows import NO_HASH, RING, SOURCE, Backend, Retry

# Connect failures and what was provably not sent; idempotent methods: what the data plane always
# tries again. No answer is worth another try unless somebody says so.
DEFAULT_RETRY: Final = Retry(attempts=2, codes=(), backoff_ms=25)
# In a row 0 leaves a time to the flags or to the Service. Who says "0s" wants no limit: the reach
# of the data plane's timers stands for it.
NO_LIMIT_MS: Final = 64_800_000
_TIMES_WITHOUT_LIMIT: Final = frozenset({"idle_ms", "tcp_idle_ms"})


def rules_by_service(
    rules: Iterable[DestinationRule], who: Who, services: Iterable[str], notes: list[str]
) -> dict[str, DestinationRule]:
    """Return the DestinationRule of each Service: ours before its own before the root's."""
    known = set(services)
    found: dict[str, list[tuple[int, DestinationRule]]] = {}
    for rule in rules:
        path = service_of(rule.host, rule.meta.namespace)
        if path not in known:
            notes.append(f"{rule.meta} is ignored: {rule.host} is no Service here")
            continue
        ranks = (who.namespace, path.partition("/")[0], who.root_namespace)
        is_for_us = rule.is_exported or rule.meta.namespace == who.namespace
        if is_for_us and rule.meta.namespace in ranks:
            found.setdefault(path, []).append((ranks.index(rule.meta.namespace), rule))
        else:
            notes.append(f"{rule.meta} is ignored: it is for clients of its own namespace")
    return {path: _strongest(path, each, notes) for path, each in found.items()}


def _strongest(
    path: str, found: list[tuple[int, DestinationRule]], notes: list[str]
) -> DestinationRule:
    def strength(ranked: tuple[int, DestinationRule]) -> tuple[int, bool, str, str]:
        rank, rule = ranked
        return (rank, not rule.meta.created, rule.meta.created, rule.meta.path)

    first, *others = [rule for _, rule in sorted(found, key=strength)]
    notes += [
        f"{each.meta} is ignored: {first.meta} is stronger for Service {path}" for each in others
    ]
    return first


def policy_of(rule: DestinationRule | None, port: int) -> Policy | None:
    """Return what a DestinationRule says of a port; settings of a port replace all others."""
    return rule.ports.get(port, rule.policy) if rule else None


def wants_zone(service: Service, policy: Policy | None) -> bool:
    """Whether endpoints of our own zone come first."""
    if policy is not None and policy.is_local is not None:
        return policy.is_local
    return service.topology == ZONE


def retry_of(said: ServiceAnnotations | RouteAnnotations) -> Retry | None:
    """Return the retries that annotations ask for; None: they say nothing of it."""
    words = (said.retry_attempts, said.retry_codes, said.retry_backoff_ms)
    if all(word is None for word in words):
        return None
    default = DEFAULT_RETRY
    return Retry(
        default.attempts if said.retry_attempts is None else said.retry_attempts,
        default.codes if said.retry_codes is None else said.retry_codes,
        default.backoff_ms if said.retry_backoff_ms is None else said.retry_backoff_ms,
        is_said=True,
    )


def with_settings(backend: Backend, service: Service, policy: Policy | None) -> Backend:
    """Return a backend with everything that is said of it."""
    if service.is_sticky:
        backend = backend._replace(balance=RING, hash_by=SOURCE, table_size=RING_SIZE)
    said = service.annotations
    backend = backend._replace(
        request_ms=said.request_ms or 0,
        try_ms=said.try_ms or 0,
        retry=retry_of(said) or DEFAULT_RETRY,
    )
    if policy is not None:
        backend = _ruled(backend, policy)
    return _annotated(backend, said)


def _ruled(backend: Backend, policy: Policy) -> Backend:
    """Return it with what a DestinationRule says."""
    said = {name: value for name, value in policy._asdict().items() if value is not None}
    said.pop("is_local", None)  # of the order of endpoints: endpoints.py
    for name in _TIMES_WITHOUT_LIMIT & said.keys():
        said[name] = said[name] or NO_LIMIT_MS
    if policy.balance and not policy.hash_by:
        said |= {"hash_by": NO_HASH, "table_size": 0}
    return backend._replace(**said)


def _annotated(backend: Backend, said: ServiceAnnotations) -> Backend:
    """Return it with what only annotations say; they stand nearer than a DestinationRule."""
    if said.budget:
        percent, min_per_s = said.budget
        backend = backend._replace(budget_percent=percent, budget_min_per_s=min_per_s)
    if said.slow_start_ms is not None:
        backend = backend._replace(slow_start_ms=said.slow_start_ms)
    if said.success_rate:
        percent, requests_min = said.success_rate
        outlier = backend.outlier._replace(success_percent_min=percent, requests_min=requests_min)
        backend = backend._replace(outlier=outlier)
    return backend
