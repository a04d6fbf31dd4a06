"""Our rules in the words of native nft."""

from ipaddress import ip_network

import pytest

from iptables import nftables, rules
from iptables.held import Held, same
from iptables.ports import port_range
from iptables.spec import Family, Spec, merge_ports

BOTH = tuple(Family)
OWN_CALL = 'oifname "lo" ip daddr != 127.0.0.1'


def wanted(spec: Spec | None = None, families: tuple[Family, ...] = BOTH) -> Held:
    return nftables.wanted({family: rules.build(spec or Spec(), family) for family in families})


def test_the_default_rules_of_ipv4() -> None:
    assert wanted(families=(Family.IPV4,)).chains == {
        "ip prerouting": (
            "type nat hook prerouting priority -100; policy accept;",
            'meta l4proto tcp counter jump inbound comment "remora/inbound"',
        ),
        "ip output": (
            "type nat hook output priority -100; policy accept;",
            'meta l4proto tcp counter jump outbound comment "remora/outbound"',
        ),
        "ip inbound": (
            'tcp dport 15020 counter return comment "remora/inbound-exclude-ports"',
            'meta l4proto tcp counter redirect to :15006 comment "remora/inbound-redirect"',
        ),
        "ip outbound": (
            'oifname "lo" ip saddr 127.0.0.6 counter return comment "remora/delivery"',
            f'{OWN_CALL} meta skuid 1337 counter jump inbound comment "remora/own-call-uid"',
            f'{OWN_CALL} meta skgid 1337 counter jump inbound comment "remora/own-call-gid"',
            'meta skuid 1337 counter return comment "remora/proxy-uid"',
            'meta skgid 1337 counter return comment "remora/proxy-gid"',
            'oifname "lo" counter return comment "remora/loopback"',
            'ip daddr 127.0.0.1 counter return comment "remora/localhost"',
            'meta l4proto tcp counter redirect to :15001 comment "remora/outbound-redirect"',
        ),
    }


def test_ports_become_a_set_and_blocks_keep_their_prefix() -> None:
    spec = Spec(
        outbound_exclude_ports=merge_ports(map(port_range, ("25", "5432-5440"))),
        outbound_include_cidrs=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    )
    held = wanted(spec)
    assert (
        'tcp dport { 25, 5432-5440 } counter return comment "remora/outbound-exclude-ports"'
        in held.chains["ip outbound"]
    )
    assert held.chains["ip6 outbound"][-1] == (
        "ip6 daddr fd00::/8 meta l4proto tcp counter redirect to :15001"
        ' comment "remora/outbound-redirect-cidr"'
    )


def test_both_families_change_in_one_transaction() -> None:
    text = nftables.transaction(Held(), wanted())
    for family in ("ip", "ip6"):
        assert (
            f"table {family} remora\ndelete table {family} remora\ntable {family} remora {{" in text
        )


def test_cleanup_deletes_the_tables_and_nothing_else() -> None:
    assert nftables.transaction(wanted(), Held()) == (
        "table ip remora\ndelete table ip remora\ntable ip6 remora\ndelete table ip6 remora\n"
    )


def test_a_family_that_goes_leaves_the_other() -> None:
    text = nftables.transaction(wanted(), wanted(families=(Family.IPV4,)))
    assert "table ip remora {" in text
    assert text.endswith("table ip6 remora\ndelete table ip6 remora\n")


def listing(held: Held, family: str) -> str:
    """Print as `nft list table` does."""
    text = f"table {family} remora {{\n"
    for name, lines in held.chains.items():
        if name.split()[0] == family:
            body = "".join(f"\t\t{line}\n" for line in lines)
            text += f"\tchain {name.split()[1]} {{\n{body}\t}}\n\n"
    return text + "}\n"


def test_what_was_written_reads_back_the_same() -> None:
    held = wanted()
    read = nftables.parse({Family.IPV4: listing(held, "ip"), Family.IPV6: listing(held, "ip6")})
    assert same(Held(read), held, nftables.key)


def test_a_set_that_is_wrapped_is_one_line_again() -> None:
    wrapped = (
        "table ip remora {\n\tchain inbound {\n"
        "\t\ttcp dport { 1, 3,\n\t\t\t     5-7 } counter return\n\t}\n}\n"
    )
    assert nftables.parse({Family.IPV4: wrapped}) == {
        "ip inbound": ("tcp dport { 1, 3, 5-7 } counter return",)
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("meta skuid 1337 counter return", "skuid 1337 counter return"),
        ("meta l4proto tcp counter return", "meta l4proto 6 counter packets 3 bytes 180 return"),
        (
            "type nat hook prerouting priority -100; policy accept;",
            "type nat hook prerouting priority dstnat; policy accept;",
        ),
        ("ip6 daddr ::102:304 return", "ip6 daddr ::1.2.3.4 return"),
        ("ip daddr 10.0.0.7 return", "ip daddr 10.0.0.7/32 return"),
    ],
)
def test_spellings_of_other_versions_are_the_same_rule(ours: str, theirs: str) -> None:
    assert nftables.key(ours) == nftables.key(theirs)


def test_another_port_is_another_rule() -> None:
    assert nftables.key("redirect to :15001") != nftables.key("redirect to :15006")
