"""Pods that are left alone, and what is said of them."""

from typing import Any

import pytest

from inject.plan import inject
from inject.reasons import REASONS
from inject.settings import DEFAULTS
from tests.unit.inject.manifests import planned, pod

APP = {"name": "app", "image": "app:1"}


def labelled(**labels: str) -> dict[str, Any]:
    given = pod()
    given["metadata"]["labels"] = {name.replace("__", "/"): text for name, text in labels.items()}
    return given


def annotated(name: str, text: str) -> dict[str, Any]:
    given = pod()
    given["metadata"]["annotations"][name] = text
    return given


def with_port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    ports = [{"containerPort": port, "protocol": protocol}]
    return pod(containers=[{**APP, "ports": ports}])


def both(name: str) -> list[dict[str, str]]:
    return [APP, {"name": name, "image": "x"}]


CASES = [
    ("disabled", pod({"inject": "disabled"})),
    ("mirror_pod", annotated("kubernetes.io/config.mirror", "0123")),
    ("already", pod({"status": "{}"})),
    ("host_network", pod(hostNetwork=True)),
    ("windows", pod(os={"name": "windows"})),
    ("windows", pod(nodeSelector={"kubernetes.io/os": "windows"})),
    ("other_mesh", pod(containers=both("istio-proxy"))),
    ("other_mesh", pod(initContainers=both("linkerd-proxy"))),
    ("other_mesh", pod(containers=both("kuma-sidecar"))),
    ("other_mesh", pod(containers=both("consul-dataplane"))),
    ("other_mesh", annotated("linkerd.io/inject", "enabled")),
    ("name_taken", pod(containers=both("remora-proxy"))),
    ("name_taken", pod(volumes=[{"name": "remora-run", "emptyDir": {}}])),
    ("proxy_uid", pod(securityContext={"runAsUser": 1337})),
    ("proxy_uid", pod(containers=[{**APP, "securityContext": {"runAsGroup": 1337}}])),
    ("port_taken", with_port(15020)),
    ("classic_job", pod({"sidecar": "classic"}, restartPolicy="Never")),
]


@pytest.mark.parametrize(("word", "given"), CASES)
def test_a_pod_is_left_alone(word: str, given: dict[str, Any]) -> None:
    outcome = planned(given)
    assert outcome.patch == ()
    assert outcome.faults == ()
    assert outcome.reason
    assert outcome.reason.word == word
    assert outcome.reason.text


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
def test_pods_of_the_cluster_itself_are_left_alone(namespace: str) -> None:
    outcome = inject(pod(), DEFAULTS, namespace)
    assert outcome.reason
    assert outcome.reason.word == "system_namespace"


def test_every_reason_is_tried() -> None:
    assert {word for word, _ in CASES} | {"system_namespace"} == REASONS.keys()


@pytest.mark.parametrize(
    "given",
    [
        pod({"inject": "enabled"}),
        pod(hostNetwork=False),
        pod(automountServiceAccountToken=False),
        pod(os={"name": "linux"}),
        pod(restartPolicy="Never"),
        annotated("linkerd.io/inject", "disabled"),
        with_port(15020, "UDP"),
        pod(securityContext={"runAsUser": 1000, "runAsGroup": 1000}),
    ],
)
def test_a_pod_that_comes_near_a_reason_is_injected(given: dict[str, Any]) -> None:
    assert planned(given).patch


def test_a_label_beats_an_annotation() -> None:
    given = pod({"inject": "disabled"})
    given["metadata"]["labels"] = {"remora.dev/inject": "enabled"}
    assert planned(given).patch


def test_a_label_says_no_as_well() -> None:
    outcome = planned(labelled(remora__x="y") | labelled(**{"remora.dev__inject": "disabled"}))
    assert outcome.reason
    assert outcome.reason.word == "disabled"


@pytest.mark.parametrize("word", ["yes", "true", True, "Enabled", None])
def test_another_word_than_enabled_and_disabled_is_a_fault(word: object) -> None:
    (fault,) = planned(pod({"inject": word})).faults
    assert fault.field == "metadata.annotations[remora.dev/inject]"
    assert fault.text.endswith("is none of enabled, disabled")


def test_settings_of_a_pod_that_is_left_alone_are_not_looked_at() -> None:
    outcome = planned(pod({"inject": "disabled", "proxy-log-level": "loud"}))
    assert outcome.reason
    assert outcome.faults == ()


def test_an_owner_hears_that_udp_is_not_redirected() -> None:
    (note,) = planned(with_port(53, "UDP")).notes
    assert "port 53" in note


def test_an_owner_hears_that_init_containers_are_outside_of_a_classic_mesh() -> None:
    outcome = planned(pod({"sidecar": "classic"}, initContainers=[{"name": "first"}]))
    assert "init containers" in outcome.notes[0]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"metadata": [], "spec": {}}, "metadata"),
        ({"spec": "text"}, "spec"),
        ({"metadata": {"labels": ["a"]}}, "metadata.labels"),
        ({"metadata": {"annotations": "a"}}, "metadata.annotations"),
        ({"spec": {"containers": {"name": "app"}}}, "spec.containers"),
        ({"spec": {"containers": ["app"]}}, "spec.containers[0]"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers[0]"),
        ({"spec": {"containers": []}}, "spec.containers"),
        ({"spec": {}}, "spec.containers"),
        ({}, "spec.containers"),
        ({"spec": {"containers": [APP], "volumes": "x"}}, "spec.volumes"),
        ({"spec": {"containers": [APP], "initContainers": [7]}}, "spec.initContainers[0]"),
    ],
)
def test_what_is_no_pod_is_a_fault_and_no_crash(given: dict[str, Any], field: str) -> None:
    outcome = planned(given)
    assert [fault.field for fault in outcome.faults] == [field]
    assert outcome.patch == ()
