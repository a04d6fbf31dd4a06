"""What is read of an injected pod, and that nothing of it is left out in silence."""

from typing import Any

import pytest

from tests.lifecycle.manifest import DEFAULT_CAPABILITIES, Facts, NotPlayedError, expanded, read_pod
from tests.lifecycle.pods import INIT, PROXY, container, meshed, pod, server
from tests.lifecycle.rules import Kind

FACTS = Facts("node-1", ("10.0.0.7", "fd00::7"), "10.0.0.1")


def read(raw: dict[str, Any]) -> dict[str, Any]:
    return {each.name: each for each in read_pod(raw, FACTS).containers}


def test_an_injected_pod_is_read_whole() -> None:
    found = read(meshed(server()))
    assert [(each.name, each.kind) for each in found.values()] == [
        (INIT, Kind.INIT),
        (PROXY, Kind.SIDECAR),
        ("app", Kind.MAIN),
    ]
    proxy, init = found[PROXY], found[INIT]
    assert (proxy.uid, proxy.gid, proxy.capabilities) == (1337, 1337, frozenset())
    assert proxy.is_root_read_only
    assert not proxy.may_gain_rights
    assert init.capabilities == {"NET_ADMIN", "NET_RAW"}
    assert proxy.startup.times.failures == 120
    assert proxy.pre_stop.command == ("remora", "ctl", "drain")


def test_the_downward_api_tells_what_only_the_kubelet_knows() -> None:
    raw = meshed(server(), annotations={"proxy-cpu-limit": "1500m"})
    env = read(raw)[PROXY].env
    assert env["NODE_NAME"] == "node-1"
    assert (env["POD_NAMESPACE"], env["POD_NAME"]) == ("shop", "web")
    assert env["REMORA_WORKERS"] == "2"


def test_a_container_that_says_nothing_has_the_rights_of_any_container() -> None:
    raw = pod({"name": "a", "command": ["true"]})
    assert read(raw)["a"].capabilities == DEFAULT_CAPABILITIES


@pytest.mark.parametrize(
    ("text", "result"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("x$(A)y", "x1y"), ("$A", "$A")],
)
def test_variables_are_put_into_words(text: str, result: str) -> None:
    assert expanded(text, {"A": "1"}) == result


@pytest.mark.parametrize(
    "raw",
    [
        pod({**container("a", "idle"), "workingDir": "/x"}),
        pod({**container("a", "idle"), "command": None}),
        pod(container("a", "idle", restartPolicy="Always")),
        pod(container("a", "idle"), hostNetwork=True),
        pod(container("a", "idle", securityContext={"privileged": True})),
        pod(container("a", "idle", securityContext={"runAsNonRoot": True})),
        pod(container("a", "idle", volumeMounts=[{"name": "v", "mountPath": "/v"}])),
        pod(container("a", "idle", livenessProbe={"grpc": {"port": 1}})),
        pod(container("a", "idle", env=[{"name": "X", "valueFrom": {"secretKeyRef": {}}}])),
    ],
)
def test_what_is_not_played_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(NotPlayedError):
        read(raw)
