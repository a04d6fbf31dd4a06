"""DestinationRules: the fields of Istio's that are understood, and those that are refused."""

from pathlib import Path

import pytest

from proxy.sources.destination_rule import Policy
from proxy.traffic.rows import HEADER, LEAST_REQUEST, MAGLEV, QUERY, RING, SOURCE, Outlier
from tests.unit.manifests.making import destination, said, sample, thing
from tests.unit.policy.objects import loaded


def test_what_kubectl_prints_of_a_destination_rule_is_read_without_a_fault() -> None:
    (each,) = sample("routes.yaml").destination_rules
    assert each.faults == ()
    assert (each.host, each.is_exported) == ("web.shop.svc.cluster.local", False)
    assert each.policy == Policy(
        balance="round_robin",
        is_local=True,
        connect_ms=500,
        idle_ms=90_000,
        tcp_idle_ms=3_600_000,
        connections_max=256,
        pending_max=64,
        requests_max=512,
        retries_max=16,
        connection_requests_max=1000,
        slow_start_ms=30_000,
        outlier=Outlier(
            errors_max=7,
            gateway_errors_max=3,
            ejected_percent_max=50,
            interval_ms=5000,
            ejection_ms=600_000,
            ejection_ms_max=600_000,
        ),
    )
    assert each.ports == {
        9090: Policy(balance=MAGLEV, hash_by=HEADER, hash_name=b"x-user", table_size=1009)
    }


def test_a_policy_that_says_nothing_sets_nothing(tmp_path: Path) -> None:
    assert destination(tmp_path, "loadBalancer: {simple: UNSPECIFIED}").policy == Policy()


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("simple: LEAST_REQUEST", Policy(balance=LEAST_REQUEST)),
        ("simple: LEAST_CONN", Policy(balance=LEAST_REQUEST)),
        (
            "consistentHash: {useSourceIp: true}",
            Policy(balance=RING, hash_by=SOURCE, hash_name=b"", table_size=1024),
        ),
        (
            "consistentHash: {httpQueryParameterName: User, ringHash: {minimumRingSize: 64}}",
            Policy(balance=RING, hash_by=QUERY, hash_name=b"User", table_size=64),
        ),
        (
            "consistentHash: {httpHeaderName: A, minimumRingSize: 64}",
            Policy(balance=RING, hash_by=HEADER, hash_name=b"a", table_size=64),
        ),
        (
            "consistentHash: {httpHeaderName: A, maglev: {}}",
            Policy(balance=MAGLEV, hash_by=HEADER, hash_name=b"a", table_size=65537),
        ),
        ("localityLbSetting: {enabled: false}", Policy(is_local=False)),
        ("warmupDurationSecs: 10s", Policy(slow_start_ms=10_000)),
    ],
)
def test_a_load_balancer_is_one_of_ours(tmp_path: Path, text: str, policy: Policy) -> None:
    each = destination(tmp_path, f"loadBalancer: {{{text}}}")
    assert each.faults == ()
    assert each.policy == policy


def test_an_empty_outlier_detection_is_istios_default(tmp_path: Path) -> None:
    assert destination(tmp_path, "outlierDetection: {}").policy.outlier == Outlier()


def test_a_retry_budget_is_a_percentage(tmp_path: Path) -> None:
    assert destination(tmp_path, "retryBudget: {percent: 30}").policy.budget_percent == 30


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tls: {mode: SIMPLE}", "tls: is not supported"),
        ("tunnel: {}", "tunnel: is not supported"),
        ("proxyProtocol: {}", "proxyProtocol: is not supported"),
        ("loadBalancer: {simple: PASSTHROUGH}", "loadBalancer.simple: 'PASSTHROUGH' is none of UN"),
        (
            "loadBalancer: {consistentHash: {httpCookie: {name: a}}}",
            "loadBalancer.consistentHash.httpCookie: is not supported",
        ),
        ("loadBalancer: {consistentHash: {}}", "loadBalancer.consistentHash: needs one of httpHe"),
        (
            "loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}",
            "loadBalancer.consistentHash: cannot stand beside simple",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 1000}}}",
            "loadBalancer.consistentHash.maglev.tableSize: 1000 is no prime number",
        ),
        (
            "loadBalancer: {localityLbSetting: {failover: []}}",
            "loadBalancer.localityLbSetting.failover: is not supported",
        ),
        (
            "loadBalancer: {warmup: {duration: 1s, aggression: 2.5}}",
            "loadBalancer.warmup.aggression: is not supported (but 1, the default)",
        ),
        ("connectionPool: {tcp: {tcpKeepalive: {}}}", "connectionPool.tcp.tcpKeepalive: is not su"),
        (
            "connectionPool: {tcp: {connectTimeout: 0s}}",
            "connectionPool.tcp.connectTimeout: must b",
        ),
        (
            "connectionPool: {tcp: {connectTimeout: 0.0001s}}",
            "connectionPool.tcp.connectTimeout: '0.0001s' is finer than a millisecond",
        ),
        (
            "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}",
            "connectionPool.http.h2UpgradePolicy: 'UPGRADE' is none of DEFAULT, DO_NOT_UPGRADE",
        ),
        (
            "connectionPool: {http: {useClientProtocol: true}}",
            "connectionPool.http.useClientProtocol: true is not supported",
        ),
        ("outlierDetection: {consecutiveErrors: 5}", "outlierDetection.consecutiveErrors: is not "),
        (
            "outlierDetection: {maxEjectionPercent: 101}",
            "outlierDetection.maxEjectionPercent: 101 is outside 0 to 100",
        ),
        ("retryBudget: {minRetryConcurrency: 3}", "retryBudget.minRetryConcurrency: is not suppor"),
        ("portLevelSettings: [{}]", "portLevelSettings[0]: has no port.number"),
        (
            "portLevelSettings: [{port: {number: 80}, retryBudget: {}}]",
            "portLevelSettings[0].retryBudget: is not supported",
        ),
        (
            "portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]",
            "portLevelSettings[1].port.number: 80 stands there twice",
        ),
    ],
)
def test_what_a_policy_says_and_the_proxy_cannot_do_is_a_fault(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (only,) = said(destination(tmp_path, text))
    assert only.startswith(f"spec.trafficPolicy.{sentence}")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("{}", ": has no host"),
        ("{host: '*.example'}", "spec.host: '*.example' has a *, which is not supported"),
        ("{host: a, subsets: []}", "spec.subsets: is not supported"),
        ("{host: a, workloadSelector: {}}", "spec.workloadSelector: is not supported"),
        ("{host: a, exportTo: [shop]}", "spec.exportTo[0]: 'shop' is none of *, ."),
    ],
)
def test_a_rule_for_some_of_the_mesh_is_a_fault(tmp_path: Path, spec: str, sentence: str) -> None:
    objects = loaded(tmp_path, thing("DestinationRule", f"spec: {spec}"))
    assert said(objects.destination_rules[0]) == [sentence]
