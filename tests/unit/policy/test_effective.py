"""What applies to a pod: modes by level, policies by selector, the mesh by address."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.policy.effective import Effective, Who, effective
from proxy.sources.pod import Probe
from proxy.sources.strict import FaultsError
from tests.unit.policy.objects import loaded, peers, pod, policies

WHO = Who("shop", labels={"app": "web"})
STRICT, DISABLE = "{mode: STRICT}", "{mode: DISABLE}"
OURS = "selector: {matchLabels: {app: web}}"
OTHERS = "selector: {matchLabels: {app: db}}"
ROOT = "istio-system"


def found(tmp_path: Path, *texts: str, who: Who = WHO) -> Effective:
    return effective(loaded(tmp_path, *texts), who)


ALL = peers("all", f"{{mtls: {STRICT}}}")
PORTS = f"portLevelMtls: {{81: {DISABLE}, '82': {{mode: UNSET}}}}"


@pytest.mark.parametrize(
    ("texts", "default", "ports"),
    [
        ([], "permissive", {}),
        ([peers("mesh", f"{{mtls: {STRICT}}}", ROOT)], "strict", {}),
        ([ALL, peers("mesh", f"{{mtls: {DISABLE}}}", ROOT)], "strict", {}),
        ([ALL, peers("own", f"{{{OURS}, mtls: {DISABLE}}}")], "disable", {}),
        ([ALL, peers("not", f"{{{OTHERS}, mtls: {DISABLE}}}")], "strict", {}),
        # UNSET and no mode inherit
        ([ALL, peers("own", f"{{{OURS}}}")], "strict", {}),
        ([ALL, peers("own", f"{{{OURS}, mtls: {{mode: UNSET}}}}")], "strict", {}),
        ([ALL, peers("own", f"{{{OURS}, {PORTS}}}")], "strict", {81: "disable"}),
        # a selector in the root namespace chooses nobody
        ([peers("root", f"{{{OURS}, mtls: {STRICT}}}", ROOT)], "permissive", {}),
        ([peers("foreign", f"{{mtls: {STRICT}}}", "cart")], "permissive", {}),
    ],
)
def test_the_mode_is_that_of_the_nearest_level(
    tmp_path: Path, texts: list[str], default: str, ports: Mapping[int, str]
) -> None:
    got = found(tmp_path, *texts)
    assert (got.mtls_default, got.mtls_ports) == (default, ports)


@pytest.mark.parametrize(
    ("texts", "default", "ports"),
    [
        ([], "strict", {80: "permissive", 81: "strict"}),
        ([peers("own", f"{{{OURS}, {PORTS}}}")], "strict", {80: "permissive", 81: "disable"}),
        ([peers("mesh", "{mtls: {mode: PERMISSIVE}}", ROOT)], "permissive", {}),
    ],
)
def test_flags_hold_where_no_object_says(
    tmp_path: Path, texts: list[str], default: str, ports: Mapping[int, str]
) -> None:
    flags = {80: "permissive", 81: "strict"}
    got = found(tmp_path, *texts, who=WHO._replace(mtls_default="strict", mtls_ports=flags))
    assert (got.mtls_default, got.mtls_ports) == (default, ports)


def test_our_flags_say_nothing_of_other_pods(tmp_path: Path) -> None:
    who = WHO._replace(mtls_default="disable")
    got = found(tmp_path, pod("web-2", ip="10.0.0.7"), who=who)
    assert list(got.mesh) == ["10.0.0.7"]


def test_the_oldest_of_two_counts_and_the_other_is_told_of(tmp_path: Path) -> None:
    got = found(
        tmp_path,
        peers("young", f"{{mtls: {DISABLE}}}", created="'2026-02-01T00:00:00Z'"),
        peers("old", f"{{mtls: {STRICT}}}", created="2026-01-01T00:00:00Z"),
    )
    assert got.mtls_default == "strict"
    assert got.mtls_from == ("PeerAuthentication shop/old",)
    (note,) = got.notes
    assert note.startswith("PeerAuthentication shop/young is ignored: PeerAuthentication shop/old")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("{portLevelMtls: {81: {mode: STRICT}}}", "needs a selector"),
        ("{mtls: {mode: strict}}", "'strict' is none of UNSET, DISABLE, PERMISSIVE, STRICT"),
        ("{mtls: {mod: STRICT}}", "is not supported"),
        ("{selector: {matchLabels: {app: web}}, portLevelMtls: {http: {}}}", "is no port"),
    ],
)
def test_a_fault_in_what_applies_stops_the_change(tmp_path: Path, spec: str, text: str) -> None:
    with pytest.raises(FaultsError) as caught:
        found(tmp_path, peers("p", spec))
    assert caught.value.faults[0].text == text


def test_a_fault_in_what_applies_to_others_is_a_note(tmp_path: Path) -> None:
    got = found(tmp_path, policies("p", "{action: CUSTOM}", "cart"))
    assert got.policies == ()
    assert "AuthorizationPolicy cart/p: spec.action" in got.notes[0]


def test_policies_of_our_namespace_and_of_the_root_apply_by_selector(tmp_path: Path) -> None:
    got = found(
        tmp_path,
        policies("all"),
        policies("ours", f"{{{OURS}}}"),
        policies("others", f"{{{OTHERS}}}"),
        policies("empty", "{selector: {matchLabels: {}}}"),
        policies("root-ours", f"{{{OURS}}}", ROOT),
        policies("root-others", f"{{{OTHERS}}}", ROOT),
        policies("foreign", "", "cart"),
    )
    names = [each.meta.name for each in got.policies]
    assert names == ["all", "ours", "empty", "root-ours"]


def test_another_root_namespace_may_be_named(tmp_path: Path) -> None:
    who = Who("shop", labels={}, root_namespace="mesh")
    got = found(tmp_path, policies("a", "", "mesh"), policies("b", "", ROOT), who=who)
    assert [each.meta.name for each in got.policies] == ["a"]


# ---- our own Pod, and others --------------------------------------------------------------------

PROBED = "containers: [{name: app, livenessProbe: {httpGet: {path: '/a/../live?x', port: 81}}}]"


def test_our_own_pod_tells_labels_identity_and_probes(tmp_path: Path) -> None:
    who = Who("shop", "web-1", trust_domain="example.org")
    got = found(tmp_path, pod("web-1", spec=PROBED), policies("p", f"{{{OURS}}}"), who=who)
    assert got.me.identity == "spiffe://example.org/ns/shop/sa/web"
    assert got.probes == (Probe(81, "/live"),)
    assert len(got.policies) == 1


def test_without_our_pod_and_without_labels_nothing_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match="is not among the manifests"):
        found(tmp_path, who=Who("shop", "web-1"))
    assert found(tmp_path, who=Who("shop", "web-1", {"app": "web"})).me.identity == ""


def test_a_probe_whose_path_can_be_read_in_several_ways_is_a_fault(tmp_path: Path) -> None:
    text = pod("web-1", spec=PROBED.replace("/a/../live", "/a%2fb"))
    with pytest.raises(FaultsError, match="can be read in several ways"):
        found(tmp_path, text, who=Who("shop", "web-1"))


def test_the_mesh_is_every_meshed_pod_that_takes_mutual_tls(tmp_path: Path) -> None:
    got = found(
        tmp_path,
        pod("a", "10.0.0.1", account="a"),
        pod("plain", "10.0.0.2", spec="containers: [{name: app}]"),
        pod("c", "10.0.0.3", namespace="cart", account="c"),
        pod("db", "fd00::4", labels="{app: db}", account="db"),
        peers("none", f"{{mtls: {DISABLE}}}", "cart"),
        peers("port", f"{{{OTHERS}, portLevelMtls: {{5432: {DISABLE}}}}}"),
    )
    assert got.mesh == {
        "10.0.0.1": "spiffe://cluster.local/ns/shop/sa/a",
        "fd00::4": "spiffe://cluster.local/ns/shop/sa/db",
    }
    assert got.mesh_plain == {("fd00::4", 5432)}


def test_an_address_of_two_identities_is_not_meshed(tmp_path: Path) -> None:
    got = found(tmp_path, pod("a", account="a"), pod("b", account="b"))
    assert got.mesh == {}
    assert "10.0.0.1 belongs to pods of two identities" in got.notes[0]
