"""Objects are read strictly: what is wrong has a file, a line, an object and a field."""

import os
from pathlib import Path

import pytest

from proxy.sources.directory import SETTLE_S, UNSETTLED_S_MAX, ManifestDirectory
from proxy.sources.pod import Probe
from proxy.sources.strict import Fault, FaultsError
from tests.unit.policy.objects import faults_of, loaded, pod, policies

LIST = """
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: x}
- apiVersion: security.istio.io/v1beta1
  kind: AuthorizationPolicy
  metadata:
    name: in-list
    namespace: shop
  spec:
    rules:
    - to:
      - operation:
          paths: [7]
"""


def test_lists_documents_and_json_are_read_and_unknown_kinds_counted(tmp_path: Path) -> None:
    json = '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}'
    objects = loaded(tmp_path, LIST, policies("a") + policies("b"), json)
    names = [each.meta.name for each in objects.authorization_policies]
    assert names == ["in-list", "a", "b"]
    assert objects.skipped == {"ConfigMap": 1, "Secret": 1}


def test_a_fault_has_file_line_object_and_field(tmp_path: Path) -> None:
    (each,) = loaded(tmp_path, LIST).authorization_policies
    assert each.faults == (
        Fault(
            "0.yaml",
            17,
            "AuthorizationPolicy shop/in-list",
            "spec.rules[0].to[0].operation.paths[0]",
            "must be a string: put 7 in quotes",
        ),
    )


@pytest.mark.parametrize(
    ("spec", "field", "text"),
    [
        ("{targetRefs: [{kind: Service}]}", "targetRefs", "is not supported"),
        ("{targetRef: {kind: Service}}", "targetRef", "is not supported"),
        ("{action: CUSTOM}", "action", "'CUSTOM' is none of ALLOW, DENY, AUDIT"),
        ("{provider: {name: x}}", "provider", "is not supported"),
        ("{rulez: []}", "rulez", "is not supported"),
        (
            "{rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}",
            "rules[0].from[0].source.requestPrincipals",
            "is not supported",
        ),
        (
            "{rules: [{from: [{source: {notRemoteIpBlocks: ['10.0.0.1']}}]}]}",
            "rules[0].from[0].source.notRemoteIpBlocks",
            "is not supported",
        ),
        (
            "{rules: [{from: [{source: {}}]}]}",
            "rules[0].from[0]",
            "has no field (leave the whole list out to match everything)",
        ),
        (
            "{rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]}",
            "rules[0].from[0].source.serviceAccounts",
            "cannot stand beside principals or namespaces",
        ),
        (
            "{rules: [{from: [{source: {serviceAccounts: ['a*']}}]}]}",
            "rules[0].from[0].source.serviceAccounts[0]",
            "'a*' is no SERVICEACCOUNT or NAMESPACE/SERVICEACCOUNT",
        ),
        (
            "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}",
            "rules[0].from[0].source.ipBlocks[0]",
            "'10.0.0.0/33' is no address and no CIDR block",
        ),
        (
            "{rules: [{to: [{operation: {ports: ['70000']}}]}]}",
            "rules[0].to[0].operation.ports[0]",
            "'70000' is no port",
        ),
        (
            "{rules: [{to: [{operation: {methods: []}}]}]}",
            "rules[0].to[0].operation.methods",
            "is an empty list",
        ),
        (
            "{rules: [{to: [{operation: {hosts: ['']}}]}]}",
            "rules[0].to[0].operation.hosts[0]",
            "is empty",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['/a*b']}}]}]}",
            "rules[0].to[0].operation.paths[0]",
            "'/a*b' has a * elsewhere than at its beginning or its end",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]}",
            "rules[0].to[0].operation.paths[0]",
            "'/{**}/{*}' is no template: {*} is a whole segment, {**} the last operator",
        ),
        (
            "{rules: [{when: [{key: 'request.auth.claims[iss]', values: [x]}]}]}",
            "rules[0].when[0].key",
            "'request.auth.claims[iss]' is not supported",
        ),
        (
            "{rules: [{when: [{key: remote.ip, values: [10.0.0.1]}]}]}",
            "rules[0].when[0].key",
            "'remote.ip' is not supported",
        ),
        (
            "{rules: [{when: [{key: source.ip}]}]}",
            "rules[0].when[0]",
            "has neither values nor notValues",
        ),
        ("{selector: {matchExpressions: []}}", "selector.matchExpressions", "is not supported"),
        ("{action: DENY, action: ALLOW}", "action", "stands there twice"),
    ],
)
def test_what_a_policy_says_and_the_proxy_cannot_do_is_a_fault(
    tmp_path: Path, spec: str, field: str, text: str
) -> None:
    (each,) = loaded(tmp_path, policies("p", spec)).authorization_policies
    assert [(f.object, f.field, f.text) for f in each.faults] == [
        ("AuthorizationPolicy shop/p", f"spec.{field}", text)
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "0.yaml:2: while parsing a flow node did not find expected node content"),
        ("a: 1", "0.yaml:1: is no Kubernetes object: it has no kind and apiVersion"),
        ("- 1", "0.yaml:1: must be an object"),
        (
            "apiVersion: security.istio.io/v2\nkind: PeerAuthentication",
            "0.yaml:1: PeerAuthentication of 'security.istio.io/v2' is not supported (v1, v1beta1)",
        ),
        ("kind: Pod\napiVersion: v1\nmetadata: {}", "0.yaml:3: metadata: has no name"),
        (
            "a: &x {kind: Pod}\nb: *x",
            "0.yaml:2: is an alias (*name), which is not read",
        ),
    ],
)
def test_what_is_no_object_is_a_fault_of_the_file(tmp_path: Path, text: str, sentence: str) -> None:
    assert [str(fault) for fault in faults_of(tmp_path, text)] == [sentence]


def test_an_object_that_stands_there_twice_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, policies("p"), policies("p"))
    assert str(fault) == "1.yaml:1: AuthorizationPolicy shop/p: stands in 0.yaml:1, too"


def test_a_bad_annotation_for_dry_runs_is_a_fault(tmp_path: Path) -> None:
    text = policies("p").replace(
        "namespace: shop", "namespace: shop, annotations: {istio.io/dry-run: 'yes'}"
    )
    (each,) = loaded(tmp_path, text).authorization_policies
    assert "neither true nor false" in each.faults[0].text


PROBED = """containers: [
  {name: app, ports: [{name: http, containerPort: 8080}],
   livenessProbe: {httpGet: {path: /live, port: http}},
   readinessProbe: {tcpSocket: {port: 8080}},
   startupProbe: {httpGet: {port: 81}}}]"""


def test_a_pod_tells_its_addresses_account_and_probes(tmp_path: Path) -> None:
    (each,) = loaded(tmp_path, pod("a", spec=PROBED)).pods
    assert (each.ips, each.service_account, each.is_meshed) == (("10.0.0.1",), "web", False)
    assert each.probes == (Probe(8080, "/live"), Probe(81, "/"))


@pytest.mark.parametrize(
    ("text", "ips"),
    [
        (pod("a"), ("10.0.0.1",)),
        (pod("a", spec="hostNetwork: true, containers: []"), ()),
        (pod("a", phase="Succeeded"), ()),
    ],
)
def test_addresses_that_are_not_a_pods_own_are_left_out(
    tmp_path: Path, text: str, ips: tuple[str, ...]
) -> None:
    assert loaded(tmp_path, text).pods[0].ips == ips


@pytest.mark.parametrize(
    ("spec", "annotation", "is_meshed"),
    [
        ("containers: [{name: app}]", "", False),
        ("containers: [{name: app}, {name: remora-proxy}]", "", True),
        ("initContainers: [{name: remora-proxy}], containers: []", "", True),
        ("containers: []", "remora.dev/status: injected", True),
        ("containers: []", "remora.dev/status: skipped", False),
    ],
)
def test_a_pod_is_meshed_by_its_container_or_its_annotation(
    tmp_path: Path, spec: str, annotation: str, *, is_meshed: bool
) -> None:
    text = pod("a", spec=spec).replace("labels:", f"annotations: {{{annotation}}}, labels:")
    assert loaded(tmp_path, text).pods[0].is_meshed is is_meshed


# ---- the directory ------------------------------------------------------------------------------


class Looker:
    """A directory and a clock that the test holds."""

    def __init__(self, path: Path) -> None:
        self.source = ManifestDirectory(path)
        self.source.load()
        self.now_s = 0.0
        self.changes = 0

    def look(self, after_s: float = SETTLE_S) -> int:
        self.now_s += after_s
        self.source.look(self.now_s, self._on_change)
        return self.changes

    def _on_change(self) -> None:
        self.changes += 1
        self.source.load()


def test_a_change_is_read_once_it_stands_still(tmp_path: Path) -> None:
    looker = Looker(tmp_path)
    (tmp_path / "a.yaml").write_text(policies("a"))
    assert looker.look() == 0
    assert looker.source.is_settling
    (tmp_path / "a.yaml").write_text(policies("a") + policies("b"))
    assert looker.look() == 0
    assert looker.look(SETTLE_S / 2) == 0
    assert looker.look() == 1
    assert looker.look() == 1
    assert not looker.source.is_settling


def test_the_kubelets_swap_of_a_link_is_a_change(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "a.yaml").write_text(policies("a" * number))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    looker = Looker(tmp_path)
    (tmp_path / "..new").symlink_to("..2")
    os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105 - atomic, and says so
    looker.look()
    assert looker.look() == 1
    assert looker.source.load().authorization_policies[0].meta.name == "aa"


def test_a_directory_that_never_stands_still_is_read_all_the_same(tmp_path: Path) -> None:
    looker = Looker(tmp_path)
    while looker.now_s < 3 * UNSETTLED_S_MAX:
        # Each is new while the one before is still there: no inode is used again.
        (tmp_path / ".next").write_text(policies("a"))
        os.replace(tmp_path / ".next", tmp_path / "a.yaml")  # noqa: PTH105 - atomic, and says so
        (tmp_path / ".kept").unlink(missing_ok=True)
        os.link(tmp_path / "a.yaml", tmp_path / ".kept")
        looker.look()
    assert looker.changes in {2, 3}


def test_a_file_that_grows_is_waited_for(tmp_path: Path) -> None:
    looker = Looker(tmp_path)
    with (tmp_path / "a.yaml").open("w") as file:
        while looker.now_s < 3 * UNSETTLED_S_MAX:
            file.write(f"# {looker.now_s}\n")
            file.flush()
            assert looker.look() == 0
    assert looker.look() == 1


def test_other_files_are_not_looked_at(tmp_path: Path) -> None:
    looker = Looker(tmp_path)
    for name in ("README.md", ".a.yaml"):
        (tmp_path / name).write_text("{")
    (tmp_path / "folder.yaml").mkdir()
    looker.look()
    assert looker.look() == 0


def test_a_directory_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match="is no directory to read"):
        ManifestDirectory(tmp_path / "none").load()
