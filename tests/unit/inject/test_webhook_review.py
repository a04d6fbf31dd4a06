"""Reviews without a wire: the same answer as the command's, for every pod of the collection."""

import json
from pathlib import Path

import pytest

from inject.settings import DEFAULTS, read_annotations
from inject.webhook.handler import timeout_s
from inject.webhook.review import FAULTY, INJECTED, LEFT_ALONE, review
from proxy.httpserver import Request
from tests.support.admission import Json, a_pod, patched, pods_of, review_of
from tests.unit.inject.manifests import Remora, each_manifest

FLAGS = {
    "default": {},
    "classic": {"sidecar": "classic"},
    "csi": {"identity_source": "csi", "mtls": "strict", "proxy_cpu_limit": "2"},
}
each_set_of_settings = pytest.mark.parametrize("settings", FLAGS.values(), ids=FLAGS)


def answer_to(pod: Json, settings: dict[str, str] | None = None, **request: object) -> Json:
    body = json.dumps(review_of(pod, **request)).encode()
    made: Json = json.loads(review(body, {**DEFAULTS, **(settings or {})}, "remora-system").answer)
    response: Json = made["response"]
    return response


@each_set_of_settings
@each_manifest
def test_the_patched_pod_is_the_one_that_the_command_makes(
    path: Path, settings: dict[str, str], remora: Remora
) -> None:
    flags = [
        word for name, text in settings.items() for word in (f"--{name.replace('_', '-')}", text)
    ]
    for pod in pods_of(path):
        said = remora.inject(remora.file(json.dumps(pod), "pod.json"), *flags)
        response = answer_to(pod, settings)
        assert said.code == 0
        assert patched(pod, response) == json.loads(said.out)


@each_set_of_settings
@each_manifest
def test_a_patched_pod_gets_no_patch(path: Path, settings: dict[str, str]) -> None:
    for pod in pods_of(path):
        made = patched(pod, answer_to(pod, settings))
        assert "patch" not in answer_to(made, settings)


def test_a_pod_is_known_by_the_start_of_its_name_and_the_namespace_of_the_request() -> None:
    body = json.dumps(review_of(a_pod())).encode()
    made = review(body, DEFAULTS, "remora-system")
    assert made.pod == "shop/web-7d4b9-*"
    assert (made.result, made.is_dry_run) == (INJECTED, False)


def test_a_fault_is_told_in_the_words_of_the_command(remora: Remora) -> None:
    pod = a_pod({"remora.dev/proxy-cpu-limit": "a lot"})
    message = answer_to(pod)["status"]["message"]
    said = remora.inject(remora.file(json.dumps(pod), "pod.json"))
    assert message in said.err
    assert review(json.dumps(review_of(pod)).encode(), DEFAULTS, "").result == FAULTY


def test_a_warning_has_at_most_the_length_that_kubernetes_shows() -> None:
    probe = {"httpGet": {"port": 80, "path": "/" + "a,b" * 200}}
    pod = a_pod(
        {"remora.dev/identity-source": "csi", "remora.dev/mtls": "strict"},
        containers=[{"name": "a", "livenessProbe": probe}],
    )
    (warning,) = answer_to(pod)["warnings"]
    assert len(warning) == 256
    assert warning.endswith("...")


def test_a_pod_without_metadata_is_injected() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}]}}
    assert patched(pod, answer_to(pod))["metadata"]["labels"]["remora.dev/injected"] == "true"


def test_a_classic_sidecar_in_a_job_is_left_out_with_a_warning() -> None:
    pod = a_pod(restartPolicy="Never")
    body = json.dumps(review_of(pod)).encode()
    made = review(body, {**DEFAULTS, "sidecar": "classic"}, "remora-system")
    assert (made.result, made.reason) == (LEFT_ALONE, "classic_job")


def test_no_more_faults_are_told_than_somebody_would_mend() -> None:
    faults = read_annotations({f"remora.dev/x{n}": "" for n in range(1000)}, DEFAULTS)[1]
    assert len(faults) == 16


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("9.999s", 9.999),
        ("1m0s", 60),
        ("1m30.5s", 90.5),
        ("500ms", 0.5),
        ("29999us", 0.029999),
        ("", 10),
        ("10", 10),
        ("s", 10),
        ("-1s", 10),
        ("10s ", 10),
        ("0s", 10),
        ("9" * 400 + "s", 10),
    ],
)
def test_the_time_of_an_api_server_is_read_as_go_writes_it(text: str, seconds: float) -> None:
    query = {"timeout": text} if text else {}
    assert timeout_s(Request("POST", "/inject", query, {}, b"")) == pytest.approx(seconds)
