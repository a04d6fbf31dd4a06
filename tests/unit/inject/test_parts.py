"""What gets into a pod, and that the programs in it take the words they are given."""

import re
from pathlib import Path
from typing import Any

import pytest

from iptables import options as init_options
from proxy.config import read_config
from proxy.sources.pod import CONTAINER
from tests.unit.inject.manifests import container, environment, injected, planned, pod

Pod = dict[str, Any]

# Kubernetes' Pod Security Standards, profile "restricted", and what "baseline" lets be added.
BASELINE = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}


def words(notes: dict[str, object], **spec: object) -> dict[str, str]:
    """Return the proxy's variables as the kubelet would give them."""
    found = environment(injected(pod(notes, **spec)))
    return {name: each if isinstance(each, str) else "2" for name, each in found.items()}


def test_native_containers_are_the_first_two_init_containers() -> None:
    made = injected(pod(initContainers=[{"name": "schema"}]))
    names = [each["name"] for each in made["spec"]["initContainers"]]
    assert names == ["remora-init", "remora-proxy", "schema"]
    assert container(made, "remora-proxy")["restartPolicy"] == "Always"
    assert "postStart" not in container(made, "remora-proxy")["lifecycle"]


def test_a_classic_proxy_is_the_first_container_and_holds_the_others_back() -> None:
    made = injected(pod({"sidecar": "classic"}, initContainers=[{"name": "schema"}]))
    assert [each["name"] for each in made["spec"]["containers"]] == ["remora-proxy", "app"]
    assert [each["name"] for each in made["spec"]["initContainers"]] == ["schema", "remora-init"]
    proxy = container(made, "remora-proxy")
    assert "restartPolicy" not in proxy
    assert proxy["lifecycle"]["postStart"]["exec"]["command"] == ["remora", "ctl", "wait"]


def test_only_the_hook_of_a_classic_proxy_waits_for_the_end_of_the_drain() -> None:
    """A native one gets SIGTERM when the applications have gone, a classic one with them."""
    for sidecar, words in (("native", []), ("classic", ["--wait"])):
        proxy = container(injected(pod({"sidecar": sidecar})), "remora-proxy")
        command = proxy["lifecycle"]["preStop"]["exec"]["command"]
        assert command == ["remora", "ctl", "drain", *words]


def test_the_proxy_is_known_by_its_name_to_other_proxies() -> None:
    assert container(injected(pod()), CONTAINER)


def test_the_proxy_may_do_what_restricted_namespaces_allow_and_no_more() -> None:
    security = container(injected(pod()), "remora-proxy")["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


def test_only_the_init_step_needs_more_than_baseline_and_it_needs_two_capabilities() -> None:
    capabilities = container(injected(pod()), "remora-init")["securityContext"]["capabilities"]
    assert capabilities["drop"] == ["ALL"]
    assert set(capabilities["add"]) - BASELINE == {"NET_ADMIN", "NET_RAW"}


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"identity-source": "csi", "mtls": "strict", "access-log": "json"},
        {"proxy-cpu-limit": "2", "opaque-ports": "3306", "proxy-log-level": "debug"},
        {"drain-delay": "1m", "sidecar": "classic"},
    ],
)
def test_the_proxy_takes_its_variables(notes: dict[str, object]) -> None:
    config = read_config([], words(notes) | {"REMORA_NAMESPACE": "shop"})
    assert config.control == "/run/remora/control.sock"
    assert (config.mesh.identity is not None) == ("identity-source" in notes)


def test_the_init_step_takes_its_flags() -> None:
    notes = {
        "skip-inbound-ports": "9090,9100-9110",
        "skip-outbound-ports": "3306",
        "skip-subnets": "169.254.169.254,10.0.0.0/8",
    }
    command, *flags = container(injected(pod(notes)), "remora-init")["args"]
    assert command == "init"
    spec = init_options.parse(flags, {}).spec
    assert len(spec.inbound_exclude_ports) == 2
    assert len(spec.outbound_exclude_cidrs) == 2


@pytest.mark.parametrize(
    ("grace", "delay", "deadline"),
    [
        (None, "5s", "28s"),
        (60, "5s", "58s"),
        (5, "1500ms", "3s"),
        (1, "500ms", "1s"),
        (0, "500ms", "1s"),
    ],
)
def test_the_drain_ends_before_the_kubelet_kills(
    grace: int | None, delay: str, deadline: str
) -> None:
    found = words({}, terminationGracePeriodSeconds=grace)
    assert found["REMORA_DRAIN_DELAY"] == delay
    assert found["REMORA_DRAIN_DEADLINE"] == deadline


def test_an_owner_hears_of_a_drain_delay_that_does_not_fit() -> None:
    assert not planned(pod({"drain-delay": "20s"})).notes
    (note,) = planned(pod({"drain-delay": "40s"})).notes
    assert "14000ms, not of 40s" in note


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_pod_that_ends_by_itself_waits_for_nobody(policy: str) -> None:
    assert words({}, restartPolicy=policy)["REMORA_DRAIN_DELAY"] == "0s"


def test_workers_follow_a_cpu_limit_and_nothing_else() -> None:
    assert "REMORA_WORKERS" not in environment(injected(pod()))
    found = environment(injected(pod({"proxy-cpu-limit": "1500m"})))["REMORA_WORKERS"]
    assert found == {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}}


def test_the_certificate_of_a_secret_is_where_the_proxy_looks_for_it() -> None:
    made = injected(pod({"identity-source": "secret", "identity-secret": "web-tls"}))
    (volume,) = [each for each in made["spec"]["volumes"] if each["name"] == "remora-identity"]
    assert volume["secret"] == {"secretName": "web-tls"}
    mounts = {each["name"]: each for each in container(made, "remora-proxy")["volumeMounts"]}
    assert mounts["remora-identity"]["mountPath"] == environment(made)["REMORA_IDENTITY"]


def as_the_kubelet_starts_it(given: Pod) -> dict[str, str]:
    """Return the proxy's variables with what the kubelet knows in them."""
    known = {
        "metadata.name": "web-1",
        "metadata.namespace": "shop",
        "status.podIPs": "10.0.0.7",
        "spec.nodeName": "node-1",
        "spec.serviceAccountName": "web",
    }
    made: dict[str, str] = {}
    for name, each in environment(given).items():
        text = each if isinstance(each, str) else known[each["fieldRef"]["fieldPath"]]
        made[name] = re.sub(r"\$\((\w+)\)", lambda match: made[match[1]], text)
    return made


def test_a_proxy_with_manifests_knows_where_they_are_and_who_it_is_before_anybody_lists_it() -> (
    None
):
    given = pod({"manifests": "mesh"}, containers=[probed({"path": "/live", "port": "http"})])
    given["metadata"]["labels"] = {"app": "web", "empty": ""}
    found = read_config([], as_the_kubelet_starts_it(injected(given)))
    assert found.policy.manifests == Path("/etc/remora/manifests")
    assert found.policy.pod == ("shop", "web-1")
    assert found.policy.labels == {"app": "web", "empty": "", "remora.dev/injected": "true"}
    assert found.mesh.probes == ((8080, b"/live"),)


def test_the_config_map_is_mounted_where_the_proxy_reads() -> None:
    made = injected(pod({"manifests": "mesh", "sidecar": "classic"}))
    (volume,) = [each for each in made["spec"]["volumes"] if each["name"] == "remora-manifests"]
    assert volume["configMap"] == {"name": "mesh"}
    mounts = {each["name"]: each for each in container(made, "remora-proxy")["volumeMounts"]}
    assert mounts["remora-manifests"]["mountPath"] == environment(made)["REMORA_MANIFESTS"]
    assert mounts["remora-manifests"]["readOnly"] is True


def test_a_proxy_without_manifests_is_told_of_none() -> None:
    assert (
        not {"REMORA_MANIFESTS", "REMORA_POD", "REMORA_LABELS"}
        & environment(injected(pod())).keys()
    )


def test_no_application_mounts_what_is_the_proxys() -> None:
    made = injected(pod({"identity-source": "csi", "manifests": "mesh"}))
    assert "volumeMounts" not in container(made, "app")
    assert container(made, "app") == {"name": "app", "image": "app:1"}


def test_every_volume_that_is_mounted_is_there_and_none_is_in_vain() -> None:
    made = injected(pod({"identity-source": "csi", "manifests": "mesh"}))
    ours = (container(made, "remora-init"), container(made, "remora-proxy"))
    mounted = {mount["name"] for each in ours for mount in each["volumeMounts"]}
    assert mounted == {each["name"] for each in made["spec"]["volumes"]}


def test_labels_and_annotations_that_are_there_stay_what_they_are() -> None:
    given = pod()
    name = "kubectl.kubernetes.io/default-container"
    given["metadata"]["annotations"][name] = "other"
    assert injected(given)["metadata"]["annotations"][name] == "other"


def probed(*gets: dict[str, object], **more: object) -> dict[str, object]:
    """Return a container that the kubelet asks over HTTP."""
    names = ("livenessProbe", "readinessProbe", "startupProbe")
    probes = {name: {"httpGet": get} for name, get in zip(names, gets, strict=False)}
    return {"name": "app", "ports": [{"name": "http", "containerPort": 8080}], **probes, **more}


STRICT: dict[str, object] = {"identity-source": "csi", "mtls": "strict"}


def test_the_proxy_is_told_of_everything_that_the_kubelet_asks_over_http() -> None:
    hook = {"preStop": {"httpGet": {"path": "bye", "port": "8081"}}}
    gets: tuple[dict[str, object], ...] = (
        {"path": "/live?full=1", "port": "http"},
        {"port": 8080},
        {"path": "/live", "port": 1},
    )
    found = words(STRICT, containers=[probed(*gets, lifecycle=hook)])
    assert found["REMORA_PROBES"] == "1/live,8080/,8080/live?full=1,8081/bye"
    assert len(read_config([], found).mesh.probes) == 4


def test_the_proxy_is_not_told_of_probes_over_tls_or_without_a_certificate() -> None:
    secure = probed({"path": "/live", "port": 8443, "scheme": "HTTPS"})
    assert "REMORA_PROBES" not in words(STRICT, containers=[secure])
    assert "REMORA_PROBES" not in words({}, containers=[probed({"port": 8080})])


@pytest.mark.parametrize("get", [{"path": "/a,b", "port": 80}, {"path": "/x", "port": "nobody"}])
def test_an_owner_hears_of_a_probe_that_strict_refuses(get: dict[str, object]) -> None:
    outcome = planned(pod(STRICT, containers=[probed(get)]))
    assert "refuses the probes" in outcome.notes[0]
