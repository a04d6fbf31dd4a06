"""`remora check --cluster`: one behaviour of one check each."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from inject.cluster import certificates, installed
from inject.cluster.selectors import selects
from inject.cluster.snapshot import (
    FAILURE,
    NOT_APPLICABLE,
    OK,
    WARNING,
    Look,
    Refusal,
    Result,
    Snapshot,
)
from proxy import __version__
from tests.support.svids import Shape, Signer, Svid
from tests.unit.inject.clusters import Json, answer, seen, thing

HOST = "remora-webhook.remora-system.svc"
TRIAL = "trial of a labelled pod"
SYSTEM = ["kube-system", "kube-public", "kube-node-lease", "remora-system"]
DAY = timedelta(days=1)


def deployment(*, wished: int | None = 2, available: int = 2, image: str = "remora:0.1.0") -> Json:
    template = {"spec": {"containers": [{"name": "webhook", "image": image}]}}
    spec = {"template": template, **({"replicas": wished} if wished is not None else {})}
    return thing("remora-webhook", spec=spec, status={"availableReplicas": available})


def configuration(
    *names: str, policy: str = "Ignore", ca: bytes = b"", excluded: list[str] | None = None
) -> Json:
    leave_out = {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": SYSTEM if excluded is None else excluded,
    }
    enabled = {"key": "remora.dev/inject", "operator": "In", "values": ["enabled"]}
    own = {
        "namespaces.remora.dev": enabled,
        "pods.remora.dev": {"key": "remora.dev/inject", "operator": "DoesNotExist"},
    }
    entries = [
        {
            "name": name,
            "failurePolicy": policy,
            "namespaceSelector": {"matchExpressions": [leave_out, own[name]]},
            "clientConfig": {"caBundle": base64.b64encode(ca).decode()},
        }
        for name in names or installed.ENTRIES
    ]
    return thing("remora-webhook", webhooks=entries)


def secret(svid: Svid) -> Json:
    return thing("tls", data={"tls.crt": base64.b64encode(svid.chain_pem()).decode()})


def pem(signer: Signer) -> bytes:
    return Svid(signer.key, (signer.certificate,)).chain_pem()


def test_without_its_namespace_nothing_is_installed() -> None:
    found = seen(installed.namespace, {"system namespace": []})
    assert (found.state, "docs/install.md" in found.hint) == (FAILURE, True)
    assert seen(installed.namespace, {"system namespace": thing("remora-system")}).state == OK


def test_a_namespace_that_is_being_deleted_will_not_do() -> None:
    ending = thing("remora-system")
    ending["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    assert seen(installed.namespace, {"system namespace": ending}).state == FAILURE


@pytest.mark.parametrize(
    ("wished", "available", "state"), [(2, 2, OK), (2, 1, WARNING), (2, 0, FAILURE), (None, 1, OK)]
)
def test_one_available_replica_injects(wished: int | None, available: int, state: str) -> None:
    found = deployment(wished=wished, available=available)
    assert seen(installed.webhook_deployment, {"deployment": found}).state == state


@pytest.mark.parametrize(
    ("wished", "has_budget", "state"), [(2, True, OK), (2, False, WARNING), (1, True, WARNING)]
)
def test_two_replicas_and_a_budget_outlive_a_drained_node(
    wished: int,
    has_budget: bool,  # noqa: FBT001 - a column
    state: str,
) -> None:
    budget = [thing("remora-webhook")] if has_budget else []
    answers = {"deployment": deployment(wished=wished), "budget": budget}
    assert seen(installed.webhook_replicas, answers).state == state


@pytest.mark.parametrize(
    ("image", "state"),
    [
        (f"remora:{__version__}", OK),
        (f"registry:5000/mesh/remora:{__version__}", OK),
        ("registry:5000/mesh/remora@sha256:12", OK),
        ("remora:0.0.9", WARNING),
    ],
)
def test_a_webhook_of_another_version_is_told(image: str, state: str) -> None:
    answers = {"deployment": deployment(image=image)}
    assert seen(installed.webhook_version, answers).state == state


@pytest.mark.parametrize(
    ("conditions", "state"), [({"ready": True}, OK), ({}, OK), ({"ready": False}, FAILURE)]
)
def test_a_service_needs_an_endpoint_that_is_ready(conditions: Json, state: str) -> None:
    slices = [thing("s", endpoints=[{"addresses": ["10.0.0.1"], "conditions": conditions}])]
    answers = {"service": thing("remora-webhook"), "endpointslices": slices}
    assert seen(installed.webhook_endpoints, answers).state == state


def test_a_service_without_slices_has_no_endpoint() -> None:
    answers = {"service": thing("remora-webhook"), "endpointslices": [thing("s", endpoints=None)]}
    assert seen(installed.webhook_endpoints, answers).state == FAILURE


def test_both_entries_of_the_configuration_must_be_there() -> None:
    found = seen(
        installed.webhook_configuration, {"configuration": configuration("pods.remora.dev")}
    )
    assert (found.state, "namespaces.remora.dev" in found.text) == (FAILURE, True)
    answers = {"configuration": configuration()}
    assert seen(installed.webhook_configuration, answers).state == OK


@pytest.mark.parametrize("name", SYSTEM)
def test_the_webhook_is_not_asked_about_what_it_depends_on(name: str) -> None:
    others = [each for each in SYSTEM if each != name]
    found = seen(installed.selectors, {"configuration": configuration(excluded=others)})
    assert found.state == FAILURE
    assert found.things == (f"namespaces.remora.dev: {name}", f"pods.remora.dev: {name}")
    assert seen(installed.selectors, {"configuration": configuration()}).state == OK


@pytest.mark.parametrize(
    ("policy", "wished", "available", "state"),
    [
        ("Ignore", 1, 0, OK),
        ("Fail", 2, 2, OK),
        ("Fail", 1, 1, WARNING),
        ("Fail", 2, 0, FAILURE),
    ],
)
def test_fail_needs_replicas(policy: str, wished: int, available: int, state: str) -> None:
    answers = {
        "configuration": configuration(policy=policy),
        "deployment": deployment(wished=wished, available=available),
    }
    assert seen(installed.failure_policy, answers).state == state


# ---- certificates --------------------------------------------------------------------------------


def certificate_seen(shape: Shape) -> Result:
    answers = {"secret": answer(secret(Signer.root().issue(shape)))}
    return installed.webhook_certificate(Snapshot(answers, datetime.now(UTC)))


@pytest.mark.parametrize(
    ("begun", "left", "state"),
    [
        (5 * DAY, 360 * DAY, OK),
        (310 * DAY, 55 * DAY, WARNING),
        (40 * DAY, 50 * DAY, OK),  # of 90 days, renewed at 30
        (70 * DAY, 20 * DAY, WARNING),
        (90 * DAY, -DAY, FAILURE),
        (-DAY, 90 * DAY, FAILURE),
    ],
)
def test_the_end_of_a_certificate_is_told_in_time(
    begun: timedelta, left: timedelta, state: str
) -> None:
    found = certificate_seen(Shape(uris=(), dns=(HOST,), begins=-begun, ends=left))
    assert (found.state, bool(found.hint)) == (state, state != OK)


def test_a_certificate_is_for_the_name_of_the_service() -> None:
    found = certificate_seen(Shape(uris=(), dns=("other.svc",)))
    assert (found.state, found.text) == (FAILURE, f"is for other.svc, and not for {HOST}")


def test_a_secret_without_a_certificate_is_a_failure() -> None:
    for data in ({}, {"tls.crt": "%%"}, {"tls.crt": ""}):
        answers = {"secret": thing("tls", data=data)}
        assert seen(installed.webhook_certificate, answers).state == FAILURE
    assert seen(installed.webhook_certificate, {"secret": []}).state == FAILURE


def trust(svid: Svid, ca: bytes) -> Result:
    answers = {"secret": answer(secret(svid)), "configuration": answer(configuration(ca=ca))}
    return installed.webhook_ca(Snapshot(answers, datetime.now(UTC)))


def test_the_bundle_that_issued_the_certificate_fits_it() -> None:
    root = Signer.root()
    assert trust(root.issue(), pem(root)).state == OK


def test_the_bundle_may_be_the_root_above_an_intermediate() -> None:
    root = Signer.root()
    assert trust(root.below("between").issue(), pem(root)).state == OK


def test_one_of_several_in_the_bundle_is_enough() -> None:
    root = Signer.root()
    assert trust(root.issue(), pem(Signer.root()) + pem(root)).state == OK


@pytest.mark.parametrize(
    ("ca", "why"),
    [(b"", "holds no certificate"), (pem(Signer.root()), "did not issue it")],
    ids=["empty", "another root of the same name"],
)
def test_a_bundle_that_does_not_fit_says_why(ca: bytes, why: str) -> None:
    found = trust(Signer.root().issue(), ca)
    assert found.state == FAILURE
    assert found.things == (f"namespaces.remora.dev: {why}", f"pods.remora.dev: {why}")


def test_an_authority_that_ended_is_trusted_by_nobody() -> None:
    root = Signer.root()
    later = datetime.now(UTC) + 2 * DAY
    assert certificates.distrust(root.issue().chain_pem(), pem(root), later).startswith("ended on")


# ---- the proof -----------------------------------------------------------------------------------


def tried(place: str, **fields: str) -> Json:
    spec: Json = {"containers": [{"name": "app"}], "initContainers": []}
    spec[place] = [{"name": "remora-proxy", **fields}, *spec[place]]
    return thing("remora-check", spec=spec)


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        (tried("initContainers", restartPolicy="Always"), OK),
        (tried("initContainers"), FAILURE),
        (tried("containers"), OK),
        (thing("remora-check", spec={"containers": [{"name": "app"}]}), FAILURE),
    ],
    ids=["native", "stripped", "classic", "absent"],
)
def test_a_pod_with_the_label_comes_back_with_the_sidecar(pod: Json, state: str) -> None:
    assert seen(installed.injection, {TRIAL: pod}).state == state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ('failed calling webhook "pods.remora.dev": connection refused', FAILURE),
        ('pods "remora-check" is forbidden: violates PodSecurity "baseline:latest"', WARNING),
    ],
)
def test_a_refused_trial_is_a_failure_only_if_the_webhook_had_a_part_in_it(
    text: str, state: str
) -> None:
    found = seen(installed.injection, {TRIAL: Refusal("InternalError", text)})
    assert (found.state, text in found.text) == (state, True)


@pytest.mark.parametrize(
    "look",
    [
        *(installed.webhook_replicas, installed.webhook_version, installed.selectors),
        *(installed.failure_policy, installed.webhook_ca),
    ],
)
def test_what_is_absent_fails_once_and_not_in_every_line(look: Look) -> None:
    nothing = dict.fromkeys(("deployment", "budget", "configuration", "secret"), ())
    assert seen(look, nothing).state == NOT_APPLICABLE


@pytest.mark.parametrize(
    ("selector", "is_selected"),
    [
        (None, True),
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_selectors_select_as_those_of_kubernetes(
    selector: object,
    is_selected: bool,  # noqa: FBT001 - a column
) -> None:
    assert selects(selector, {"a": "1"}) is is_selected
