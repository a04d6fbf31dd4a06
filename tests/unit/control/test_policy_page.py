"""`remora ctl policy` on a terminal, the flags of policy, and the log of denials."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy import ctl_policy
from proxy.config import ConfigError, read_config
from proxy.engine import Denial
from proxy.errors import EXIT_USAGE, StartError
from proxy.policy import table
from proxy.policy.denials import Denials
from proxy.policy.describe import policy as described
from proxy.policy.options import PodName, PolicyConfig
from proxy.policy.watch import PolicyWatch
from tests.unit.control.conftest import ReadableLog
from tests.unit.policy.objects import peers, pod, policies


def watched(tmp_path: Path, log: ReadableLog, *texts: str) -> PolicyWatch:
    (tmp_path / "all.yaml").write_text("".join(texts))
    config = PolicyConfig(tmp_path, PodName("shop", "web-1"), "shop", None, "istio-system")
    watch = PolicyWatch(config, log.log)
    watch.start()
    return watch


def page(tmp_path: Path, log: ReadableLog, *texts: str) -> str:
    answer = described(watched(tmp_path, log, *texts), {"shop/p": {"denied": 3}})
    decoded: dict[str, Any] = json.loads(json.dumps(answer))
    return ctl_policy.policy(decoded)


def test_the_page_tells_who_we_are_and_what_applies(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    strict = peers("all", "{mtls: {mode: STRICT}}")
    text = page(tmp_path, readable_log, pod("web-1"), policies("p", "{action: DENY}"), strict)
    assert "spiffe://cluster.local/ns/shop/sa/web" in text
    assert "strict" in text
    assert "PeerAuthentication shop/all" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("shop/p")]
    assert row == ["shop/p", "DENY", "0", "3", "denied", "all.yaml:7"]


def test_without_policies_the_page_says_what_that_means(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    text = page(tmp_path, readable_log, pod("web-1"))
    assert "no authorization policy applies: everybody may do everything" in text


def test_policies_that_stay_the_same_keep_their_generation(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    watch = watched(tmp_path, readable_log, pod("web-1"), policies("p"))
    assert watch.judgement.generation == 1
    (tmp_path / "all.yaml").write_text(pod("web-1") + policies("p") + pod("other", "10.0.0.9"))
    watch.reload()
    assert watch.judgement.generation == 1
    assert len(watch.objects.pods) == 2
    (tmp_path / "all.yaml").write_text(pod("web-1"))
    watch.reload()
    assert watch.judgement.generation == 2


def test_more_than_the_data_plane_takes_is_a_fault(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    watch = watched(tmp_path, readable_log, pod("web-1"))
    methods = ",".join(f"M{number}" for number in range(table.VALUES_MAX + 1))
    spec = f"{{rules: [{{to: [{{operation: {{methods: [{methods}]}}}}]}}]}}"
    (tmp_path / "all.yaml").write_text(pod("web-1") + policies("p", spec))
    watch.reload()
    (fault,) = watch.faults
    assert fault.text == "16385 values in the policies of this pod; 16384 are the most"
    assert watch.judgement.policies == []


def test_what_cannot_be_used_at_the_start_ends_it(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    with pytest.raises(StartError, match=r"all\.yaml:1: ") as caught:
        watched(tmp_path, readable_log, "a: 1")
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--pod", "a/b"], "--pod: means nothing without --manifests"),
        (["--manifests", "m", "--pod", "a"], "--pod: 'a' is not NAMESPACE/NAME"),
        (["--manifests", "m", "--labels", "a"], "--labels: 'a' has 'a', which is not NAME=VALUE"),
        (
            ["--manifests", "m", "--pod", "a/b", "--namespace", "c"],
            "--namespace: 'c' contradicts --pod",
        ),
        (
            ["--no-interception", "--listen-inbound", "127.0.0.1:1=127.0.0.1:1"],
            "--listen: '127.0.0.1:1=127.0.0.1:1' forwards to itself",
        ),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(flags: list[str], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(flags, {})
    assert caught.value.faults == [fault]


def test_the_namespace_is_that_of_our_pod() -> None:
    words = ["--manifests", "m", "--pod", "a/b", "--labels", "x=1,y="]
    assert read_config(words, {}).policy == PolicyConfig(
        Path("m"), PodName("a", "b"), "a", {"x": "1", "y": ""}, "istio-system"
    )


def test_a_denial_is_a_line_with_both_identities(readable_log: ReadableLog) -> None:
    denial = Denial(
        7,
        0,
        "inbound",
        "request",
        "denied",
        2,
        "spiffe://cluster.local/ns/shop/sa/cart",
        ("10.0.0.9", 40312),
        ("10.0.0.7", 8080),
        "GET",
        "web",
        "/admin",
        3,
    )
    identity = "spiffe://cluster.local/ns/shop/sa/web"
    Denials(readable_log.log, lambda: identity).on_denials([("shop/p", denial)])
    (line,) = readable_log.lines
    assert line["event"] == "denied"
    assert line["source"] == denial.peer
    assert line["destination"] == identity
    assert (line["downstream"], line["address"]) == ("10.0.0.9:40312", "10.0.0.7:8080")
    assert (line["method"], line["target"], line["untold"]) == ("GET", "/admin", 3)
