"""`remora check --pre`: what is in the way of an installation, and of pods with the sidecar."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from inject.cluster import trials
from inject.cluster.snapshot import (
    FAILURE,
    FORBIDDEN,
    NOT_APPLICABLE,
    OK,
    WARNING,
    Mode,
    Query,
    Refusal,
    Result,
    Snapshot,
    Wanted,
    count,
    instant,
    items_of,
    name_of,
    of_trial,
)
from inject.pods import Raw, items, labels, member
from inject.reasons import INIT, SYSTEM_NAMESPACES
from inject.settings import ENABLED, INJECT

LEAST: Final = (1, 29)
RECOMMENDED: Final = (1, 33)
CERT_MANAGER: Final = "cert-manager"
POD_MONITOR: Final = "pod-monitor"
# What may be asked for with --needs, and the definition that proves it.
DEFINITIONS: Final[Mapping[str, str]] = {
    CERT_MANAGER: "certificates.cert-manager.io",
    POD_MONITOR: "podmonitors.monitoring.coreos.com",
}
ENFORCE: Final = "pod-security.kubernetes.io/enforce"
PRIVILEGED: Final = "privileged"

_RELEASE: Final = re.compile(r"v?([0-9]+)\.([0-9]+)")
_SKEW_WARNING: Final = timedelta(seconds=5)
_SKEW_FAILURE: Final = timedelta(seconds=60)
# A kubelet renews its lease every 10 s; longer than this it is late, or its clock is.
_LEASE_MAX: Final = timedelta(seconds=60)

_MADE: Final = (
    ("", "namespaces"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
)
# What `kubectl apply` and `helm install` do with each.
RIGHTS: Final = tuple((verb, *thing) for thing in _MADE for verb in ("get", "create", "patch"))

_ALL_PODS: Final = frozenset({"pods", "*", "*/*", "pods/*"})
_UPDATE: Final = (
    "update the cluster to 1.33 or newer; before 1.29 use `remora.dev/sidecar: classic`"
)


def release(text: object) -> tuple[int, int] | None:
    """Read "v1.33.6-eks-1": major and minor."""
    match = _RELEASE.match(str(text))
    return (int(match[1]), int(match[2])) if match else None


def server_version(cluster: Snapshot) -> str:
    """Return the release of the API server, as it calls it."""
    answer = cluster.one("version") or {}
    return str(member(answer, "serverVersion").get("gitVersion", "?"))


def kubernetes_version(cluster: Snapshot) -> Result:
    """Native sidecars are on from 1.29, and stable from 1.33."""
    return _judged(server_version(cluster), "Kubernetes")


def node_versions(cluster: Snapshot) -> Result:
    """The kubelets start native sidecars, and they may be older than the API server."""
    versions = {
        name_of(node): str(info.get("kubeletVersion", "?"))
        for node in cluster.all("nodes")
        if (info := member(member(node, "status"), "nodeInfo")).get("operatingSystem") != "windows"
    }
    if not versions:
        return Result(NOT_APPLICABLE, "there are no nodes yet")
    oldest = min(versions.values(), key=lambda text: release(text) or (0, 0))
    judged = _judged(oldest, f"the oldest kubelet of {count(len(versions), 'node')}")
    things = tuple(f"{name}: {text}" for name, text in versions.items() if text == oldest)
    return judged if judged.state == OK else judged._replace(things=things)


def _judged(version: str, what: str) -> Result:
    found = release(version)
    if found is None:
        return Result(WARNING, f"{what} says {version!r}, which is no release", _UPDATE)
    if found < LEAST:
        return Result(FAILURE, f"{what} is {version}: native sidecars came with 1.29", _UPDATE)
    if found < RECOMMENDED:
        return Result(WARNING, f"{what} is {version}: native sidecars are beta there", _UPDATE)
    return Result(OK, f"{what} is {version}")


def native_sidecar(cluster: Snapshot) -> Result:
    """Webhooks of others, built with old types, lose `restartPolicy` of init containers."""
    pod = cluster.trial("trial of a native sidecar")
    if isinstance(pod, Refusal):
        hint = of_trial(pod, "say a namespace that takes pods with -n, or ask who refuses this one")
        return Result(WARNING, f"could not be tried: {pod.text}", hint)
    for container in items(pod, "initContainers"):
        if container.get("name") == trials.STAYS and container.get("restartPolicy") == "Always":
            return Result(OK, "an init container keeps restartPolicy Always")
    suspects = tuple(name_of(each) for each in _webhooks_of_pods(cluster))
    who = "one of these webhooks" if suspects else "the API server, or a webhook"
    return Result(
        FAILURE,
        f"restartPolicy of an init container got lost: {who} took it out",
        "update that webhook, or keep it from pods of remora; else `remora.dev/sidecar: classic`",
        suspects,
    )


def _webhooks_of_pods(cluster: Snapshot) -> list[Raw]:
    """Return who may have done it. Who may not read them is told that it was done, at least."""

    def changes_pods(configuration: Raw) -> bool:
        rules = (
            rule for hook in items_of(configuration, "webhooks") for rule in items_of(hook, "rules")
        )
        return any(not _ALL_PODS.isdisjoint(rule.get("resources") or ()) for rule in rules)

    return [
        each
        for each in cluster.answers["mutatingwebhookconfigurations"].objects
        if changes_pods(each)
    ]


def install_rights(cluster: Snapshot) -> Result:
    """Whoever installs makes objects within the namespace and above."""
    reviews = cluster.all("rights")
    missing = tuple(
        f"{asked.get('verb')} {asked.get('resource')}"
        for review in reviews
        if not member(review, "status").get("allowed")
        for asked in [member(member(review, "spec"), "resourceAttributes")]
    )
    if missing:
        text = f"{len(missing)} of {len(reviews)} rights that an installation needs are missing"
        hint = "install as somebody with the ClusterRole cluster-admin, or ask for what is listed"
        return Result(FAILURE, text, hint, missing)
    return Result(OK, f"all {len(reviews)} rights that an installation needs")


def sidecar_accepted(cluster: Snapshot) -> Result:
    """Policies other than the labels of namespaces show only when a pod is tried."""
    where, pod = cluster.wanted.trial_namespace, cluster.trial("trial of an injected pod")
    if not isinstance(pod, Refusal):
        return Result(OK, f"namespace {where} takes a pod with {INIT}")
    hint = (
        f"{INIT} needs root, NET_ADMIN and NET_RAW: let the policy allow it there, see"
        " docs/inject.md, Restricted namespaces"
    )
    if pod.reason != FORBIDDEN:
        hint = "try another namespace with -n, or ask who refuses this one"
    text = f"namespace {where} does not take a pod with {INIT}: {pod.text}"
    return Result(WARNING, text, of_trial(pod, hint))


def pod_security_levels(cluster: Snapshot) -> Result:
    """The levels baseline and restricted reject remora-init."""
    strict = {
        name: labels(each)
        for each in cluster.all("namespaces")
        if labels(each).get(ENFORCE, PRIVILEGED) != PRIVILEGED
        and (name := name_of(each)) not in SYSTEM_NAMESPACES
    }
    if not strict:
        return Result(OK, f"no namespace rejects {INIT} by its label")
    enabled = [name for name, words in strict.items() if words.get(INJECT) == ENABLED]
    things = tuple(f"{name}: {strict[name][ENFORCE]}" for name in enabled or strict)
    hint = f"kubectl label namespace NAME {ENFORCE}={PRIVILEGED} --overwrite"
    if enabled:
        text = f"{count(len(enabled), 'namespace')} with injection would reject every pod with it"
        return Result(FAILURE, text, hint, things)
    text = f"{count(len(strict), 'namespace')} without injection would reject {INIT}"
    return Result(WARNING, text, f"before pods get the sidecar there: {hint}", things)


def clock_skew(cluster: Snapshot) -> Result:
    """Certificates begin and end by clocks."""
    for key in ("trial of a native sidecar", "trial of an injected pod"):
        answer = cluster.answers[key]
        for thing in answer.objects:
            made = instant(member(thing, "metadata").get("creationTimestamp"))
            if made:
                # It is cut to whole seconds.
                ahead = made - answer.answered
                behind = answer.asked - timedelta(seconds=1) - made
                return _of_skew(max(ahead, behind, timedelta(0)))
    return Result(WARNING, "could not be seen: no pod was accepted on trial", "see native-sidecar")


def _of_skew(skew: timedelta) -> Result:
    text = f"this machine and the API server are {skew.total_seconds():.0f} s apart"
    if skew <= _SKEW_WARNING:
        return Result(OK, "this machine and the API server agree on the time")
    state = WARNING if skew <= _SKEW_FAILURE else FAILURE
    return Result(state, text, "let both take the time from NTP: certificates depend on it")


def node_clocks(cluster: Snapshot) -> Result:
    """A node whose clock is off refuses good certificates. Its lease has its time."""
    leases = cluster.all("leases")
    if not leases:
        return Result(NOT_APPLICABLE, "there are no nodes yet")
    ready = {name_of(node) for node in cluster.all("nodes") if _is_ready(node)}
    off = []
    for lease in leases:
        name = str(member(lease, "metadata").get("name"))
        age = cluster.age(member(lease, "spec").get("renewTime"))
        if name not in ready or age is None:
            continue
        if age < -_SKEW_WARNING:
            off.append(f"{name}: {-age.total_seconds():.0f} s ahead of this machine")
        elif age > _LEASE_MAX:
            off.append(f"{name}: {age.total_seconds():.0f} s behind, or it is late with its lease")
    if off:
        text = f"the clock of {count(len(off), 'node')} is off"
        return Result(WARNING, text, "let every node take the time from NTP", tuple(off))
    return Result(OK, f"the clocks of {count(len(leases), 'node')} agree with this machine's")


def _is_ready(node: Raw) -> bool:
    return any(
        each.get("type") == "Ready" and each.get("status") == "True"
        for each in member(node, "status").get("conditions") or []
    )


def cert_manager(cluster: Snapshot) -> Result:
    """cert-manager may make the webhook's certificate and the mesh's."""
    hint = "install cert-manager, or let the webhook make its own certificate (docs/check.md)"
    return _defined(cluster, CERT_MANAGER, "Certificate of cert-manager", hint)


def pod_monitor(cluster: Snapshot) -> Result:
    """The Prometheus operator finds pods by PodMonitors."""
    hint = "install the Prometheus operator, or scrape port 15020 of the pods some other way"
    return _defined(cluster, POD_MONITOR, "PodMonitor of the Prometheus operator", hint)


def _defined(cluster: Snapshot, need: str, kind: str, hint: str) -> Result:
    if cluster.one(DEFINITIONS[need]):
        return Result(OK, f"the kind {kind} is there")
    if need in cluster.wanted.needs:
        return Result(FAILURE, f"the kind {kind} is not there", hint)
    return Result(NOT_APPLICABLE, f"no {kind} here, and --needs does not ask for it")


def queries(wanted: Wanted) -> tuple[Query, ...]:
    """Return what these checks need."""
    webhooks = "mutatingwebhookconfigurations"
    return (
        Query("nodes", ("get", "nodes", "-o", "json")),
        Query("leases", ("get", "leases", "-n", "kube-node-lease", "-o", "json")),
        Query("namespaces", ("get", "namespaces", "-o", "json")),
        Query(webhooks, ("get", webhooks, "-o", "json")),
        trials.native(wanted),
        trials.injected(wanted),
        trials.rights(RIGHTS, wanted),
        *(
            Query(name, ("get", "crd", name, "--ignore-not-found", "-o", "json"))
            for name in DEFINITIONS.values()
        ),
    )


MODE: Final = Mode(
    queries,
    {
        "Kubernetes": {
            "kubernetes-version": kubernetes_version,
            "node-versions": node_versions,
            "native-sidecar": native_sidecar,
        },
        "Rights and rules": {
            "install-rights": install_rights,
            "sidecar-accepted": sidecar_accepted,
            "pod-security-levels": pod_security_levels,
        },
        "Clocks": {"clock-skew": clock_skew, "node-clocks": node_clocks},
        "Beside remora": {"cert-manager": cert_manager, "pod-monitor": pod_monitor},
    },
)
