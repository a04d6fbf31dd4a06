"""Settings: each annotation, what it does to the pod, and what it does not take."""

from collections.abc import Callable
from typing import Any

import pytest

from inject.settings import DEFAULTS, OPTIONS, annotation_of
from tests.unit.inject.manifests import container, environment, injected, planned, pod

Pod = dict[str, Any]


def init_args(given: Pod) -> list[str]:
    args: list[str] = container(given, "remora-init")["args"]
    return args


def variable(name: str) -> Callable[[Pod], object]:
    return lambda given: environment(given).get(name)


def resource(kind: str, name: str) -> Callable[[Pod], object]:
    return lambda given: container(given, "remora-proxy")["resources"].get(kind, {}).get(name)


def identity_volume(given: Pod) -> object:
    found = [each for each in given["spec"]["volumes"] if each["name"] == "remora-identity"]
    return min(found[0].keys() - {"name"}) if found else None


def manifests_volume(given: Pod) -> object:
    found = [each for each in given["spec"]["volumes"] if each["name"] == "remora-manifests"]
    return found[0]["configMap"]["name"] if found else None


def is_first_container(given: Pod) -> bool:
    return bool(given["spec"]["containers"][0]["name"] == "remora-proxy")


SECRET: dict[str, object] = {"identity-source": "secret", "identity-secret": "web-tls"}
CASES: list[tuple[dict[str, object], Callable[[Pod], object], object]] = [
    ({"sidecar": "classic"}, is_first_container, True),
    ({"image": "registry:5000/remora:2"}, lambda p: container(p, "remora-proxy")["image"], "*"),
    ({"skip-inbound-ports": "9090, 9100-9110"}, init_args, "--inbound-exclude-ports=*"),
    ({"skip-outbound-ports": "3306"}, init_args, "--outbound-exclude-ports=*"),
    ({"skip-subnets": "10.0.0.0/8,fd00::/8"}, init_args, "--outbound-exclude-cidrs=*"),
    ({"opaque-ports": "3306,5432-5440"}, variable("REMORA_OPAQUE_PORTS"), "*"),
    ({"proxy-cpu-request": "250m"}, resource("requests", "cpu"), "*"),
    ({"proxy-cpu-limit": "2"}, resource("limits", "cpu"), "*"),
    ({"proxy-memory-request": "100Mi"}, resource("requests", "memory"), "*"),
    ({"proxy-memory-limit": "1Gi"}, resource("limits", "memory"), "*"),
    ({"proxy-log-level": "debug"}, variable("REMORA_LOG_LEVEL"), "*"),
    ({"access-log": "json"}, variable("REMORA_ACCESS_LOG"), "*"),
    ({"identity-source": "csi"}, identity_volume, "*"),
    (SECRET, identity_volume, "secret"),
    ({"mtls": "strict", "identity-source": "csi"}, variable("REMORA_MTLS"), "*"),
    ({"manifests": "mesh"}, manifests_volume, "*"),
    ({"drain-delay": "12s"}, variable("REMORA_DRAIN_DELAY"), "*"),
]


@pytest.mark.parametrize(
    ("notes", "look", "expected"), CASES, ids=lambda each: "" if callable(each) else str(each)[:40]
)
def test_an_annotation_changes_what_it_says(
    notes: dict[str, object], look: Callable[[Pod], object], expected: object
) -> None:
    (said, *_) = notes.values()
    found = look(injected(pod(notes)))
    assert look(injected(pod())) != found
    if isinstance(found, list):
        flag = str(expected).removesuffix("=*")
        assert found == ["init", flag, str(said).replace(" ", "")]
    else:
        assert found == (said if expected == "*" else expected)


def test_every_annotation_is_tried() -> None:
    tried = {name for notes, _, _ in CASES for name in notes}
    assert tried == {option.flag.lstrip("-") for option in OPTIONS}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sidecar", "ambient"),
        ("image", "not an image"),
        ("skip-inbound-ports", "http"),
        ("skip-outbound-ports", "80,,81"),
        ("skip-subnets", "10.0.0.1/8"),
        ("opaque-ports", "0"),
        ("proxy-cpu-request", "a lot"),
        ("proxy-cpu-limit", "-1"),
        ("proxy-memory-request", "64MB"),
        ("proxy-memory-limit", "1.5Gi"),
        ("proxy-log-level", "loud"),
        ("access-log", "xml"),
        ("identity-source", "vault"),
        ("identity-secret", "Not_A_Name"),
        ("mtls", "maybe"),
        ("manifests", "Not_A_Name"),
        ("drain-delay", "soon"),
    ],
)
def test_a_bad_word_is_a_fault_that_names_annotation_and_word(name: str, text: str) -> None:
    outcome = planned(pod({name: text}))
    assert outcome.patch == ()
    (fault,) = outcome.faults
    assert fault.field == f"metadata.annotations[remora.dev/{name}]"
    assert repr(text) in fault.text


def test_the_bad_word_of_a_list_is_named() -> None:
    (fault,) = planned(pod({"skip-inbound-ports": "80,http,90"})).faults
    assert "has 'http', which is not a port" in fault.text


def test_a_number_is_no_annotation() -> None:
    (fault,) = planned(pod({"skip-inbound-ports": 9090})).faults
    assert fault.text == "must be a string: put 9090 in quotes"


def test_a_name_that_nobody_knows_is_a_fault_with_the_one_that_was_meant() -> None:
    (fault,) = planned(pod({"proxy-loglevel": "debug"})).faults
    assert fault.text == "is unknown (did you mean remora.dev/proxy-log-level?)"


def test_annotations_of_others_are_not_looked_at() -> None:
    given = pod()
    given["metadata"]["annotations"]["example.org/sidecar"] = "ambient"
    assert planned(given).patch


def test_all_faults_are_told_at_once() -> None:
    assert len(planned(pod({"mtls": "x", "access-log": "y", "nothing": "z"})).faults) == 3


@pytest.mark.parametrize(
    ("notes", "name", "word"),
    [
        ({"proxy-cpu-request": "2", "proxy-cpu-limit": "500m"}, "proxy-cpu-request", "above"),
        ({"proxy-memory-limit": "32Mi"}, "proxy-memory-request", "above"),
        ({"identity-source": "secret"}, "identity-source", "identity-secret"),
        ({"identity-secret": "web"}, "identity-secret", "means nothing"),
        ({"mtls": "strict"}, "mtls", "identity-source"),
    ],
)
def test_settings_that_contradict_each_other_are_a_fault(
    notes: dict[str, object], name: str, word: str
) -> None:
    (fault,) = planned(pod(notes)).faults
    assert fault.field == f"metadata.annotations[remora.dev/{name}]"
    assert word in fault.text


def test_an_annotation_beats_a_flag() -> None:
    made = injected(pod({"proxy-log-level": "debug"}), proxy_log_level="error")
    assert environment(made)["REMORA_LOG_LEVEL"] == "debug"


def test_an_empty_annotation_takes_a_default_away() -> None:
    resources = container(injected(pod({"proxy-memory-limit": ""})), "remora-proxy")["resources"]
    assert resources == {"requests": {"cpu": "100m", "memory": "64Mi"}}


def test_the_defaults_are_good_words_themselves() -> None:
    for option in OPTIONS:
        assert option.parse(option.default) == DEFAULTS[option.key]
        assert annotation_of(option).startswith("remora.dev/")
