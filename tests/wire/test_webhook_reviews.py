"""What an API server hears of a pod: over real TLS, for every pod of the collection."""

import json
from collections.abc import Callable

import pytest

from tests.support.admission import CORPUS, a_pod, patched, pods_of, review_of
from tests.support.webhook import Caller, Files, Webhook


def test_every_pod_of_the_collection_is_answered_by_its_uid(caller: Caller) -> None:
    pods = [pod for path in CORPUS for pod in pods_of(path)]
    assert len(pods) >= 40
    for pod in pods:
        asked = review_of(pod)
        response = caller.ask(asked).response
        assert response["uid"] == asked["request"]["uid"]
        made = patched(pod, response)
        assert made == pod or made["metadata"]["labels"]["remora.dev/injected"] == "true"


def test_an_injected_pod_is_left_as_it_is(caller: Caller) -> None:
    once = patched(a_pod(), caller.ask(review_of(a_pod())).response)
    again = caller.ask(review_of(once)).response
    assert again["allowed"] is True
    assert "patch" not in again
    assert again["auditAnnotations"]["reason"].startswith("already: ")


def test_fields_that_nobody_knows_survive(caller: Caller) -> None:
    pod = a_pod(inTheYear3000={"robots": [1, 2.5, None, "ü"]})
    made = patched(pod, caller.ask(review_of(pod)).response)
    assert made["spec"]["inTheYear3000"] == pod["spec"]["inTheYear3000"]


def test_an_annotation_changes_what_is_injected(caller: Caller) -> None:
    pod = a_pod({"remora.dev/sidecar": "classic"})
    made = patched(pod, caller.ask(review_of(pod)).response)
    assert made["spec"]["containers"][0]["name"] == "remora-proxy"


def test_a_flag_is_the_default_of_pods_that_say_nothing(
    webhooks: Callable[..., Webhook], files: Files
) -> None:
    flags = ("--tls-dir", str(files.folder), "--image", "registry.example.org/remora:2")
    caller = Caller(webhooks(*flags).wait_ready().address, files.roots)
    made = patched(a_pod(), caller.ask(review_of(a_pod())).response)
    assert made["spec"]["initContainers"][1]["image"] == "registry.example.org/remora:2"
    caller.close()


def test_a_pod_with_faulty_annotations_is_refused_and_told_each_field(
    caller: Caller, hook: Webhook
) -> None:
    pod = a_pod({"remora.dev/mtls": "maybe", "remora.dev/opaque-port": "3306"})
    response = caller.ask(review_of(pod)).response
    assert response["allowed"] is False
    status = response["status"]
    assert (status["code"], status["reason"], status["status"]) == (400, "BadRequest", "Failure")
    fields = [
        "metadata.annotations[remora.dev/mtls]",
        "metadata.annotations[remora.dev/opaque-port]",
    ]
    assert [cause["field"] for cause in status["details"]["causes"]] == fields
    assert "'maybe' is none of permissive, strict, disable" in status["message"]
    assert "did you mean remora.dev/opaque-ports?" in status["message"]
    assert hook.reviews("faulty") == 1


@pytest.mark.parametrize(
    ("pod", "reason", "told"),
    [
        (a_pod(hostNetwork=True), "host_network", 1),
        (a_pod(containers=[{"name": "istio-proxy"}]), "other_mesh", 1),
        (a_pod({"remora.dev/inject": "disabled"}), "disabled", 0),
        (a_pod({"kubernetes.io/config.mirror": "x"}), "mirror_pod", 0),
        (a_pod(containers=[]), "malformed", 0),
        (a_pod({"big": "x" * (257 << 10)}), "malformed", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_pod_that_is_left_alone_is_allowed_with_the_reason(
    pod: dict[str, object], reason: str, told: int, caller: Caller, hook: Webhook
) -> None:
    response = caller.ask(review_of(pod)).response
    assert response["allowed"] is True
    assert "patch" not in response
    assert response["auditAnnotations"]["result"] == "left_alone"
    assert response["auditAnnotations"]["reason"].startswith(f"{reason}: ")
    assert str(response.get("warnings")).count("the pod gets no sidecar") == told
    assert hook.reviews("left_alone", reason) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None, "oldObject": a_pod()},
        {"subResource": "ephemeralcontainers"},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
    ],
    ids=["update", "delete", "subresource", "deployment"],
)
def test_only_the_creation_of_pods_is_acted_on(changed: dict[str, object], caller: Caller) -> None:
    response = caller.ask(review_of(a_pod(), **changed)).response
    assert response["allowed"] is True
    assert "patch" not in response
    assert response["auditAnnotations"]["reason"].startswith("not_a_new_pod: ")


@pytest.mark.parametrize(
    ("namespace", "reason"),
    [("kube-system", "system_namespace"), ("remora-system", "own_namespace")],
)
def test_namespaces_on_which_the_mesh_depends_are_left_alone(
    namespace: str, reason: str, caller: Caller
) -> None:
    response = caller.ask(review_of(a_pod(), namespace=namespace)).response
    assert response["auditAnnotations"]["reason"].startswith(f"{reason}: ")


def test_notes_are_warnings(caller: Caller) -> None:
    pod = a_pod(containers=[{"name": "dns", "ports": [{"containerPort": 53, "protocol": "UDP"}]}])
    (warning,) = caller.ask(review_of(pod)).response["warnings"]
    assert warning == "remora: UDP is not redirected: port 53 stays as it is"


def test_a_dry_run_is_answered_like_any_other(caller: Caller, hook: Webhook) -> None:
    dry = caller.ask(review_of(a_pod(), uid="one", dryRun=True)).response
    wet = caller.ask(review_of(a_pod(), uid="one")).response
    assert dry == wet
    lines = [line for line in hook.log if line["event"] == "review"]
    assert [line["dry_run"] for line in lines] == [True, False]


def test_a_review_is_a_line_of_the_log_that_names_the_pod(caller: Caller, hook: Webhook) -> None:
    asked = review_of(a_pod())
    assert caller.ask(asked).status == 200
    line = hook.logged("review")
    assert line
    assert (line["pod"], line["result"]) == ("shop/web-7d4b9-*", "injected")
    assert line["uid"] == asked["request"]["uid"]


def test_reviews_are_counted_and_timed(caller: Caller, hook: Webhook) -> None:
    for _ in range(3):
        caller.ask(review_of(a_pod()))
    assert hook.reviews("injected") == 3
    metrics = hook.metrics()
    assert metrics("remora_webhook_review_duration_seconds_count") == 3
    assert metrics("remora_webhook_in_flight") == 0
    assert metrics("remora_webhook_responses_total", code="200") == 3


def test_words_of_strangers_cannot_forge_a_line_of_an_answer(caller: Caller) -> None:
    pod = a_pod({"remora.dev/mtls": "\ud800\n\x1b[2J" + "x" * 9000})
    response = caller.ask(review_of(pod)).response
    text = response["status"]["message"]
    assert text.isprintable()
    assert len(text) <= 4096
    assert len(json.dumps(response)) < 20_000
