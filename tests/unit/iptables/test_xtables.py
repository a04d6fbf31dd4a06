"""What iptables-save prints, read; what iptables-restore is given, written."""

import pytest

from iptables import rules, xtables
from iptables.held import Held, differences, same
from iptables.spec import Family, Spec

EMPTY = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"


def wanted(spec: Spec | None = None, found: Held | None = None) -> Held:
    built = rules.build(spec or Spec(), Family.IPV4)
    if found is None:
        found = Held(table_exists=True)
    return xtables.wanted(built, found, may_drop_table=True)


def saved(held: Held) -> str:
    """Print as iptables-save does."""
    chains = "".join(f":{name} - [0:0]\n" for name in held.chains)
    lines = [*held.jumps, *(line for chain in held.chains.values() for line in chain)]
    return EMPTY.replace("COMMIT\n", chains + "\n".join(lines) + "\nCOMMIT\n")


def test_what_was_written_reads_back_the_same() -> None:
    found = xtables.parse(saved(wanted()))
    assert same(found, wanted(), xtables.key)
    assert found.table_exists


def test_other_spellings_are_the_same_rules() -> None:
    spelled = (
        saved(wanted())
        .replace("-s 127.0.0.6/32 -o lo", "-o lo -s 127.0.0.6")
        .replace("-p tcp -m multiport", "-p tcp -m tcp -m multiport")
        .replace('"remora/', "remora/")
        .replace('" -j', " -j")
    )
    assert spelled != saved(wanted())
    assert same(xtables.parse(spelled), wanted(), xtables.key)


def test_a_short_and_a_long_ipv6_address_are_the_same() -> None:
    assert xtables.key("-A X -d ::ffff:0:0/96") == xtables.key("-A X -d 0:0:0:0:0:ffff:0:0/96")


def test_a_negation_belongs_to_its_own_match() -> None:
    assert xtables.key("-A X ! -d 1.2.3.4 -o lo") != xtables.key("-A X -d 1.2.3.4 ! -o lo")


def test_nothing_of_ours_is_nothing() -> None:
    assert not xtables.parse(EMPTY)
    assert not xtables.parse("")
    assert xtables.parse(EMPTY).table_exists
    assert not xtables.parse("").table_exists


def test_rules_of_others_are_seen_and_not_taken_for_ours() -> None:
    found = xtables.parse(EMPTY.replace("COMMIT", "-A OUTPUT -p udp -j RETURN\nCOMMIT"))
    assert (bool(found), found.has_foreign, found.shares_table) == (False, True, True)


def test_rules_of_others_in_another_table_do_not_share_ours() -> None:
    filters = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -j DROP\nCOMMIT\n"
    found = xtables.parse(filters + EMPTY)
    assert (found.has_foreign, found.shares_table) == (True, False)


def test_a_policy_of_others_is_theirs_too() -> None:
    found = xtables.parse(EMPTY.replace("OUTPUT ACCEPT", "OUTPUT DROP"))
    assert (found.has_foreign, found.shares_table) == (False, True)


def test_a_jump_from_a_chain_of_others_is_ours() -> None:
    jump = "-A OTHERS -p tcp -j REMORA_INBOUND"
    found = xtables.parse(EMPTY.replace("COMMIT", f"{jump}\nCOMMIT"))
    assert found.jumps == (jump,)


def test_a_transaction_from_nothing_makes_chains_rules_and_jumps() -> None:
    lines = xtables.transaction(Held(table_exists=True), wanted()).splitlines()
    assert lines[:3] == ["*nat", ":REMORA_INBOUND - [0:0]", ":REMORA_OUTBOUND - [0:0]"]
    assert lines[-1] == "COMMIT"
    assert sum(line.startswith("-A REMORA_") for line in lines) == 10
    assert [line.split()[1] for line in lines[-3:-1]] == ["PREROUTING", "OUTPUT"]


def test_a_transaction_to_other_rules_leaves_the_jumps_where_they_are() -> None:
    text = xtables.transaction(wanted(), wanted(Spec(outbound_port=16001)))
    assert "PREROUTING" not in text
    assert "16001" in text
    assert "15001" not in text


def test_a_transaction_to_nothing_takes_out_jumps_before_chains() -> None:
    lines = xtables.transaction(wanted(), Held()).splitlines()
    assert lines == [
        "*nat",
        ":REMORA_INBOUND - [0:0]",
        ":REMORA_OUTBOUND - [0:0]",
        '-D PREROUTING -p tcp -m comment --comment "remora/inbound" -j REMORA_INBOUND',
        '-D OUTPUT -p tcp -m comment --comment "remora/outbound" -j REMORA_OUTBOUND',
        "-X REMORA_INBOUND",
        "-X REMORA_OUTBOUND",
        "COMMIT",
    ]


def test_a_jump_that_stands_twice_is_taken_out_once() -> None:
    held = wanted()
    twice = Held(held.chains, (*held.jumps, held.jumps[0]))
    text = xtables.transaction(twice, held)
    assert text.count("-D PREROUTING") == 1
    assert "-A PREROUTING" not in text


def test_a_table_that_was_not_there_is_marked_and_stays_marked() -> None:
    first = wanted(found=Held(table_exists=False))
    assert xtables.MADE_TABLE in first.chains
    again = wanted(Spec(outbound_port=16001), found=xtables.parse(saved(first)))
    assert xtables.MADE_TABLE in again.chains


def test_a_table_that_was_there_is_not_marked() -> None:
    assert xtables.MADE_TABLE not in wanted(found=Held(table_exists=True)).chains


LISTING = """\
table ip nat {
	chain REMORA_OUTBOUND {
		tcp dport { 80, 90-100 } counter return
	}

	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
"""


@pytest.mark.parametrize(
    ("theirs", "more"),
    [
        ("", False),
        ("\tset blocked {\n\t\ttype ipv4_addr\n\t}\n", True),
        ("\tchain theirs {\n\t\ttype nat hook postrouting priority 90;\n\t}\n", True),
        ("\tchain POSTROUTING {\n\t\ttype nat hook postrouting priority 100;\n\t}\n", False),
    ],
    ids=["ours alone", "a set", "a base chain", "a chain that iptables shows"],
)
def test_what_iptables_cannot_show_in_our_table_is_seen(theirs: str, *, more: bool) -> None:
    assert xtables.holds_more(LISTING[:-2] + theirs + "}\n") is more


def test_a_table_that_only_nft_can_show_is_not_taken_for_empty() -> None:
    assert not xtables.is_readable("# Table `nat' is incompatible, use 'nft' tool.\n")
    assert xtables.is_readable(EMPTY)


def test_differences_name_the_rule_by_its_label() -> None:
    held = wanted()
    lines = held.chains["REMORA_OUTBOUND"]
    found = Held({**held.chains, "REMORA_OUTBOUND": lines[1:]}, held.jumps)
    assert differences(found, held, xtables.key) == [f"rule remora/delivery is missing: {lines[0]}"]


def test_another_order_is_a_difference() -> None:
    held = wanted()
    lines = held.chains["REMORA_OUTBOUND"]
    found = Held({**held.chains, "REMORA_OUTBOUND": (*lines[1:], lines[0])}, held.jumps)
    assert differences(found, held, xtables.key) == [
        "the rules stand in another order than asked for"
    ]
