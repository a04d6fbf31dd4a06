"""What the model makes, the data plane takes."""

from pathlib import Path

import pytest

from proxy.config import read_config
from proxy.engine import Engine
from proxy.policy.effective import Who
from proxy.snapshot import draft
from proxy.traffic.model import traffic
from proxy.traffic.numbers import Numbers
from proxy.traffic.rows import Traffic
from tests.support.route_cases import TABLE, Group, rows_of
from tests.support.traffic import (
    Object,
    destination_rule,
    endpoint,
    endpoints,
    load,
    route,
    rule,
    service,
    to,
)


def publish(rows: Traffic, *flags: str) -> None:
    engine = Engine(1, 10)
    try:
        assert engine.publish(draft(read_config(flags, {}), [], traffic=rows)) == 1
    finally:
        engine.stop()


@pytest.mark.parametrize("group", TABLE, ids=lambda group: group.title)
def test_the_routes_of_the_table_make_a_snapshot(group: Group, tmp_path: Path) -> None:
    publish(rows_of(tmp_path, group.routes))


REDIRECT: Object = {
    "type": "RequestRedirect",
    "requestRedirect": {"scheme": "https", "port": 8443, "statusCode": 308},
}
EVERYTHING: list[Object] = [
    {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-a"]}},
    {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"add": [{"name": "x-b", "value": "é"}]},
    },
    {
        "type": "URLRewrite",
        "urlRewrite": {
            "hostname": "b.example",
            "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"},
        },
    },
    {"type": "RequestMirror", "requestMirror": {"backendRef": to("v2")}},
]
ANNOTATIONS = {
    "rate-limit": "100/s burst=200",
    "peer-rate-limit": "30/m",
    "concurrency-limit": "64",
    "fault-delay": "10% 200ms",
    "fault-abort": "5% 503",
    "retry-codes": "502,503",
    "retry-budget": "20% min=10",
    "slow-start": "30s",
    "outlier-success-rate": "80%",
    "timeout": "0s",
}


@pytest.mark.parametrize(
    "balance",
    [
        {"simple": "ROUND_ROBIN"},
        {"consistentHash": {"httpHeaderName": "x-user", "ringHash": {"minimumRingSize": 100}}},
        {"consistentHash": {"httpQueryParameterName": "Ä", "maglev": {"tableSize": 101}}},
        {"consistentHash": {"useSourceIp": True}, "localityLbSetting": {"enabled": True}},
    ],
    ids=str,
)
def test_everything_that_can_be_said_makes_a_snapshot(balance: Object, tmp_path: Path) -> None:
    policy = {
        "loadBalancer": balance,
        "connectionPool": {"tcp": {"idleTimeout": "0s", "maxConnections": 4294967295}},
        "outlierDetection": {"baseEjectionTime": "1h"},
    }
    headless, no_address = service("db", "None"), service("later", "")
    objects = load(
        tmp_path,
        service("web", "fd00::1", clusterIPs=["fd00::1", "10.96.0.1"], annotations=ANNOTATIONS),
        service("v2", "10.96.0.2", sessionAffinity="ClientIP"),
        headless,
        no_address,
        endpoints("web", endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2", zone="b")),
        endpoints("v2", endpoint("10.0.0.1")),
        endpoints("db", endpoint("fd00::7"), family="IPv6"),
        destination_rule("d", "web", policy),
        route("r", rule(to("web"), to("gone"), path="/a", filters=EVERYTHING), rule()),
        route("s", rule(filters=[REDIRECT]), annotations={"rate-limit": "1/s", "timeout": "0s"}),
    )
    rows, _ = traffic(objects, Who("shop", zone="a"), Numbers())
    publish(rows)
    # The same addresses by flags: they win, and nothing is given twice.
    publish(rows, "--service", "old=10.96.0.2:80,10.0.0.1:8080")
