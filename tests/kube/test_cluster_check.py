"""`remora check --pre`, `--cluster` and `--data-plane` against a real API server."""

import base64
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from inject import plan
from inject.cluster import before, installed
from inject.patch import Operation
from inject.settings import DEFAULTS
from tests.support.hooks import Hook, Json
from tests.support.kube import ApiServer
from tests.support.waiting import PATIENCE_S, eventually

SYSTEM = "remora-system"
NAME = "remora-webhook"
LABEL = "remora.dev/inject"
EXCLUDED = {
    "key": "kubernetes.io/metadata.name",
    "operator": "NotIn",
    "values": ["kube-system", "kube-public", "kube-node-lease", SYSTEM],
}
ENTRIES = (
    {
        "name": "namespaces.remora.dev",
        "namespaceSelector": {"matchExpressions": [EXCLUDED], "matchLabels": {LABEL: "enabled"}},
    },
    {
        "name": "pods.remora.dev",
        "namespaceSelector": {
            "matchExpressions": [EXCLUDED, {"key": LABEL, "operator": "DoesNotExist"}]
        },
        "objectSelector": {"matchLabels": {LABEL: "enabled"}},
    },
)


class Checks:
    """What the command found, by the names of the checks."""

    def __init__(self, server: ApiServer, *words: str) -> None:
        command = [sys.executable, "-m", "proxy", "check", *words, "-o", "json"]
        done = server.run(command)
        assert done.stdout, done.stderr
        self.code = done.returncode
        self.page = json.loads(done.stdout)
        self._found = {each["check"]: each for each in self.page["checks"]}

    def __getitem__(self, name: str) -> Json:
        found: Json = self._found[name]
        return found

    def states(self) -> dict[str, str]:
        return {name: each["state"] for name, each in self._found.items()}


def found_when(look: Callable[[Checks], bool], server: ApiServer, *words: str) -> Checks:
    """Return what is found as soon as it is what the test waits for.

    The server takes a moment to hear of a new webhook.
    """
    found: list[Checks] = []

    def is_so() -> bool:
        found.append(Checks(server, *words))
        return look(found[-1])

    eventually("the server to ask the webhook", is_so, seconds=PATIENCE_S * 3)
    return found[-1]


def inject(pod: Json, namespace: str) -> tuple[Operation, ...]:
    return plan.inject(pod, DEFAULTS, namespace).patch


def strip(pod: Json, _namespace: str) -> list[Operation]:
    """Do what a webhook with types from before native sidecars does."""
    return [
        Operation("remove", f"/spec/initContainers/{index}/restartPolicy")
        for index, each in enumerate(pod["spec"].get("initContainers") or [])
        if "restartPolicy" in each
    ]


def test_a_fresh_cluster_is_fit_for_an_installation(server: ApiServer) -> None:
    server.namespace(name="default")
    found = Checks(server, "--pre")
    assert found.code == 0, found.page
    assert found.page["kubernetes"].startswith("v1.")
    states = found.states()
    # Namespaces of other tests count, too.
    assert states.pop("pod-security-levels") in ("ok", "warning")
    assert states == {
        "kubernetes-version": "ok",
        "node-versions": "not applicable",  # a server without nodes
        "native-sidecar": "ok",
        "install-rights": "ok",
        "sidecar-accepted": "ok",
        "clock-skew": "ok",
        "node-clocks": "not applicable",
        "cert-manager": "not applicable",
        "pod-monitor": "not applicable",
    }
    assert found["install-rights"]["text"].startswith(f"all {len(before.RIGHTS)} rights")


def test_a_webhook_that_strips_restart_policy_is_caught_and_named(
    server: ApiServer, hook: Hook
) -> None:
    server.namespace(name="default")
    hook("old-agent", strip, {"name": "old.example.com"})
    found = found_when(is_stripped, server, "--pre")
    assert (found.code, found["native-sidecar"]["things"]) == (1, ["old-agent"])


def is_stripped(found: Checks) -> bool:
    return bool(found["native-sidecar"]["state"] == "failure")


def test_who_may_do_nothing_is_told_every_right_that_is_missing(server: ApiServer) -> None:
    found = Checks(server, "--pre", "--context", "dev")
    assert found.code == 1
    assert len(found["install-rights"]["things"]) == len(before.RIGHTS)
    assert "create clusterroles" in found["install-rights"]["things"]
    assert found["node-versions"]["state"] == "warning"
    assert 'nodes is forbidden: User "dev" cannot list' in found["node-versions"]["text"]


def test_a_namespace_that_would_reject_the_sidecar_is_named(server: ApiServer) -> None:
    words = {"pod-security.kubernetes.io/enforce": "baseline", LABEL: "enabled"}
    name = server.namespace(labels=words)
    found = Checks(server, "--pre", "-n", name)
    assert f"{name}: baseline" in found["pod-security-levels"]["things"]
    assert found["native-sidecar"]["state"] == "ok"
    assert found["sidecar-accepted"]["state"] == "warning"
    assert 'violates PodSecurity "baseline:latest"' in found["sidecar-accepted"]["text"]


def test_a_kind_that_is_needed_must_be_defined(server: ApiServer) -> None:
    server.namespace(name="default")
    assert Checks(server, "--pre", "--needs", "pod-monitor")["pod-monitor"]["state"] == "failure"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    server.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": before.DEFINITIONS["pod-monitor"]},
            "spec": {
                "group": "monitoring.coreos.com",
                "names": {"kind": "PodMonitor", "plural": "podmonitors"},
                "scope": "Namespaced",
                "versions": [version],
            },
        }
    )
    assert Checks(server, "--pre", "--needs", "pod-monitor")["pod-monitor"]["state"] == "ok"


# ---- the installation ----------------------------------------------------------------------------


def test_without_an_installation_it_says_what_is_not_there(server: ApiServer) -> None:
    found = Checks(server, "--cluster", "--system-namespace", "nowhere")
    states = found.states()
    missing = {"namespace", "webhook-deployment", "webhook-endpoints", "webhook-certificate"}
    assert found.code == 1
    assert {name for name in missing if states[name] == "failure"} == missing


@pytest.fixture
def system(server: ApiServer) -> str:
    """Everything of an installation but the webhook, as its controllers would have left it."""
    name = server.namespace()
    labels = {"app.kubernetes.io/name": "remora"}
    place = {"name": NAME, "namespace": name, "labels": labels}
    container = {"name": "webhook", "image": "remora:0.1.0"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    counts = {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2}
    of_service = {"kubernetes.io/service-name": NAME}
    endpoint = {"addresses": ["10.0.0.7"], "conditions": {"ready": True}}
    server.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place, "spec": spec}
        | {"status": counts},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": place,
            "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": place | {"labels": of_service},
            "addressType": "IPv4",
            "endpoints": [endpoint],
            "ports": [{"port": 8443}],
        },
    )
    return name


def with_tls(server: ApiServer, system: str, chain: bytes, key: bytes) -> None:
    data = {"tls.crt": chain, "tls.key": key}
    server.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": "remora-webhook-tls", "namespace": system},
            "data": {name: base64.b64encode(each).decode() for name, each in data.items()},
        }
    )


def excluding(system: str) -> list[Json]:
    """Return the entries for an installation in that namespace."""
    made: list[Json] = json.loads(json.dumps(ENTRIES).replace(SYSTEM, system))
    return made


def test_an_installation_that_works_is_good_and_its_webhook_really_injects(
    server: ApiServer, system: str, namespace: str, hook: Hook
) -> None:
    admission = hook(NAME, inject, *excluding(system), dns=f"{NAME}.{system}.svc")
    with_tls(server, system, admission.svid.chain_pem(), admission.svid.key_pem())
    words = ("--cluster", "--system-namespace", system, "-n", namespace)
    found = found_when(lambda found: found.code == 0, server, *words)
    assert set(found.states().values()) == {"ok"}, found.page
    assert found["injection"]["text"] == f"a pod in {namespace} with the label gets the sidecar"


def test_a_webhook_that_is_down_is_told_with_the_servers_words(
    server: ApiServer, system: str, namespace: str, hook: Hook
) -> None:
    admission = hook(NAME, inject, *excluding(system), dns=f"{NAME}.{system}.svc")
    admission.stop()
    words = ("--cluster", "--system-namespace", system, "-n", namespace)
    found = found_when(is_refused, server, *words)
    assert found.code == 1
    assert 'failed calling webhook "pods.remora.dev"' in found["injection"]["text"]


def is_refused(found: Checks) -> bool:
    return "failed calling" in found["injection"]["text"]


def test_a_ca_bundle_of_somebody_else_is_found(
    server: ApiServer, system: str, namespace: str, hook: Hook
) -> None:
    hook(NAME, inject, *excluding(system))
    other = hook("other", strip, {"name": "other.example.com"}, dns=f"{NAME}.{system}.svc")
    with_tls(server, system, other.svid.chain_pem(), other.svid.key_pem())
    found = Checks(server, "--cluster", "--system-namespace", system, "-n", namespace)
    assert found["webhook-ca"]["state"] == "failure"
    assert found["webhook-ca"]["things"] == [f"{e}: did not issue it" for e in installed.ENTRIES]


# ---- the pods ------------------------------------------------------------------------------------


def pod(namespace: str, name: str, **changed: Any) -> Json:  # noqa: ANN401 - any JSON
    made: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: "enabled"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }
    made["spec"] |= changed.pop("spec", {})
    return made | changed


def injected(server: ApiServer, given: Json) -> Json:
    done = server.run([sys.executable, "-m", "proxy", "inject", "-"], json.dumps(given))
    assert done.returncode == 0, done.stderr
    made: Json = json.loads(done.stdout)
    return made


def test_live_pods_are_looked_at_as_the_server_has_them(server: ApiServer, namespace: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    killed = {"reason": "OOMKilled", "exitCode": 137, "startedAt": now, "finishedAt": now}
    statuses = [
        {"name": "remora-proxy", "image": "x", "imageID": "", "restartCount": 3, "started": True}
        | {"ready": False, "state": {"running": {"startedAt": now}}}
        | {"lastState": {"terminated": killed}},
    ]
    status = {"phase": "Running", "initContainerStatuses": statuses}
    server.apply(
        injected(server, pod(namespace, "meshed")) | {"status": status},
        pod(namespace, "bare"),
        pod(namespace, "of-the-node", spec={"hostNetwork": True}),
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "web.1", "namespace": namespace},
            "involvedObject": {"kind": "ReplicaSet", "namespace": namespace, "name": "web-5f7"},
            "reason": "FailedCreate",
            "message": 'violates PodSecurity "baseline:latest": (container "remora-init" must not',
        },
    )
    found = Checks(server, "--data-plane", "-n", namespace)
    assert found.code == 1
    assert found["sidecar-missing"]["things"] == [f"{namespace}/bare"]
    assert found["left-alone"]["things"][0].startswith(f"{namespace}/of-the-node: host_network")
    assert found["restart-policy"]["state"] == "ok"
    assert found["proxy-start"]["state"] == "ok"
    assert found["proxy-ready"]["things"] == [f"{namespace}/meshed"]
    assert "3 restarts, last: OOMKilled, code 137" in found["proxy-restarts"]["things"][0]
    assert found["proxy-version"]["state"] == "ok"
    assert found["security-rejections"]["things"][0].startswith(f"ReplicaSet {namespace}/web-5f7")


def test_a_namespace_without_pods_is_well(server: ApiServer, namespace: str) -> None:
    found = Checks(server, "--data-plane", "-n", namespace)
    assert (found.code, set(found.states().values())) == (0, {"ok", "not applicable"})


def test_a_cluster_that_is_away_is_told_with_its_own_exit_code(server: ApiServer) -> None:
    words = [sys.executable, "-m", "proxy", "check", "--data-plane", "--context", "nowhere"]
    done = server.run(words)
    assert (done.returncode, 'context "nowhere" does not exist' in done.stderr) == (69, True)
