"""The chart, the plain manifests and what the kind suite puts in, before a real API server.

It admits, defaults and stores; no pod is started.
"""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from deploy import rendering
from proxy.sources.directory import ManifestDirectory
from tests.kind import objects, reading
from tests.kind.clusters import Cluster
from tests.unit.deploy import charts, standards
from tests.unit.inject.manifests import injected

Object = dict[str, Any]
Done = subprocess.CompletedProcess[str]


class Server(Protocol):
    """The API server of tests/kube/conftest.py."""

    kubeconfig: Path

    def kubectl(self, *words: str, given: str = "") -> Done: ...
    def said(self, *words: str, given: str = "") -> str: ...
    def get(self, *words: str) -> Object: ...
    def run(self, words: Sequence[str], given: str = "") -> Done: ...
    def namespace(self, *, labels: Mapping[str, str] | None = None) -> str: ...


# Of others' definitions, which this server does not have.
DEFINED_ELSEWHERE = ("cert-manager.io/v1", "monitoring.coreos.com/v1")
MANIFESTS = str(rendering.PLAIN.parent)
CONFIGURATION = ("mutatingwebhookconfiguration", "remora-webhook")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
OF_THE_CLUSTER = "mutatingwebhookconfigurations,clusterroles,clusterrolebindings"
OF_THE_NAMESPACE = "all,roles,rolebindings,poddisruptionbudgets,networkpolicies,secrets"


def as_pod(template: Object, namespace: str, name: str = "p") -> Object:
    """Return a pod of a template."""
    meta = {**template["metadata"], "name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def sign(server: Server) -> None:
    """Do what the webhook does: tell the API server who signed."""
    cluster = yaml.safe_load(server.kubeconfig.read_text())["clusters"][0]["cluster"]
    value = base64.b64encode(Path(cluster["certificate-authority"]).read_bytes()).decode()
    patch = [
        {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value}
        for index in (0, 1)
    ]
    server.said("patch", *CONFIGURATION, "--type=json", "-p", json.dumps(patch))


def bundles(server: Server) -> list[str]:
    """Return the bundle of each entry of the webhook, "" for none."""
    found = server.get(*CONFIGURATION)["webhooks"]
    return [entry["clientConfig"].get("caBundle", "") for entry in found]


def test_plain_manifests_are_taken_and_a_second_time_leaves_the_bundle(server: Server) -> None:
    server.said("apply", "-k", MANIFESTS)
    try:
        sign(server)
        before = bundles(server)
        assert all(before)
        server.said("apply", "-k", MANIFESTS)
        assert bundles(server) == before
    finally:
        server.said("delete", "-k", MANIFESTS, "--wait=false")


@charts.each_set
def test_every_object_is_taken_as_it_is_written(name: str, server: Server) -> None:
    """Strictly: an unknown field, or one that is there twice, would be refused."""
    known = [each for each in charts.objects(name) if each["apiVersion"] not in DEFINED_ELSEWHERE]
    space = server.namespace(labels=RESTRICTED)
    for each in known:
        if "namespace" in each["metadata"]:
            each["metadata"]["namespace"] = space
    words = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    done = server.kubectl(*words, given=yaml.safe_dump_all(known))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@charts.each_set
def test_the_webhook_is_let_into_a_restricted_namespace(name: str, server: Server) -> None:
    space = server.namespace(labels=RESTRICTED)
    pod = as_pod(charts.template(name), space)
    pod["spec"]["serviceAccountName"] = "default"
    pod["spec"].pop("priorityClassName", None)
    server.said("create", "-f", "-", given=json.dumps(pod))


def test_a_restricted_namespace_refuses_the_init_step_as_the_table_says(server: Server) -> None:
    space = server.namespace(labels=RESTRICTED)
    given = objects.pod_template("default", objects.server(), {})
    server.said("create", "-f", "-", given=json.dumps(as_pod(given, space)))
    made = injected(given)
    done = server.kubectl("create", "-f", "-", given=json.dumps(as_pod(made, space, "q")))
    assert done.returncode != 0
    fields = {fault.partition(".")[0] for fault in standards.faults(made)}
    assert fields == {"remora-init"}
    assert "remora-init" in done.stderr
    assert "remora-proxy" not in done.stderr
    assert "NET_ADMIN" in done.stderr


@pytest.fixture
def account(server: Server) -> Iterator[str]:
    """The namespace of a service account that has what the chart gives the webhook's."""
    roles = [each for each in charts.objects("default") if "Role" in each["kind"]]
    space = server.namespace()
    for each in roles:
        for named in (each["metadata"], *each.get("subjects", [])):
            if "namespace" in named:
                named["namespace"] = space
    given = yaml.safe_dump_all(roles)
    server.said("apply", "-f", "-", given=given)
    yield space
    server.said("delete", "-f", "-", given=given)


def _user(namespace: str) -> str:
    return f"system:serviceaccount:{namespace}:remora-webhook"


@pytest.mark.parametrize(
    ("verb", "what", "may"),
    [
        ("get", "secrets/remora-webhook-tls", "yes"),
        ("update", "secrets/remora-webhook-tls", "yes"),
        ("create", "secrets", "yes"),
        ("get", "secrets/another", "no"),
        ("list", "secrets", "no"),
        ("get", "mutatingwebhookconfigurations/remora-webhook", "yes"),
        ("patch", "mutatingwebhookconfigurations/remora-webhook", "yes"),
        ("patch", "mutatingwebhookconfigurations/another", "no"),
        ("get", "pods", "no"),
    ],
)
def test_the_webhook_may_do_this_and_not_that(
    verb: str, what: str, may: str, account: str, server: Server
) -> None:
    done = server.kubectl("auth", "can-i", verb, what, "-n", account, "--as", _user(account))
    assert done.stdout.strip() == may


def test_helm_installs_upgrades_keeps_the_bundle_and_leaves_nothing(
    server: Server, tmp_path: Path
) -> None:
    helm, space = charts.helm(), server.namespace(labels=RESTRICTED)
    chart = tmp_path / "chart"
    shutil.copytree(rendering.CHART, chart)
    # A server that was built from a module does not know its own version.
    about = (chart / "Chart.yaml").read_text().splitlines(keepends=True)
    (chart / "Chart.yaml").write_text(
        "".join(line for line in about if not line.startswith("kubeVersion"))
    )

    def run(*words: str) -> None:
        done = server.run([helm, *words, "--namespace", space])
        assert done.returncode == 0, done.stderr

    run("install", "remora", str(chart))
    sign(server)
    before = bundles(server)
    ha = ("--values", str(rendering.SETS["ha"]), "--reset-then-reuse-values")
    run("upgrade", "remora", str(chart), *ha)
    assert bundles(server) == before
    assert server.get("deployment", "remora-webhook", "-n", space)["spec"]["replicas"] == 3
    run("rollback", "remora", "1")
    assert bundles(server) == before
    run("uninstall", "remora")
    chosen = ("-l", "app.kubernetes.io/name=remora", "-o", "name")
    assert server.said("get", OF_THE_CLUSTER, *chosen) == ""
    assert server.said("get", OF_THE_NAMESPACE, "-n", space, "-o", "name") == ""


def test_what_the_kind_suite_puts_in_is_taken_and_a_proxy_reads_what_comes_back(
    server: Server, tmp_path: Path
) -> None:
    cluster = Cluster(str(server.kubeconfig))
    space = server.namespace()
    cluster.apply(objects.service(space, "web"))
    cluster.apply(*objects.deployment(space, "web", objects.server(), replicas=3))
    cluster.apply(*objects.job(space, "once", objects.client("http://web/", count=5)))
    pod = as_pod(injected(objects.pod_template("web", objects.server(), {})), space)
    cluster.apply(pod)
    now = cluster.kubectl("get", "services,endpointslices,pods", "-n", space, "-o", "json")
    cluster.apply(objects.config_map(space, "mesh", {"cluster.json": now}))
    (tmp_path / "cluster.json").write_text(now)
    read = ManifestDirectory(tmp_path).load().counts()
    assert (read["Service"], read["Pod"]) == (1, 1)
    (found,) = cluster.pods(space, "web")
    assert reading.has_sidecar(found)
    cluster.debug(space, found, objects.sniffer(5))
    (changed,) = cluster.pods(space, "web")
    assert [each["name"] for each in changed["spec"]["ephemeralContainers"]] == ["sniff"]
