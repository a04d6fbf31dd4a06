"""How rules come into a namespace: all of them, once, beside those of others, or not at all."""

import json
import shlex
from pathlib import Path

import pytest

from tests.netns import tables
from tests.netns.harness import Namespace, Pods
from tests.netns.stage import REMOTE_PORT, Stage

pytestmark = pytest.mark.root

EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
EXIT_NOT_APPLIED = 70

# Rules of others in the same table, one before ours and one in a chain of its own.
FOREIGN = """\
*nat
:OTHERS - [0:0]
-A PREROUTING -p tcp -m tcp --dport 7 -j OTHERS
-A OUTPUT -d 203.0.113.9/32 -p tcp -j OTHERS
-A OTHERS -p udp -j RETURN
COMMIT
*filter
-A INPUT -p udp -m udp --dport 7 -j DROP
COMMIT
"""


def add_foreign_rules(pod: Namespace, variant: str) -> None:
    pod.run([f"iptables-{variant}-restore", "--noflush"], text=FOREIGN)


def lines_of_others(rules: str) -> list[str]:
    return [line for line in rules.splitlines() if "REMORA" not in line]


def test_a_second_run_changes_nothing(pod: Namespace, backend: str) -> None:
    pod.init("--backend", backend, check=True)
    before = tables.everything(pod)
    second = pod.init("--backend", backend, check=True)
    assert tables.everything(pod) == before
    assert second.stdout.startswith("remora init: unchanged")


def test_a_second_run_keeps_the_counters(stage: Stage) -> None:
    stage.left.init("--backend", "nft", check=True)
    stage.from_left(stage.remote, REMOTE_PORT)
    counted = {"ipv4": "iptables-nft-save", "ipv6": "ip6tables-nft-save"}[stage.family]
    before = [line for line in stage.left.run([counted, "-c"]).stdout.splitlines() if "-A" in line]
    assert any(line.startswith("[1:") and "outbound-redirect" in line for line in before)
    stage.left.init("--backend", "nft", check=True)
    after = [line for line in stage.left.run([counted, "-c"]).stdout.splitlines() if "-A" in line]
    assert after == before


def test_the_order_of_words_makes_no_difference(pod: Namespace, backend: str) -> None:
    pod.init("--backend", backend, "--inbound-exclude-ports", "90,80,81,7-9", check=True)
    second = pod.init("--backend", backend, "--inbound-exclude-ports", "7,8,9,80-81,90", check=True)
    assert second.stdout.startswith("remora init: unchanged")


def test_without_a_backend_named_a_second_run_stays_with_the_first_ones(
    pod: Namespace, backend: str
) -> None:
    pod.init("--backend", backend, check=True)
    second = json.loads(pod.init("--json", check=True).stdout)
    assert (second["result"], second["backend"]) == ("unchanged", backend)


def test_other_flags_replace_the_earlier_rules(pod: Namespace, backend: str) -> None:
    pod.init("--backend", backend, "--inbound-exclude-ports", "9090", check=True)
    pod.init("--backend", backend, "--outbound-exclude-ports", "5432", check=True)
    replaced = tables.rules_of(pod, backend)
    pod.init("--cleanup", check=True)
    pod.init("--backend", backend, "--outbound-exclude-ports", "5432", check=True)
    assert tables.rules_of(pod, backend) == replaced
    assert "9090" not in replaced
    assert "5432" in replaced


def test_a_rule_that_somebody_took_out_is_put_back(pod: Namespace) -> None:
    pod.init("--backend", "nft", check=True)
    whole = tables.rules_of(pod, "nft")
    pod.run(["iptables-nft", "-t", "nat", "-D", "REMORA_OUTBOUND", "1"])
    assert pod.init(check=True).stdout.startswith("remora init: applied")
    assert tables.rules_of(pod, "nft") == whole


def test_a_chain_of_an_earlier_version_is_taken_out(pod: Namespace) -> None:
    earlier = "*nat\n:REMORA_OLD - [0:0]\n-A OUTPUT -p tcp -j REMORA_OLD\nCOMMIT\n"
    pod.run(["iptables-nft-restore", "--noflush"], text=earlier)
    pod.init(check=True)
    assert "REMORA_OLD" not in tables.everything(pod)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_rules_of_others_stay_as_they_were(pod: Namespace, variant: str, backend: str) -> None:
    add_foreign_rules(pod, variant)
    before = tables.rules_of(pod, variant)
    pod.init("--backend", backend, check=True)
    pod.init("--backend", backend, "--inbound-exclude-ports", "9090", check=True)
    others = lines_of_others(tables.rules_of(pod, variant))
    # What init made beside them (table nat of IPv6) is no change of theirs.
    assert others[: len(before.splitlines())] == before.splitlines()


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_the_variant_in_use_by_others_is_used(pod: Namespace, variant: str) -> None:
    add_foreign_rules(pod, variant)
    assert json.loads(pod.init("--json", check=True).stdout)["backend"] == variant


@pytest.mark.parametrize("earlier", ["nft", "legacy", "nftables"])
def test_another_backend_takes_over_and_the_earlier_one_lets_go(
    pods: Pods, earlier: str, backend: str
) -> None:
    pods.left.init("--backend", earlier, check=True)
    pods.left.init("--backend", backend, check=True)
    held = {name: tables.rules_of(pods.left, name) for name in {earlier, backend}}
    assert "remora/" in held[backend]
    if earlier != backend:
        assert "remora" not in held[earlier].lower()
    stage = Stage(pods, "ipv4")
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "outbound"


def test_ipv6_that_is_not_asked_for_any_more_is_taken_out(pod: Namespace, backend: str) -> None:
    pod.init("--backend", backend, check=True)
    pod.init("--backend", backend, "--families", "ipv4", check=True)
    with_both = tables.rules_of(pod, backend)
    assert "::6" not in with_both
    assert "127.0.0.6" in with_both


def test_without_ipv6_in_the_namespace_only_ipv4_is_redirected(backend: str) -> None:
    with Namespace(ipv6=False) as pod:
        report = json.loads(pod.init("--backend", backend, "--json", check=True).stdout)
        assert {"what": "ipv6", "state": "skipped"}.items() <= report["rows"][0].items()
        assert "::6" not in tables.everything(pod)


def test_ipv6_that_is_asked_for_and_not_there_is_refused() -> None:
    with Namespace(ipv6=False) as pod:
        before = tables.everything(pod)
        failed = pod.init("--families", "ipv4,ipv6")
        assert failed.returncode == EXIT_UNAVAILABLE
        assert "no IPv6" in failed.stderr
        assert tables.everything(pod) == before


# --- failing ---


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_ipv4_is_taken_back_when_ipv6_fails(pod: Namespace, variant: str, tmp_path: Path) -> None:
    tables.make_legacy_table(pod)
    before = tables.everything(pod)
    refusing = 'cat > /dev/null; echo "the kernel said no" >&2; exit 1'
    path = tables.broken_tool(tmp_path, f"ip6tables-{variant}-restore", refusing)
    failed = pod.init("--backend", variant, env=path)
    assert failed.returncode == EXIT_NOT_APPLIED
    assert "the kernel said no" in failed.stderr
    assert tables.everything(pod) == before


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_earlier_rules_of_ipv4_come_back_when_ipv6_fails(
    pod: Namespace, variant: str, tmp_path: Path
) -> None:
    pod.init("--backend", variant, "--inbound-exclude-ports", "9090", check=True)
    before = tables.everything(pod)
    path = tables.broken_tool(tmp_path, f"ip6tables-{variant}-restore", "exit 1")
    failed = pod.init("--backend", variant, "--inbound-exclude-ports", "9191", env=path)
    assert failed.returncode == EXIT_NOT_APPLIED
    assert tables.everything(pod) == before


def test_the_kernels_refusal_of_ipv6_takes_ipv4_back(pod: Namespace) -> None:
    """No tool is broken here: a map of somebody else holds on to a chain that has to go."""
    pod.run(["ip6tables-nft", "-t", "nat", "-N", "REMORA_OLD"])
    held = "add map ip6 nat held { type inet_service : verdict ; }\n"
    held += "add element ip6 nat held { 7 : jump REMORA_OLD }\n"
    pod.run(["nft", "-f", "-"], text=held)
    before = tables.everything(pod)
    failed = pod.init("--backend", "nft")
    assert failed.returncode == EXIT_NOT_APPLIED
    assert "-X REMORA_OLD" in failed.stderr
    assert tables.everything(pod) == before


def test_native_nft_changes_both_families_or_none(pod: Namespace, tmp_path: Path) -> None:
    before = tables.everything(pod)
    # The second table's transaction is spoilt at its very end.
    script = (
        'case "$*" in "-f -") { cat; echo "spoilt"; } | "$real" -f - ;; *) "$real" "$@" ;; esac'
    )
    failed = pod.init("--backend", "nftables", env=tables.broken_tool(tmp_path, "nft", script))
    assert failed.returncode == EXIT_NOT_APPLIED
    assert tables.everything(pod) == before


def test_a_rule_that_is_lost_on_the_way_is_found_by_reading_back(
    pod: Namespace, tmp_path: Path
) -> None:
    before = tables.everything(pod)
    path = tables.broken_tool(
        tmp_path, "iptables-nft-restore", 'grep -v remora/proxy-uid | "$real" "$@"'
    )
    failed = pod.init("--backend", "nft", env=path)
    assert failed.returncode == EXIT_NOT_APPLIED
    assert "rule remora/proxy-uid is missing" in failed.stderr
    assert tables.everything(pod) == before


def test_a_kernel_module_that_is_missing_is_named(pod: Namespace, tmp_path: Path) -> None:
    before = tables.everything(pod)
    message = "Warning: Extension owner revision 0 not supported, missing kernel module?"
    script = f"cat > /dev/null; echo {shlex.quote(message)} >&2; exit 4"
    path = tables.broken_tool(tmp_path, "iptables-nft-restore", script)
    failed = pod.init("--backend", "nft", env=path)
    assert failed.returncode == EXIT_UNAVAILABLE
    assert "missing: match owner (module xt_owner)" in failed.stderr
    assert tables.everything(pod) == before


def test_without_rights_nothing_happens_and_the_message_says_which(
    pod: Namespace, backend: str
) -> None:
    before = tables.everything(pod)
    failed = pod.init("--backend", backend, identity=(1000, 1000))
    assert failed.returncode == EXIT_NOT_APPLIED
    assert "CAP_NET_ADMIN" in failed.stderr
    assert tables.everything(pod) == before


def test_every_bad_word_is_named_and_nothing_is_applied(pod: Namespace) -> None:
    before = tables.everything(pod)
    failed = pod.init(
        *("--inbound-exclude-ports", "80,99999", "--proxy-uid", "app", "--backend", "iptables"),
        env={"REMORA_OUTBOUND_EXCLUDE_CIDRS": "10.0.0.1/8"},
    )
    assert failed.returncode == EXIT_USAGE
    for origin, word in (
        ("--inbound-exclude-ports", "99999"),
        ("--proxy-uid", "app"),
        ("--backend", "iptables"),
        ("REMORA_OUTBOUND_EXCLUDE_CIDRS", "10.0.0.1/8"),
    ):
        assert f'{origin}: "{word}"' in failed.stderr
    assert tables.everything(pod) == before


# --- dry run ---


def test_a_dry_run_changes_nothing(pod: Namespace, backend: str) -> None:
    before = tables.everything(pod)
    pod.init("--backend", backend, "--dry-run", check=True)
    assert tables.everything(pod) == before


def test_a_dry_run_prints_what_the_tools_are_given(pod: Namespace, backend: str) -> None:
    printed = pod.init("--backend", backend, "--dry-run", check=True).stdout
    with Namespace() as by_hand:
        _follow(by_hand, printed)
        pod.init("--backend", backend, check=True)
        assert tables.rules_of(by_hand, backend) == tables.rules_of(pod, backend)


def _follow(pod: Namespace, printed: str) -> None:
    """Give each tool what stands under its name."""
    for block in printed.split("\n# /")[1:]:
        argv, _, text = block.partition("\n")
        pod.run(shlex.split(f"/{argv}"), text=text)


def test_a_dry_run_after_a_run_would_change_nothing(pod: Namespace, backend: str) -> None:
    pod.init("--backend", backend, check=True)
    printed = pod.init("--dry-run", check=True).stdout
    assert "nothing would change" in printed
    assert "COMMIT" not in printed


def test_a_dry_run_needs_no_rights(pod: Namespace) -> None:
    printed = pod.init("--backend", "nft", "--dry-run", check=True, identity=(1000, 1000)).stdout
    assert "-A REMORA_INBOUND" in printed
    assert "taken for empty" in printed


# --- another namespace ---


def test_a_namespace_may_be_named_by_its_path(pod: Namespace) -> None:
    with Namespace() as other:
        pod.init("--netns", str(other.path), check=True)
        assert "remora/outbound" in tables.everything(other)
    assert "remora/outbound" not in tables.everything(pod)


def test_a_namespace_that_is_not_there_is_refused(pod: Namespace) -> None:
    failed = pod.init("--netns", "no-such-pod")
    assert failed.returncode == EXIT_UNAVAILABLE
    assert "--netns no-such-pod" in failed.stderr
