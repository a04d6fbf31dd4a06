"""`remora check --data-plane`: one behaviour of one check each."""

import json

import pytest

from inject.cluster import live
from inject.cluster.snapshot import FAILURE, NOT_APPLICABLE, OK, WARNING, Look
from proxy import __version__
from tests.unit.inject.clusters import Json, ago, forbidden, seen, thing
from tests.unit.inject.manifests import injected
from tests.unit.inject.manifests import pod as bare

ON = {"remora.dev/inject": "enabled"}
OFF = {"remora.dev/inject": "disabled"}


def pod(name: str = "web-1", *, labels: Json | None = None, phase: str = "Running") -> Json:
    containers = [{"name": "app", "image": "app:1"}]
    return thing(
        name,
        "shop",
        labels=labels or {},
        spec={"containers": containers},
        status={"phase": phase},
    )


def meshed(name: str = "web-1", *, sidecar: str = "native", **status: object) -> Json:
    """A pod as `remora inject` makes it; `status` is what the kubelet says of its containers."""
    made = injected(bare(sidecar=sidecar) if sidecar != "native" else bare(), sidecar=sidecar)
    made["metadata"] |= {"name": name, "namespace": "shop"}
    fields = {"init": "remora-init", "proxy": "remora-proxy"}
    listed = [{"name": fields[key], **said} for key, said in status.items()]  # type: ignore[dict-item]
    made["status"] = {"phase": "Pending", "initContainerStatuses": listed}
    return made


def found(look: Look, *pods: Json, namespace: Json | None = None) -> tuple[str, tuple[str, ...]]:
    namespaces = [thing("shop", labels=namespace or {})]
    result = seen(look, {"pods": pods, "namespaces": namespaces})
    assert bool(result.hint) == (result.state in (WARNING, FAILURE))
    return result.state, result.things


@pytest.mark.parametrize(
    ("of_pod", "of_namespace", "state"),
    [
        (ON, {}, FAILURE),
        ({}, ON, FAILURE),
        (ON, OFF, FAILURE),
        (OFF, ON, NOT_APPLICABLE),
        ({}, {}, NOT_APPLICABLE),
    ],
)
def test_who_asks_for_the_sidecar_and_has_none_is_told(
    of_pod: Json, of_namespace: Json, state: str
) -> None:
    things = ("shop/web-1",) if state == FAILURE else ()
    assert found(live.sidecar_missing, pod(labels=of_pod), namespace=of_namespace) == (
        state,
        things,
    )


def test_a_pod_that_has_the_sidecar_is_well() -> None:
    assert found(live.sidecar_missing, meshed(), namespace=ON) == (OK, ())


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_is_over_needs_nothing(phase: str) -> None:
    over = pod(labels=ON, phase=phase)
    assert found(live.sidecar_missing, over) == (NOT_APPLICABLE, ())


def test_a_pod_that_is_about_to_go_needs_nothing() -> None:
    ending = pod(labels=ON)
    ending["metadata"]["deletionTimestamp"] = ago(seconds=1)
    assert found(live.sidecar_missing, ending) == (NOT_APPLICABLE, ())


def test_a_pod_that_cannot_have_it_is_left_alone_and_nothing_is_wrong() -> None:
    node = pod(labels=ON)
    node["spec"]["hostNetwork"] = True
    assert found(live.sidecar_missing, node) == (OK, ())
    state, (line,) = found(live.left_alone, node)
    assert (state, line.startswith("shop/web-1: host_network: ")) == (OK, True)


def test_a_bad_annotation_is_named() -> None:
    wrong = pod(labels=ON)
    wrong["metadata"]["annotations"] = {"remora.dev/mtls": "maybe"}
    state, (line,) = found(live.sidecar_missing, wrong)
    assert (state, "annotations[remora.dev/mtls]: 'maybe'" in line) == (FAILURE, True)


def test_who_may_not_read_namespaces_hears_of_pods_that_ask_themselves() -> None:
    answers = {"pods": [pod(labels=ON), pod("web-2")], "namespaces": forbidden()}
    assert seen(live.sidecar_missing, answers).things == ("shop/web-1",)


# ---- sidecars ------------------------------------------------------------------------------------


def test_a_sidecar_that_lost_its_restart_policy_is_found() -> None:
    stripped = meshed()
    del stripped["spec"]["initContainers"][1]["restartPolicy"]
    assert found(live.restart_policy, stripped) == (FAILURE, ("shop/web-1",))
    assert found(live.restart_policy, meshed()) == (OK, ())


def test_a_classic_sidecar_has_no_restart_policy_to_lose() -> None:
    assert found(live.restart_policy, meshed(sidecar="classic")) == (NOT_APPLICABLE, ())


LOOPING = {
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
    "lastState": {
        "terminated": {"exitCode": 71, "message": "step 1\niptables-restore: no module nf_nat\n"}
    },
}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (LOOPING, "CrashLoopBackOff: iptables-restore: no module nf_nat"),
        (
            {"state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no\nbad"}}},
            "Error, code 1: bad",
        ),
        (
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
            "ErrImagePull: not found",
        ),
        (
            {"state": {"running": {"startedAt": ago(seconds=90)}}},
            "runs for 90 s and is not done",
        ),
    ],
    ids=["crash loop", "failed", "image", "hangs"],
)
def test_an_init_step_that_does_not_get_on_says_why(status: Json, why: str) -> None:
    assert found(live.init_step, meshed(init=status)) == (FAILURE, (f"shop/web-1: {why}",))


@pytest.mark.parametrize(
    "status",
    [
        {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        {"state": {"waiting": {"reason": "PodInitializing"}}},
        {"state": {"running": {"startedAt": ago(seconds=5)}}},
        {},
    ],
    ids=["done", "not yet", "just begun", "nothing said"],
)
def test_an_init_step_on_its_way_is_well(status: Json) -> None:
    assert found(live.init_step, meshed(init=status)) == (OK, ())


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
            "ImagePullBackOff: no such image",
        ),
        (
            {"started": False, "state": {"running": {"startedAt": ago(seconds=100)}}},
            "runs for 100 s and is not done",
        ),
    ],
)
def test_a_proxy_that_does_not_start_holds_the_pod_and_says_why(status: Json, why: str) -> None:
    assert found(live.proxy_start, meshed(proxy=status)) == (FAILURE, (f"shop/web-1: {why}",))


def test_a_proxy_that_started_long_ago_is_well() -> None:
    status = {"started": True, "state": {"running": {"startedAt": ago(days=9)}}}
    assert found(live.proxy_start, meshed(proxy=status)) == (OK, ())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"started": True, "ready": True}, OK),
        ({"started": True, "ready": False}, FAILURE),
        ({"started": False, "ready": False}, NOT_APPLICABLE),
    ],
)
def test_a_proxy_that_started_should_be_ready(status: Json, state: str) -> None:
    assert found(live.proxy_ready, meshed(proxy=status))[0] == state


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ({"reason": "OOMKilled", "exitCode": 137, "finishedAt": ago(hours=1)}, FAILURE),
        ({"reason": "OOMKilled", "exitCode": 137, "finishedAt": ago(days=3)}, WARNING),
        ({"reason": "Error", "exitCode": 1, "finishedAt": ago(hours=1)}, WARNING),
    ],
)
def test_a_restart_is_a_warning_and_the_lack_of_memory_a_failure(last: Json, state: str) -> None:
    status = {"restartCount": 2, "lastState": {"terminated": last}}
    line = f"shop/web-1: 2 restarts, last: {last['reason']}, code {last['exitCode']}"
    assert found(live.proxy_restarts, meshed(proxy=status)) == (state, (line,))


def test_a_proxy_that_was_never_restarted_is_well() -> None:
    assert found(live.proxy_restarts, meshed(proxy={"restartCount": 0})) == (OK, ())


@pytest.mark.parametrize(
    ("image", "noted", "told"),
    [
        (f"remora:{__version__}", "0.0.1", ""),
        ("registry:5000/remora:0.0.9", __version__, "0.0.9"),
        ("registry:5000/remora:v0.0.9", __version__, "0.0.9"),
        ("remora@sha256:12", __version__, ""),
        ("remora:latest", "0.0.8", "0.0.8"),
    ],
)
def test_the_version_of_a_sidecar_is_its_images_or_that_of_who_put_it_in(
    image: str, noted: str, told: str
) -> None:
    given = meshed()
    given["spec"]["initContainers"][1]["image"] = image
    given["metadata"]["annotations"]["remora.dev/status"] = json.dumps({"version": noted})
    expected = (WARNING, (f"shop/web-1: {told}",)) if told else (OK, ())
    assert found(live.proxy_version, given) == expected


# ---- pods that never were ------------------------------------------------------------------------


def event(text: str, name: str = "web-5f7") -> Json:
    owner = {"kind": "ReplicaSet", "namespace": "shop", "name": name}
    return thing("e", "shop", message=text, involvedObject=owner, reason="FailedCreate")


PSA = (
    'Error creating: pods "web-5f7-x" is forbidden: violates PodSecurity "baseline:latest":'
    ' non-default capabilities (container "remora-init" must not include "NET_ADMIN")'
)
HOOK = 'Error creating: Internal error occurred: failed calling webhook "pods.remora.dev": failed'


def test_a_replica_set_that_pod_security_keeps_from_making_pods_is_told_once() -> None:
    events = [event(PSA), event(PSA), event("Error creating: exceeded quota", "other")]
    result = seen(live.security_rejections, {"events": events})
    assert (result.state, len(result.things)) == (FAILURE, 1)
    assert result.things[0].startswith("ReplicaSet shop/web-5f7: Error creating: pods")


def test_pod_security_that_rejects_the_application_itself_is_not_ours() -> None:
    events = [event(PSA.replace("remora-init", "app"))]
    assert seen(live.security_rejections, {"events": events}).state == OK


def test_pods_that_wait_for_the_webhook_are_told() -> None:
    result = seen(live.webhook_refusals, {"events": [event(HOOK), event(PSA)]})
    assert (result.state, len(result.things)) == (FAILURE, 1)
    assert seen(live.webhook_refusals, {"events": []}).state == OK


@pytest.mark.parametrize("look", [live.init_step, live.proxy_start, live.proxy_version])
def test_without_a_sidecar_there_is_nothing_to_look_at(look: Look) -> None:
    assert found(look, pod()) == (NOT_APPLICABLE, ())
