"""The way out. The last test of the suite: nothing is installed after it."""

import os

from deploy.kind.steps import NAMESPACE
from tests.kind import objects, reading
from tests.kind.clusters import INSTALL, Cluster, wait

OF_THE_CLUSTER = "mutatingwebhookconfigurations,clusterroles,clusterrolebindings"
OF_NAMESPACES = "all,serviceaccounts,roles,rolebindings,poddisruptionbudgets,networkpolicies"


def uninstall(cluster: Cluster) -> None:
    if os.environ.get(INSTALL) == "manifests":
        cluster.kubectl("delete", "-k", "deploy/manifests", "--ignore-not-found")
    else:
        cluster.run("helm", "uninstall", "remora", "--namespace", NAMESPACE, "--wait")
        cluster.kubectl("delete", "namespace", NAMESPACE)


def test_nothing_is_left_when_it_is_uninstalled(cluster: Cluster, meshed: str) -> None:
    cluster.apply(*objects.deployment(meshed, "web", objects.server()))
    assert reading.has_sidecar(cluster.pod(meshed, "web"))
    uninstall(cluster)
    chosen = ("-l", "app.kubernetes.io/name=remora", "-o", "name")
    assert cluster.kubectl("get", OF_THE_CLUSTER, *chosen) == ""
    wait("nothing of ours", lambda: cluster.kubectl("get", OF_NAMESPACES, "-A", *chosen) == "")
    names = cluster.kubectl("get", "namespaces", "-o", "name").split()
    assert f"namespace/{NAMESPACE}" not in names
    # The pods that run keep what they have, until they are started anew.
    cluster.kubectl("label", "namespace", meshed, "remora.dev/inject-")
    cluster.kubectl("rollout", "restart", "deployment/web", "-n", meshed)
    cluster.ready(meshed, "web")
    assert reading.residue(cluster.pod(meshed, "web")) == []
    assert (
        cluster.kubectl("get", "pods", "-A", "-l", "remora.dev/injected=true", "-o", "name") == ""
    )
