"""What the chart installs: accepted by Kubernetes, and of one piece."""

import json
import re

import kubernetes_validate
import pytest

from deploy import rendering
from inject.reasons import SYSTEM_NAMESPACES
from inject.settings import GROUP, IMAGE, INJECTED
from inject.webhook import options
from tests.unit.deploy import standards
from tests.unit.deploy.charts import (
    RENDERED,
    asked_about,
    each_set,
    objects,
    one,
    template,
    webhook,
)
from tests.unit.inject.manifests import container, injected, planned, pod

# The first one with native sidecars, and later ones. Strict: an unknown field fails.
VERSIONS = ("1.29.0", "1.31.0", "1.33.0", "1.35.0", "1.37.0")
NAME = "remora-webhook"
SECRET = "remora-webhook-tls"  # noqa: S105 - a name
# Of others' definitions, which no schema of Kubernetes has.
DEFINED_ELSEWHERE = ("cert-manager.io/v1", "monitoring.coreos.com/v1")
SELF_SIGNED = ("default", "ha", "everything")
WITH_DIRECTORY = ("cert-manager", "cert-manager-own", "provided")
# What `remora webhook` takes besides the settings of `remora inject`.
FLAGS = {
    *("--tls-dir", "--self-signed", "--namespace", "--service", "--secret", "--configuration"),
    *("--api-server", "--api-ca", "--api-token", "--log-level", "--shutdown-delay"),
}


def arguments(name: str) -> dict[str, str]:
    """Return the flags that the webhook is started with."""
    command, *words = webhook(name)["args"]
    assert command == "webhook"
    pairs = [word.partition("=") for word in words]
    return {flag: text for flag, _, text in pairs}


# ---- each object --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_object(version: str) -> None:
    # Sets of values have most of their objects in common.
    every = {json.dumps(each): (name, each) for name in RENDERED for each in objects(name)}
    known = [
        (name, each) for name, each in every.values() if each["apiVersion"] not in DEFINED_ELSEWHERE
    ]
    for name, each in known:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as fault:
            pytest.fail(f"{name}: {each['kind']}: {fault}")
    assert {each["kind"] for _, each in known} >= {"Deployment", "NetworkPolicy", "ClusterRole"}


@each_set
def test_everything_is_called_and_labelled_alike(name: str) -> None:
    for each in objects(name):
        meta = each["metadata"]
        assert meta["name"] in {NAME, "remora-proxy"}
        assert meta["labels"]["app.kubernetes.io/name"] == "remora"
        is_of_the_cluster = "Cluster" in each["kind"] or each["kind"].endswith("Configuration")
        assert ("namespace" not in meta) == is_of_the_cluster
        assert meta.get("namespace", rendering.NAMESPACE) == rendering.NAMESPACE


@each_set
def test_nothing_is_random_and_nothing_is_secret(name: str) -> None:
    assert "Secret" not in {each["kind"] for each in objects(name)}


# ---- the pod ------------------------------------------------------------------------------------


@each_set
def test_the_webhook_is_what_restricted_namespaces_allow(name: str) -> None:
    assert list(standards.faults(template(name))) == []


@each_set
def test_the_webhook_writes_nowhere_and_is_never_root(name: str) -> None:
    context = webhook(name)["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 1337


def test_of_an_injected_pod_the_standard_forbids_the_init_step_alone() -> None:
    context = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"]},
    }
    given = pod(containers=[{"name": "app", "image": "app:1", "securityContext": context}])
    assert list(standards.faults(injected(given))) == [
        "remora-init.runAsNonRoot",
        "remora-init.runAsUser",
        "remora-init.capabilities.add",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostNetwork", True),
        ("volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
        ("containers", [{"name": "x", "ports": [{"hostPort": 1}]}]),
    ],
)
def test_the_table_of_the_standard_finds_what_it_forbids(field: str, value: object) -> None:
    assert list(standards.faults({"spec": {field: value}}))


@each_set
def test_the_webhook_does_not_wait_for_itself(name: str) -> None:
    outcome = planned(template(name))
    assert outcome.reason is not None
    assert outcome.reason.word == "disabled"


@each_set
def test_probes_and_monitors_find_the_ports_by_their_names(name: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in webhook(name)["ports"]}
    assert ports == {"https": 8443, "metrics": 15020}
    probes = {word: webhook(name)[f"{word}Probe"]["httpGet"] for word in ("startup", "readiness")}
    assert all(get == {"path": "/ready", "port": "metrics"} for get in probes.values())
    assert webhook(name)["livenessProbe"]["httpGet"] == {"path": "/live", "port": "metrics"}


@each_set
def test_every_volume_is_mounted(name: str) -> None:
    volumes = {each["name"]: each for each in template(name)["spec"].get("volumes", [])}
    mounts = {each["name"]: each["mountPath"] for each in webhook(name).get("volumeMounts", [])}
    assert volumes.keys() == mounts.keys()
    if "tls" in volumes:
        assert volumes["tls"]["secret"]["secretName"] == SECRET
        assert arguments(name)["--tls-dir"] == mounts["tls"]


# ---- what it is told ----------------------------------------------------------------------------


@each_set
def test_the_webhook_gets_only_flags_that_it_knows(name: str) -> None:
    settings = {option.flag: option for option in GROUP.options}
    for flag, text in arguments(name).items():
        assert flag in settings or flag in FLAGS
        if flag in settings:
            assert settings[flag].parse(text) == text


@each_set
def test_the_webhook_takes_its_command_line(name: str) -> None:
    words = webhook(name)["args"][1:]
    in_a_pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    _, faults = options.chosen(options.reader_of(words), in_a_pod)
    assert faults == []


@pytest.mark.parametrize("name", SELF_SIGNED)
def test_a_webhook_with_a_certificate_of_its_own_knows_the_names_of_the_chart(name: str) -> None:
    told = arguments(name)
    assert told["--self-signed"] == ""
    assert told["--namespace"] == rendering.NAMESPACE
    assert told["--service"] == one(name, "Service")["metadata"]["name"]
    assert told["--configuration"] == one(name, "MutatingWebhookConfiguration")["metadata"]["name"]
    assert told["--secret"] == SECRET


def test_what_is_injected_is_the_image_of_the_webhook_unless_said_otherwise() -> None:
    assert arguments("default")["--image"] == IMAGE.default == webhook("default")["image"]
    assert arguments("everything")["--image"] == "registry.example.org/team/remora:0.1.0-debug"


def test_every_setting_gets_to_the_webhook() -> None:
    assert arguments("everything").keys() >= {option.flag for option in GROUP.options}


# ---- who reaches whom ---------------------------------------------------------------------------


@each_set
def test_selectors_choose_the_pods_of_the_webhook(name: str) -> None:
    labels = template(name)["metadata"]["labels"].items()
    deployment, budget = one(name, "Deployment"), one(name, "PodDisruptionBudget")
    chosen = [
        deployment["spec"]["selector"]["matchLabels"],
        one(name, "Service")["spec"]["selector"],
    ]
    chosen.append(budget["spec"]["selector"]["matchLabels"])
    spread = template(name)["spec"]["topologySpreadConstraints"]
    chosen += [each["labelSelector"]["matchLabels"] for each in spread]
    assert all(each.items() <= labels for each in chosen)
    assert all(each == chosen[0] for each in chosen)


@each_set
def test_the_api_server_finds_the_webhook(name: str) -> None:
    service = one(name, "Service")
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {each["name"] for each in webhook(name)["ports"]}
    for entry in one(name, "MutatingWebhookConfiguration")["webhooks"]:
        where = entry["clientConfig"]["service"]
        assert where["name"] == service["metadata"]["name"]
        assert where["namespace"] == service["metadata"]["namespace"]
        assert (where["port"], where["path"]) == (port["port"], "/inject")


@pytest.mark.parametrize("name", SELF_SIGNED)
def test_a_webhook_may_keep_its_own_certificate_and_nothing_else(name: str) -> None:
    found = [
        (each["kind"], rule["resources"], rule.get("resourceNames"), rule["verbs"])
        for each in objects(name)
        for rule in each.get("rules", [])
    ]
    assert found == [
        ("ClusterRole", ["mutatingwebhookconfigurations"], [NAME], ["get", "patch"]),
        ("Role", ["secrets"], None, ["create"]),
        ("Role", ["secrets"], [SECRET], ["get", "update"]),
    ]
    account = one(name, "ServiceAccount")["metadata"]["name"]
    assert template(name)["spec"]["serviceAccountName"] == account
    assert template(name)["spec"]["automountServiceAccountToken"] is True
    for each in objects(name):
        if each["kind"].endswith("Binding"):
            assert each["roleRef"]["kind"] == each["kind"].removesuffix("Binding")
            subject = {"kind": "ServiceAccount", "name": account, "namespace": rendering.NAMESPACE}
            assert each["subjects"] == [subject]


@pytest.mark.parametrize("name", WITH_DIRECTORY)
def test_a_webhook_that_is_given_its_certificate_has_no_rights(name: str) -> None:
    assert not [each for each in objects(name) if "rules" in each]
    assert template(name)["spec"]["automountServiceAccountToken"] is False


def test_every_right_has_its_reason_above_it() -> None:
    lines = (rendering.CHART / "templates" / "rbac.yaml").read_text().splitlines()
    rights = [number for number, line in enumerate(lines) if line.startswith("- apiGroups")]
    assert len(rights) == 3
    assert all(lines[number - 1].startswith("# ") for number in rights)


# ---- which pods ---------------------------------------------------------------------------------


@each_set
def test_both_entries_follow_the_conventions(name: str) -> None:
    for entry in one(name, "MutatingWebhookConfiguration")["webhooks"]:
        assert entry["sideEffects"] == "None"
        assert entry["admissionReviewVersions"] == ["v1"]
        assert entry["matchPolicy"] == "Equivalent"
        assert entry["failurePolicy"] in {"Ignore", "Fail"}
        assert 1 <= entry["timeoutSeconds"] <= 30
        (rule,) = entry["rules"]
        assert (rule["operations"], rule["resources"], rule["scope"]) == (
            ["CREATE"],
            ["pods"],
            "Namespaced",
        )


def test_the_defaults_harm_nobody_when_the_webhook_is_down() -> None:
    for entry in one("default", "MutatingWebhookConfiguration")["webhooks"]:
        assert entry["failurePolicy"] == "Ignore"
        assert entry["reinvocationPolicy"] == "Never"
        assert entry["timeoutSeconds"] == 10


def test_whoever_fails_closed_has_several_on_different_nodes_and_some_left_after_a_drain() -> None:
    entry, *_ = one("ha", "MutatingWebhookConfiguration")["webhooks"]
    assert entry["failurePolicy"] == "Fail"
    replicas = one("ha", "Deployment")["spec"]["replicas"]
    assert replicas - one("ha", "PodDisruptionBudget")["spec"]["maxUnavailable"] >= 2
    hosts, _ = template("ha")["spec"]["topologySpreadConstraints"]
    assert hosts["topologyKey"] == "kubernetes.io/hostname"
    assert hosts["whenUnsatisfiable"] == "DoNotSchedule"


@pytest.mark.parametrize(
    ("of_namespace", "of_pod", "entries"),
    [
        ("enabled", "", ["namespaces.remora.dev"]),
        ("enabled", "enabled", ["namespaces.remora.dev"]),
        ("enabled", "disabled", []),
        ("", "", []),
        ("", "enabled", ["pods.remora.dev"]),
        ("", "disabled", []),
        ("disabled", "", []),
        ("disabled", "enabled", []),
    ],
)
def test_a_pod_is_asked_about_once_or_not_at_all(
    of_namespace: str, of_pod: str, entries: list[str]
) -> None:
    assert asked_about("default", "shop", of_namespace, of_pod) == entries


@each_set
@pytest.mark.parametrize("namespace", [*SYSTEM_NAMESPACES, rendering.NAMESPACE])
def test_namespaces_on_which_the_cluster_depends_are_never_asked_about(
    namespace: str, name: str
) -> None:
    for of_namespace in ("", "enabled"):
        assert not asked_about(name, namespace, of_namespace, "enabled")


def test_further_namespaces_may_be_left_out() -> None:
    assert not asked_about("everything", "monitoring", "enabled", "enabled")


# ---- certificates, monitors, network ------------------------------------------------------------


@pytest.mark.parametrize("name", ["cert-manager", "cert-manager-own"])
def test_cert_manager_signs_for_the_service_and_tells_the_api_server(name: str) -> None:
    certificate, service = one(name, "Certificate"), one(name, "Service")
    assert certificate["spec"]["secretName"] == SECRET
    assert (
        f"{service['metadata']['name']}.{rendering.NAMESPACE}.svc"
        in certificate["spec"]["dnsNames"]
    )
    notes = one(name, "MutatingWebhookConfiguration")["metadata"]["annotations"]
    where = f"{rendering.NAMESPACE}/{certificate['metadata']['name']}"
    assert notes["cert-manager.io/inject-ca-from"] == where


def test_cert_manager_uses_the_issuer_that_is_named_and_else_one_of_the_chart() -> None:
    named = {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "company"}
    assert one("cert-manager", "Certificate")["spec"]["issuerRef"] == named
    assert "Issuer" not in {each["kind"] for each in objects("cert-manager")}
    reference = one("cert-manager-own", "Certificate")["spec"]["issuerRef"]
    assert reference["name"] == one("cert-manager-own", "Issuer")["metadata"]["name"]


@each_set
def test_the_bundle_is_said_by_the_chart_only_where_it_is_provided(name: str) -> None:
    for entry in one(name, "MutatingWebhookConfiguration")["webhooks"]:
        assert ("caBundle" in entry["clientConfig"]) == (name == "provided")


def test_the_monitor_of_the_proxies_chooses_what_is_injected_by_name_and_by_port() -> None:
    proxies, _ = [each for each in objects("everything") if each["kind"] == "PodMonitor"]
    made = injected(pod())
    chosen = proxies["spec"]["selector"]["matchLabels"]
    assert chosen.items() <= made["metadata"]["labels"].items()
    assert chosen == {INJECTED: "true"}
    assert proxies["spec"]["namespaceSelector"] == {"any": True}
    (endpoint,) = proxies["spec"]["podMetricsEndpoints"]
    proxy = container(made, "remora-proxy")
    assert endpoint["port"] in {port["name"] for port in proxy["ports"]}
    (keep,) = endpoint["relabelings"]
    assert re.fullmatch(keep["regex"], proxy["name"])


def test_the_monitor_of_the_webhook_chooses_its_pods_and_its_port() -> None:
    _, own = [each for each in objects("everything") if each["kind"] == "PodMonitor"]
    chosen = own["spec"]["selector"]["matchLabels"]
    assert chosen.items() <= template("everything")["metadata"]["labels"].items()
    (endpoint,) = own["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in webhook("everything")["ports"]}


def test_monitors_need_a_definition_of_others_and_are_not_there_unasked() -> None:
    assert "PodMonitor" not in {each["kind"] for each in objects("default")}


def test_the_network_policy_lets_the_ports_in_and_only_whom_it_needs_out() -> None:
    spec = one("everything", "NetworkPolicy")["spec"]
    (incoming,) = spec["ingress"]
    names = {port["name"] for port in webhook("everything")["ports"]}
    assert {port["port"] for port in incoming["ports"]} == names
    assert spec["egress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]
    assert one("provided", "NetworkPolicy")["spec"]["egress"] == []
