"""`remora check --pre`: one behaviour of one check each."""

import pytest

from inject.cluster import before
from inject.cluster.snapshot import (
    FAILURE,
    NOT_APPLICABLE,
    OK,
    WARNING,
    Refusal,
    RefusedError,
    Wanted,
)
from tests.unit.inject.clusters import Json, ago, forbidden, seen, thing, version

NATIVE = "trial of a native sidecar"
INJECTED = "trial of an injected pod"
WEBHOOKS = "mutatingwebhookconfigurations"


def node(name: str, kubelet: str, *, system: str = "linux", is_ready: bool = True) -> Json:
    info = {"kubeletVersion": kubelet, "operatingSystem": system}
    conditions = [{"type": "Ready", "status": str(is_ready)}]
    return thing(name, status={"nodeInfo": info, "conditions": conditions})


def lease(name: str, **time: float) -> Json:
    return thing(name, "kube-node-lease", spec={"renewTime": ago(**time)})


def tried(*, policy: str = "Always", made_s_ago: float = 0) -> Json:
    stays = {"name": "stays", "image": "x", **({"restartPolicy": policy} if policy else {})}
    pod = thing("remora-check", spec={"initContainers": [stays], "containers": [{"name": "app"}]})
    pod["metadata"]["creationTimestamp"] = ago(seconds=made_s_ago)
    return pod


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("v1.28.15", FAILURE),
        ("v1.29.0", WARNING),
        ("v1.32.9-gke.100", WARNING),
        ("v1.33.0", OK),
        ("v1.33+", OK),
        ("v2.0.0", OK),
        ("unknown", WARNING),
    ],
)
def test_native_sidecars_are_on_from_1_29_and_stable_from_1_33(text: str, state: str) -> None:
    found = seen(before.kubernetes_version, {"version": version(text)})
    assert (found.state, text in found.text) == (state, True)


def test_the_oldest_kubelet_counts() -> None:
    nodes = [node("new", "v1.34.1"), node("old", "v1.28.3"), node("other", "v1.33.0")]
    found = seen(before.node_versions, {"nodes": nodes})
    assert (found.state, found.things) == (FAILURE, ("old: v1.28.3",))


def test_nodes_of_windows_run_no_sidecar_and_do_not_count() -> None:
    nodes = [node("linux", "v1.33.1"), node("w", "v1.20.0", system="windows")]
    assert seen(before.node_versions, {"nodes": nodes}).state == OK


def test_a_cluster_without_nodes_has_no_oldest_kubelet() -> None:
    assert seen(before.node_versions, {"nodes": []}).state == NOT_APPLICABLE


def test_who_may_not_read_nodes_hears_what_was_refused() -> None:
    with pytest.raises(RefusedError, match="nodes: nodes is forbidden"):
        seen(before.node_versions, {"nodes": forbidden()})


def test_an_init_container_that_stays_is_kept() -> None:
    assert seen(before.native_sidecar, {NATIVE: tried()}).state == OK


def test_a_stripped_restart_policy_names_the_webhooks_that_may_have_done_it() -> None:
    def hooks(name: str, *resources: str) -> Json:
        return thing(name, webhooks=[{"name": "x", "rules": [{"resources": [*resources]}]}])

    found = seen(
        before.native_sidecar,
        {
            NATIVE: tried(policy=""),
            WEBHOOKS: [hooks("old-agent", "pods"), hooks("jobs-only", "jobs"), hooks("all", "*")],
        },
    )
    assert (found.state, found.things) == (FAILURE, ("old-agent", "all"))
    assert "classic" in found.hint


def test_a_trial_that_was_refused_is_no_proof_of_anything() -> None:
    refusal = Refusal("Forbidden", "pods is forbidden: exceeded quota")
    found = seen(before.native_sidecar, {NATIVE: refusal})
    assert (found.state, found.text) == (WARNING, f"could not be tried: {refusal.text}")


def test_missing_rights_are_listed() -> None:
    def review(verb: str, resource: str, *, allowed: bool) -> Json:
        spec = {"resourceAttributes": {"verb": verb, "resource": resource}}
        return {"spec": spec, "status": {"allowed": allowed}}

    reviews = [
        review("create", "services", allowed=True),
        review("create", "clusterroles", allowed=False),
    ]
    found = seen(before.install_rights, {"rights": reviews})
    assert (found.state, found.things) == (FAILURE, ("create clusterroles",))
    assert found.text.startswith("1 of 2 rights")
    assert seen(before.install_rights, {"rights": reviews[:1]}).state == OK


def test_a_policy_that_rejects_the_init_step_is_told_in_its_own_words() -> None:
    text = 'violates PodSecurity "baseline:latest": non-default capabilities (NET_ADMIN, NET_RAW)'
    found = seen(before.sidecar_accepted, {INJECTED: forbidden(text)}, namespace="shop")
    assert (found.state, text in found.text) == (WARNING, True)
    assert "namespace shop" in found.text
    assert "Restricted namespaces" in found.hint


def test_who_may_not_create_pods_is_not_told_of_policies() -> None:
    refusal = forbidden('pods is forbidden: User "dev" cannot create resource "pods"')
    for look in (before.native_sidecar, before.sidecar_accepted):
        found = seen(look, {NATIVE: refusal, INJECTED: refusal})
        assert found.hint.startswith("ask for the right to create pods")


def test_a_namespace_that_takes_the_whole_sidecar_is_good() -> None:
    assert seen(before.sidecar_accepted, {INJECTED: tried()}).state == OK


@pytest.mark.parametrize(
    ("level", "inject", "state"),
    [
        ("restricted", "enabled", FAILURE),
        ("baseline", "enabled", FAILURE),
        ("baseline", "", WARNING),
        ("privileged", "enabled", OK),
        ("", "enabled", OK),
    ],
)
def test_a_level_matters_most_where_injection_is_on(level: str, inject: str, state: str) -> None:
    words = {before.ENFORCE: level, "remora.dev/inject": inject}
    labels = {name: text for name, text in words.items() if text}
    namespaces = [thing("shop", labels=labels), thing("default")]
    found = seen(before.pod_security_levels, {"namespaces": namespaces})
    assert (found.state, found.things) == (state, () if state == OK else (f"shop: {level}",))


def test_levels_of_the_systems_namespaces_are_nobodys_business() -> None:
    namespaces = [thing("kube-system", labels={before.ENFORCE: "restricted"})]
    assert seen(before.pod_security_levels, {"namespaces": namespaces}).state == OK


@pytest.mark.parametrize(
    ("made_s_ago", "state"),
    [(0, OK), (1, OK), (5, OK), (-5, OK), (30, WARNING), (-30, WARNING), (600, FAILURE)],
)
def test_clocks_may_be_seconds_apart(made_s_ago: float, state: str) -> None:
    answers = {NATIVE: tried(made_s_ago=made_s_ago), INJECTED: forbidden()}
    assert seen(before.clock_skew, answers).state == state


def test_without_an_accepted_pod_nobody_tells_the_time() -> None:
    answers = {NATIVE: forbidden(), INJECTED: forbidden()}
    assert seen(before.clock_skew, answers).state == WARNING


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, OK), (40, OK), (-3, OK), (90, WARNING), (-20, WARNING)]
)
def test_a_lease_tells_the_time_of_its_node(seconds: float, state: str) -> None:
    answers = {"nodes": [node("a", "v1.33.0")], "leases": [lease("a", seconds=seconds)]}
    assert seen(before.node_clocks, answers).state == state


def test_a_node_that_is_away_has_no_clock() -> None:
    nodes = [node("away", "v1.33.0", is_ready=False)]
    answers = {"nodes": nodes, "leases": [lease("away", hours=1)]}
    assert seen(before.node_clocks, answers).state == OK


@pytest.mark.parametrize(
    ("is_there", "needs", "state"),
    [
        (True, "", OK),
        (True, "cert-manager", OK),
        (False, "", NOT_APPLICABLE),
        (False, "cert-manager", FAILURE),
        (False, "pod-monitor", NOT_APPLICABLE),
    ],
)
def test_what_is_beside_remora_is_missed_only_where_it_is_wanted(
    is_there: bool,  # noqa: FBT001 - a column
    needs: str,
    state: str,
) -> None:
    name = "certificates.cert-manager.io"
    wanted = Wanted(needs=frozenset(filter(None, [needs])))
    answers = {name: [thing(name)] if is_there else []}
    assert seen(before.cert_manager, answers, wanted).state == state
