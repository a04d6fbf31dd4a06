"""Cleanup leaves a namespace as init has found it."""

import pytest

from tests.netns import tables
from tests.netns.harness import Namespace
from tests.netns.test_rules_apply import add_foreign_rules

pytestmark = pytest.mark.root

DELIVERY = "::6/128"


def test_a_namespace_without_rules_has_none_again(pod: Namespace, backend: str) -> None:
    if backend == "legacy":  # the kernel keeps an empty legacy table, whoever asked for it
        tables.make_legacy_table(pod)
    before = tables.everything(pod)
    pod.init("--backend", backend, check=True)
    assert tables.everything(pod) != before
    pod.init("--cleanup", check=True)
    assert tables.everything(pod) == before


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_rules_of_others_are_all_that_is_left(pod: Namespace, variant: str, backend: str) -> None:
    tables.make_legacy_table(pod)
    add_foreign_rules(pod, variant)
    before = tables.everything(pod)
    pod.init("--backend", backend, check=True)
    pod.init("--backend", backend, "--inbound-exclude-ports", "80", check=True)
    pod.init("--cleanup", check=True)
    assert tables.everything(pod) == before


def test_an_empty_table_that_was_there_stays(pod: Namespace) -> None:
    for prefix in ("iptables", "ip6tables"):
        pod.run([f"{prefix}-nft", "-t", "nat", "-N", "PASSING"])
        pod.run([f"{prefix}-nft", "-t", "nat", "-X", "PASSING"])
    before = tables.rules_of(pod, "nft")
    assert "*nat" in before
    pod.init("--backend", "nft", check=True)
    pod.init("--cleanup", check=True)
    assert tables.rules_of(pod, "nft") == before


def test_rules_that_others_added_meanwhile_keep_their_table(pod: Namespace) -> None:
    pod.init("--backend", "nft", check=True)
    pod.run(["iptables-nft", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-j", "RETURN"])
    pod.init("--cleanup", check=True)
    assert "-A OUTPUT -p udp -j RETURN" in tables.rules_of(pod, "nft")
    assert "REMORA" not in tables.everything(pod)


def test_what_only_nft_can_show_keeps_its_table(pod: Namespace) -> None:
    pod.init("--backend", "nft", check=True)
    chain = "add chain ip nat theirs { type nat hook postrouting priority 90 ; }\n"
    pod.run(["nft", "-f", "-"], text=chain + "add rule ip nat theirs tcp dport 7 accept\n")
    pod.init("--cleanup", check=True)
    assert "tcp dport 7 accept" in pod.run(["nft", "list", "ruleset"]).stdout
    assert "REMORA" not in tables.everything(pod)


def test_what_every_backend_holds_is_taken_out(pod: Namespace) -> None:
    """Nothing but cleanup sees this: init itself lets no two backends stand side by side."""
    tables.make_legacy_table(pod)
    before = tables.everything(pod)
    texts = {
        backend: pod.init("--backend", backend, "--dry-run", check=True).stdout
        for backend in ("legacy", "nftables")
    }
    pod.init("--backend", "nft", check=True)
    for text in texts.values():
        for block in text.split("\n# /")[1:]:
            argv, _, given = block.partition("\n")
            pod.run([*f"/{argv}".split()], text=given)
    pod.init("--cleanup", check=True)
    assert tables.everything(pod) == before


def test_a_second_cleanup_finds_nothing(pod: Namespace) -> None:
    pod.init(check=True)
    pod.init("--cleanup", check=True)
    second = pod.init("--cleanup", check=True)
    assert second.stdout.startswith("remora init: nothing to remove")


def test_a_dry_run_of_cleanup_changes_nothing_and_prints(pod: Namespace, backend: str) -> None:
    pod.init("--backend", backend, check=True)
    before = tables.everything(pod)
    printed = pod.init("--cleanup", "--dry-run", check=True).stdout
    assert tables.everything(pod) == before
    assert "delete table ip remora" in printed or "-X REMORA_INBOUND" in printed
    assert f"ip -6 address del {DELIVERY}" in printed


def test_a_delivery_address_of_somebody_else_stays(pod: Namespace) -> None:
    pod.run(["ip", "-6", "address", "add", DELIVERY, "dev", "lo"])
    pod.init(check=True)
    removed = pod.init("--cleanup", check=True)
    assert "kept: remora has not added it" in removed.stdout
    assert DELIVERY in tables.everything(pod)


def test_a_delivery_address_that_was_lost_is_added_again(pod: Namespace) -> None:
    pod.init(check=True)
    pod.run(["ip", "-6", "address", "del", DELIVERY, "dev", "lo"])
    assert pod.init(check=True).stdout.startswith("remora init: applied")
    assert DELIVERY in tables.everything(pod)
