"""How a backend is spoken to: DestinationRules, by namespace and port, and annotations."""

from pathlib import Path

import pytest

from proxy.policy.effective import Who
from proxy.traffic.model import traffic
from proxy.traffic.names import service_of
from proxy.traffic.numbers import Numbers
from proxy.traffic.rows import EWMA, HEADER, MAGLEV, NO_HASH, RANDOM, RING, SOURCE, Backend, Retry
from proxy.traffic.settings import NO_LIMIT_MS
from tests.support.traffic import Object, destination_rule, load, service

POOL = {"connectionPool": {"http": {"http2MaxRequests": 7}}}
SMALL = {"connectionPool": {"http": {"http2MaxRequests": 3}}}


def made(
    tmp_path: Path, *objects: Object, namespace: str = "shop", **fields: object
) -> tuple[list[Backend], tuple[str, ...]]:
    web = service("web", ports=(80, 81), **fields)  # type: ignore[arg-type]
    rows, notes = traffic(load(tmp_path, web, *objects), Who(namespace), Numbers())
    return list(rows.backends), notes


@pytest.mark.parametrize(
    ("host", "namespace", "path"),
    [
        ("web", "shop", "shop/web"),
        ("web.shop", "cart", "shop/web"),
        ("web.shop.svc", "cart", "shop/web"),
        ("Web.shop.svc.cluster.local.", "cart", "shop/web"),
        ("a.example.org", "cart", "example.org/a"),
    ],
)
def test_a_host_is_a_service_as_it_is_said(host: str, namespace: str, path: str) -> None:
    assert service_of(host, namespace) == path


def test_nothing_is_said_and_the_defaults_hold(tmp_path: Path) -> None:
    (backend, _), notes = made(tmp_path)
    assert backend == Backend(0, "shop/web", 80, retry=Retry(attempts=2))
    assert (backend.balance, backend.outlier.errors_max, notes) == (EWMA, 5, ())


def test_a_destination_rule_counts_for_every_port_but_those_it_names(tmp_path: Path) -> None:
    port = {"port": {"number": 81}, "loadBalancer": {"simple": "RANDOM"}}
    both = {**POOL, "portLevelSettings": [port]}
    (first, second), _ = made(tmp_path, destination_rule("d", "web", both))
    assert (first.requests_max, first.balance) == (7, EWMA)
    assert (second.requests_max, second.balance) == (0, RANDOM)  # replaced as a whole


def test_our_rule_wins_over_the_services_and_that_over_the_roots(tmp_path: Path) -> None:
    fqdn = "web.shop.svc.cluster.local"
    root = destination_rule("r", fqdn, {"loadBalancer": {"simple": "RANDOM"}}, "istio-system")
    own = destination_rule("o", "web", POOL)
    client = destination_rule("c", fqdn, SMALL, "cart")
    (backend, _), notes = made(tmp_path, root, own, client, namespace="cart")
    assert (backend.requests_max, backend.balance) == (3, EWMA)
    why = "is ignored: DestinationRule cart/c is stronger for Service shop/web"
    assert notes == tuple(f"DestinationRule {path} {why}" for path in ("shop/o", "istio-system/r"))
    (backend, _), _ = made(tmp_path, root, own, client)
    assert backend.requests_max == 7
    (backend, _), _ = made(tmp_path, root)
    assert backend.balance == RANDOM


def test_a_rule_that_is_not_exported_is_for_its_own_namespace(tmp_path: Path) -> None:
    own = destination_rule("o", "web", POOL, exportTo=["."])
    assert made(tmp_path, own)[0][0].requests_max == 7
    (backend, _), notes = made(tmp_path, own, namespace="cart")
    assert backend.requests_max == 0
    assert notes == ("DestinationRule shop/o is ignored: it is for clients of its own namespace",)


def test_of_two_rules_the_older_one_counts(tmp_path: Path) -> None:
    old = destination_rule("z", "web", POOL, created="2024-01-01T00:00:00Z")
    new = destination_rule("a", "web", SMALL, created="2025-01-01T00:00:00Z")
    (backend, _), (note,) = made(tmp_path, new, old)
    assert backend.requests_max == 7
    assert note.startswith("DestinationRule shop/a is ignored")


def test_a_rule_for_nobody_is_told(tmp_path: Path) -> None:
    _, notes = made(tmp_path, destination_rule("d", "gone", POOL))
    assert notes == ("DestinationRule shop/d is ignored: gone is no Service here",)


def test_sticky_sessions(tmp_path: Path) -> None:
    (backend, _), _ = made(tmp_path, sessionAffinity="ClientIP")
    assert (backend.balance, backend.hash_by, backend.table_size) == (RING, SOURCE, 1024)
    by_header = {"consistentHash": {"httpHeaderName": "X-User", "maglev": {}}}
    one = destination_rule("d", "web", {"loadBalancer": by_header})
    (backend, _), _ = made(tmp_path, one)
    assert (backend.balance, backend.hash_by, backend.hash_name) == (MAGLEV, HEADER, b"x-user")
    simple = destination_rule("d", "web", {"loadBalancer": {"simple": "RANDOM"}})
    (backend, _), _ = made(tmp_path, simple, sessionAffinity="ClientIP")
    assert (backend.balance, backend.hash_by, backend.table_size) == (RANDOM, NO_HASH, 0)


def test_a_time_that_is_off_is_no_time_of_the_flags(tmp_path: Path) -> None:
    pool = {"tcp": {"idleTimeout": "0s"}, "http": {"idleTimeout": "5s"}}
    one = destination_rule("d", "web", {"connectionPool": pool})
    (backend, _), _ = made(tmp_path, one)
    assert (backend.tcp_idle_ms, backend.idle_ms) == (NO_LIMIT_MS, 5000)


def test_annotations_of_a_service(tmp_path: Path) -> None:
    said = {
        "retry-codes": "502,503",
        "retry-backoff": "50ms",
        "retry-budget": "30% min=1",
        "slow-start": "30s",
        "outlier-success-rate": "80% requests=7",
        "timeout": "10s",
        "try-timeout": "2s",
    }
    detection = {"outlierDetection": {"consecutive5xxErrors": 9}}
    rule = destination_rule("d", "web", {**detection, "retryBudget": {"percent": 50}})
    (backend, _), _ = made(tmp_path, rule, annotations=said)
    assert backend.retry == Retry(2, (502, 503), 50, is_said=True)
    assert (backend.budget_percent, backend.budget_min_per_s) == (30, 1)
    assert backend.slow_start_ms == 30_000
    outlier = backend.outlier
    assert (outlier.errors_max, outlier.success_percent_min, outlier.requests_min) == (9, 80, 7)
    assert (backend.request_ms, backend.try_ms) == (10_000, 2000)
