"""Services and EndpointSlices, as kubectl prints them and as people get them wrong."""

from pathlib import Path

import pytest

from proxy.sources.annotations import Budget
from proxy.sources.endpoint_slice import SliceEndpoint, SlicePort
from proxy.sources.service import ServicePort
from proxy.traffic.rows import Limit
from tests.unit.manifests.making import said, sample, service, thing
from tests.unit.policy.objects import faults_of, loaded


def test_what_kubectl_prints_of_services_and_slices_is_read_without_a_fault() -> None:
    objects = sample("services.yaml")
    assert [(each.meta.name, each.kind, each.faults) for each in objects.services] == [
        ("web", "ClusterIP", ()),
        ("db", "Headless", ()),
        ("payments", "ExternalName", ()),
        ("edge", "LoadBalancer", ()),
    ]
    assert objects.counts()["EndpointSlice"] == 2
    assert objects.skipped == {"ConfigMap": 1}


def test_a_service_tells_its_addresses_in_one_spelling_and_its_ports() -> None:
    web = sample("services.yaml").services[0]
    assert web.cluster_ips == ("10.96.114.20", "fd00:10:96::a1f")
    assert web.ports == (
        ServicePort("http", 80, "TCP", "http", "http"),
        ServicePort("metrics", 9090, "TCP", "", "9090"),
    )
    assert web.selector == {"app": "web"}
    assert (web.topology, web.is_sticky, web.publishes_not_ready) == ("zone", False, False)
    assert web.annotations.limit == Limit(100_000, 200)
    assert web.annotations.budget == Budget(20, 10)


def test_what_kubectl_applied_last_is_not_kept() -> None:
    web = sample("services.yaml").services[0]
    assert "kubectl.kubernetes.io/last-applied-configuration" not in web.meta.annotations


def test_headless_external_and_sticky_services_are_told_apart() -> None:
    _, db, payments, edge = sample("services.yaml").services
    assert (db.cluster_ips, db.publishes_not_ready) == ((), True)
    assert (payments.external_name, payments.ports) == ("api.payments.example", ())
    assert (edge.is_sticky, edge.topology) == (True, "zone")
    assert [(port.port, port.protocol) for port in edge.ports] == [(443, "TCP"), (443, "UDP")]


def test_a_service_that_no_cluster_has_seen_needs_only_ports(tmp_path: Path) -> None:
    each = service(tmp_path, "ports: [{port: 80}]")
    assert each.faults == ()
    assert (each.kind, each.cluster_ips) == ("ClusterIP", ())
    assert each.ports == (ServicePort("", 80, "TCP", "", "80"),)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("clusterIp: 10.0.0.1", "spec.clusterIp: is not supported"),
        ("type: Internal", "spec.type: 'Internal' is none of ClusterIP, ExternalName, NodePort, "),
        ("clusterIPs: [10.0.0.300]", "spec.clusterIPs[0]: '10.0.0.300' is no IP address"),
        ("clusterIP: 10.0.0.01", "spec.clusterIP: '10.0.0.01' is no IP address"),
        ("internalTrafficPolicy: Local", "spec.internalTrafficPolicy: 'Local' is not supported"),
        ("trafficDistribution: PreferSameNode", "spec.trafficDistribution: 'PreferSameNode' is no"),
        ("sessionAffinity: Cookie", "spec.sessionAffinity: 'Cookie' is none of None, ClientIP"),
        ("type: ExternalName", ": is an ExternalName without an externalName"),
        ("ports: [{port: 80}, {port: 80}]", "spec.ports: has the port 80/TCP twice"),
        ("ports: [{port: 0}]", "spec.ports[0].port: 0 is outside 1 to 65535"),
        ("ports: [{port: '80'}]", "spec.ports[0].port: must be a whole number"),
        ("ports: [{name: a}]", "spec.ports[0]: has no port"),
        ("ports: [{port: 80, weight: 1}]", "spec.ports[0].weight: is not supported"),
        ("ports: [{port: 80, protocol: QUIC}]", "spec.ports[0].protocol: 'QUIC' is none of TCP, "),
        ("publishNotReadyAddresses: 1", "spec.publishNotReadyAddresses: must be true or false"),
        ("selector: {app: 1}", "spec.selector.app: must be a string: put 1 in quotes"),
    ],
)
def test_what_a_service_says_and_the_proxy_cannot_do_is_a_fault(
    tmp_path: Path, spec: str, sentence: str
) -> None:
    (only,) = said(service(tmp_path, spec))
    assert only.startswith(sentence)


def test_two_ports_of_one_name_are_a_fault(tmp_path: Path) -> None:
    each = service(tmp_path, "ports: [{port: 80, name: a}, {port: 81, name: a}]")
    assert said(each) == ["spec.ports: has the name 'a' twice"]


def test_every_fault_of_a_service_is_told_at_once(tmp_path: Path) -> None:
    each = service(tmp_path, "type: X, foo: 1, ports: [{port: 0}, {port: 1, x: 1}, {port: 2}]")
    assert [fault.field for fault in each.faults] == [
        "spec.foo",
        "spec.type",
        "spec.ports[0].port",
        "spec.ports[1].x",
    ]
    assert [port.port for port in each.ports] == [2]


def test_an_odd_word_about_topology_is_a_fault(tmp_path: Path) -> None:
    each = service(tmp_path, annotations="service.kubernetes.io/topology-mode: Sometimes")
    (only,) = said(each)
    assert only.endswith("/topology-mode: 'Sometimes' is neither Auto nor Disabled")


# ---- EndpointSlices -----------------------------------------------------------------------------


def test_a_slice_tells_its_service_its_ports_and_who_is_in_which_state() -> None:
    web, db = sample("services.yaml").endpoint_slices
    assert (web.service, web.family) == ("web", "IPv4")
    assert web.ports == (
        SlicePort("http", 8080, "TCP", "http"),
        SlicePort("metrics", 9090, "TCP", ""),
    )
    pods = ("web-7d9f8b6c5-2xk4p", "web-7d9f8b6c5-9qwzt")
    assert web.endpoints == (
        SliceEndpoint(
            *(("10.1.0.14",), True, True, False, "eu-1a", "node-1", pods[0], ("eu-1a",)),
        ),
        SliceEndpoint(*(("10.1.1.9",), False, True, True, "eu-1b", "node-2", pods[1], ())),
    )
    assert (db.service, db.ports, db.endpoints) == ("db", (), ())


@pytest.mark.parametrize(
    ("conditions", "states"),
    [
        ("{}", (True, True, False)),
        ("{ready: false}", (False, False, False)),
        ("{ready: false, serving: true, terminating: true}", (False, True, True)),
        ("{ready: null}", (True, True, False)),
    ],
)
def test_conditions_that_are_not_told_are_what_the_api_says(
    tmp_path: Path, conditions: str, states: tuple[bool, bool, bool]
) -> None:
    body = f"addressType: IPv4\nendpoints: [{{addresses: [10.0.0.1], conditions: {conditions}}}]"
    ((each,),) = (
        s.endpoints for s in loaded(tmp_path, thing("EndpointSlice", body)).endpoint_slices
    )
    assert (each.is_ready, each.is_serving, each.is_terminating) == states


def test_a_slice_of_names_has_no_endpoints(tmp_path: Path) -> None:
    body = "addressType: FQDN\nendpoints: [{addresses: [a.example]}]"
    (each,) = loaded(tmp_path, thing("EndpointSlice", body)).endpoint_slices
    assert (each.family, each.endpoints) == ("FQDN", ())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("addressType: IPv4\nweights: []", "weights: is not supported"),
        ("endpoints: []", "has no addressType"),
        (
            "addressType: IPv4\nendpoints: [{addresses: [a.example]}]",
            "endpoints[0].addresses[0]: 'a.example' is no IP address",
        ),
        ("addressType: IPv4\nports: [{port: 70000}]", "ports[0].port: 70000 is outside 1 to 65535"),
    ],
)
def test_a_bad_slice_is_a_fault(tmp_path: Path, body: str, sentence: str) -> None:
    (fault,) = faults_of(tmp_path, thing("EndpointSlice", body))
    assert str(fault).endswith(f"EndpointSlice shop/web: {sentence}")
