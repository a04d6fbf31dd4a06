"""--validate proves redirection with real connections, or says which rule or right is missing."""

import json

import pytest

from tests.netns.harness import Namespace, Pods
from tests.netns.stage import INBOUND_PORT, OUTBOUND_PORT, PROXY_GID, PROXY_UID

pytestmark = pytest.mark.root

EXIT_PORT_IN_USE = 71
EXIT_NOT_VALID = 126

OUTBOUND_IPV4 = "outbound ipv4"
INBOUND_IPV4 = "inbound ipv4"
OUTBOUND_IPV6 = "outbound ipv6"
INBOUND_IPV6 = "inbound ipv6"

# Short, as the tests that need it wait for a connection that never comes.
SOON = ("--validate-timeout", "300ms")


def states(
    pod: Namespace,
    *flags: str,
    identity: tuple[int, int] | None = None,
    code: int = 0,
) -> dict[str, str]:
    """Validate, expect the exit code, and give what became of each thing to prove."""
    done = pod.init("--validate", "--json", *SOON, *flags, identity=identity)
    assert done.returncode == code, done.stdout + done.stderr
    return {row["what"]: row["state"] for row in json.loads(done.stdout)["rows"]}


def test_root_proves_the_rules_and_both_directions(pods: Pods, backend: str) -> None:
    pods.left.init("--backend", backend, check=True)
    assert states(pods.left) == {
        "rules": "proven",
        OUTBOUND_IPV4: "proven",
        INBOUND_IPV4: "proven",
        OUTBOUND_IPV6: "proven",
        INBOUND_IPV6: "proven",
    }


def test_validation_changes_nothing(pods: Pods) -> None:
    pods.left.init("--backend", "nft", check=True)
    states(pods.left)
    assert pods.left.init(check=True).stdout.startswith("remora init: unchanged")


def test_an_app_without_rights_proves_the_outbound_half(pods: Pods) -> None:
    pods.left.init(check=True)
    proven = states(pods.left, identity=(1000, 1000))
    assert proven["rules"] == "unproven"
    assert (proven[OUTBOUND_IPV4], proven[OUTBOUND_IPV6]) == ("proven", "proven")
    assert (proven[INBOUND_IPV4], proven[INBOUND_IPV6]) == ("unproven", "unproven")


def test_the_proxys_user_without_rights_proves_the_inbound_half(pods: Pods) -> None:
    pods.left.init(check=True)
    proven = states(pods.left, identity=(PROXY_UID, PROXY_GID))
    assert (proven[OUTBOUND_IPV4], proven[OUTBOUND_IPV6]) == ("unproven", "unproven")
    assert (proven[INBOUND_IPV4], proven[INBOUND_IPV6]) == ("proven", "proven")


def test_a_namespace_with_loopback_only_proves_inbound(pod: Namespace, backend: str) -> None:
    pod.init("--backend", backend, check=True)
    proven = states(pod)
    assert (proven[INBOUND_IPV4], proven[INBOUND_IPV6]) == ("proven", "proven")
    assert (proven[OUTBOUND_IPV4], proven[OUTBOUND_IPV6]) == ("unproven", "unproven")


def test_without_a_route_out_a_neighbours_address_serves(pods: Pods) -> None:
    for family in ("-4", "-6"):
        pods.left.run(["ip", family, "route", "del", "default"])
    pods.left.init(check=True)
    proven = states(pods.left)
    assert (proven[OUTBOUND_IPV4], proven[OUTBOUND_IPV6]) == ("proven", "proven")


def test_what_is_included_is_what_is_dialled(pods: Pods) -> None:
    flags = (
        *("--outbound-include-cidrs", "10.71.0.0/24,fd71::/64"),
        *("--inbound-include-ports", "8000-8100"),
        *("--outbound-exclude-ports", "1-1000"),
    )
    pods.left.init(*flags, check=True)
    assert set(states(pods.left, *flags).values()) == {"proven"}


def test_a_proxy_with_another_user_and_ports_is_proven(pods: Pods) -> None:
    flags = (
        *("--proxy-uid", "2001,2002", "--proxy-gid", "0"),
        *("--outbound-port", "16001", "--inbound-port", "16006"),
    )
    pods.left.init(*flags, check=True)
    assert set(states(pods.left, *flags).values()) == {"proven"}


def test_a_namespace_without_ipv6_is_valid_without_it() -> None:
    with Namespace(ipv6=False) as pod:
        pod.init(check=True)
        assert states(pod) == {
            "rules": "proven",
            OUTBOUND_IPV4: "unproven",
            INBOUND_IPV4: "proven",
        }


# --- not valid ---


def test_without_rules_nothing_is_valid(pods: Pods) -> None:
    failed = pods.left.init("--validate", *SOON)
    assert failed.returncode == EXIT_NOT_VALID
    assert "run remora init first" in failed.stdout
    assert "outbound ipv4  FAILED" in failed.stdout


def test_somebody_without_rights_sees_that_there_are_no_rules(pods: Pods) -> None:
    failed = pods.left.init("--validate", *SOON, identity=(1000, 1000))
    assert failed.returncode == EXIT_NOT_VALID
    assert "run it as root to learn which rule is missing" in failed.stdout


@pytest.mark.parametrize(
    ("label", "chain", "broken"),
    [
        ("remora/outbound-redirect", "REMORA_OUTBOUND", OUTBOUND_IPV4),
        ("remora/own-call-uid", "REMORA_OUTBOUND", INBOUND_IPV4),
        ("remora/inbound-redirect", "REMORA_INBOUND", INBOUND_IPV4),
        ("remora/outbound", "OUTPUT", OUTBOUND_IPV4),
    ],
)
def test_the_rule_that_is_missing_is_named(pods: Pods, label: str, chain: str, broken: str) -> None:
    pods.left.init("--backend", "nft", "--proxy-gid", "none", check=True)
    _delete(pods.left, chain, label)
    failed = pods.left.init("--validate", "--proxy-gid", "none", "--json", *SOON)
    assert failed.returncode == EXIT_NOT_VALID
    report = json.loads(failed.stdout)
    assert f"iptables-nft: rule {label} is missing" in "\n".join(report["notes"])
    assert {"what": broken, "state": "FAILED"}.items() <= _row(report, broken).items()


def test_a_missing_jump_from_outside_is_seen_by_reading(pods: Pods) -> None:
    pods.left.init("--backend", "nft", check=True)
    _delete(pods.left, "PREROUTING", "remora/inbound")
    failed = pods.left.init("--validate", *SOON)
    assert failed.returncode == EXIT_NOT_VALID
    assert "rule remora/inbound is missing" in failed.stdout


def _delete(pod: Namespace, chain: str, label: str) -> None:
    """Take one rule out of IPv4's table, as a careless administrator would."""
    saved = pod.run(["iptables-nft-save", "-t", "nat"]).stdout.splitlines()
    (rule,) = (line for line in saved if f'"{label}"' in line and line.startswith(f"-A {chain} "))
    text = f"*nat\n{rule.replace('-A', '-D', 1)}\nCOMMIT\n"
    pod.run(["iptables-nft-restore", "--noflush"], text=text)


def _row(report: dict[str, list[dict[str, str]]], what: str) -> dict[str, str]:
    return next(row for row in report["rows"] if row["what"] == what)


def test_rules_for_other_flags_are_not_valid_for_these(pods: Pods) -> None:
    pods.left.init("--inbound-exclude-ports", "9090", check=True)
    failed = pods.left.init("--validate", *SOON)
    assert failed.returncode == EXIT_NOT_VALID
    assert "rule remora/inbound-exclude-ports is missing" in failed.stdout


def test_a_rule_of_others_that_comes_first_is_suspected(pods: Pods) -> None:
    before = "*nat\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n"
    pods.left.run(["iptables-nft-restore", "--noflush"], text=before)
    pods.left.init("--backend", "nft", check=True)
    failed = pods.left.init("--validate", *SOON)
    assert failed.returncode == EXIT_NOT_VALID
    assert "rules of others that come before ours" in failed.stdout


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", OUTBOUND_PORT), ("0.0.0.0", INBOUND_PORT), ("::1", OUTBOUND_PORT)],
)
def test_a_proxy_that_runs_already_is_said_to_be_in_the_way(
    pods: Pods, host: str, port: int
) -> None:
    pods.left.init(check=True)
    pods.left.listen(host, port, uid=PROXY_UID)
    failed = pods.left.init("--validate")
    assert failed.returncode == EXIT_PORT_IN_USE
    assert f"{port} is in use" in failed.stderr
    assert "before the proxy starts" in failed.stderr
