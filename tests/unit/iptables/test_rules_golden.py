"""The rules as iptables-save would print them: the whole list for each kind of spec."""

from ipaddress import ip_network

import pytest

from iptables import ports, rules, xtables
from iptables.rules import chunks
from iptables.spec import Family, Ports, Spec, merge_ports

MULTIPORT = "-p tcp -m multiport --dports"
OWN_CALL = "REMORA_OUTBOUND ! -d 127.0.0.1/32 -o lo -m owner"


def written(spec: Spec, family: Family = Family.IPV4) -> list[str]:
    """Give the rules without what every one of them has in common."""
    lines = [xtables.render(rule) for rule in rules.build(spec, family)]
    return [line.removeprefix("-A ").replace("-m comment --comment ", "") for line in lines]


def of_chain(spec: Spec, chain: str, family: Family = Family.IPV4) -> list[str]:
    start = f"{chain} "
    return [line.removeprefix(start) for line in written(spec, family) if line.startswith(start)]


def inbound(**options: object) -> list[str]:
    return of_chain(Spec(**options), "REMORA_INBOUND")  # type: ignore[arg-type]


def app_rules(family: Family = Family.IPV4, **options: object) -> list[str]:
    """Give what follows the rules about the proxy and about loopback."""
    lines = of_chain(Spec(**options), "REMORA_OUTBOUND", family)  # type: ignore[arg-type]
    return lines[1 + next(i for i, line in enumerate(lines) if '"remora/localhost"' in line) :]


def ranges(text: str) -> Ports:
    return merge_ports(ports.port_range(word) for word in text.split(","))


def test_the_default_rules_of_ipv4() -> None:
    assert written(Spec()) == [
        'PREROUTING -p tcp "remora/inbound" -j REMORA_INBOUND',
        'OUTPUT -p tcp "remora/outbound" -j REMORA_OUTBOUND',
        f'REMORA_INBOUND {MULTIPORT} 15020 "remora/inbound-exclude-ports" -j RETURN',
        'REMORA_INBOUND -p tcp "remora/inbound-redirect" -j REDIRECT --to-ports 15006',
        'REMORA_OUTBOUND -s 127.0.0.6/32 -o lo "remora/delivery" -j RETURN',
        f'{OWN_CALL} --uid-owner 1337 "remora/own-call-uid" -j REMORA_INBOUND',
        f'{OWN_CALL} --gid-owner 1337 "remora/own-call-gid" -j REMORA_INBOUND',
        'REMORA_OUTBOUND -m owner --uid-owner 1337 "remora/proxy-uid" -j RETURN',
        'REMORA_OUTBOUND -m owner --gid-owner 1337 "remora/proxy-gid" -j RETURN',
        'REMORA_OUTBOUND -o lo "remora/loopback" -j RETURN',
        'REMORA_OUTBOUND -d 127.0.0.1/32 "remora/localhost" -j RETURN',
        'REMORA_OUTBOUND -p tcp "remora/outbound-redirect" -j REDIRECT --to-ports 15001',
    ]


def test_the_default_rules_of_ipv6_differ_by_addresses_and_link_local() -> None:
    expected = [
        line.replace("127.0.0.6/32", "::6/128").replace("127.0.0.1/32", "::1/128")
        for line in written(Spec())
    ]
    expected.insert(-1, 'REMORA_OUTBOUND -d fe80::/10 "remora/link-local" -j RETURN')
    assert written(Spec(), Family.IPV6) == expected


def test_other_ports_of_the_proxy() -> None:
    assert inbound(inbound_port=16006, admin_port=16020) == [
        '-p tcp -m multiport --dports 16020 "remora/inbound-exclude-ports" -j RETURN',
        '-p tcp "remora/inbound-redirect" -j REDIRECT --to-ports 16006',
    ]
    assert app_rules(outbound_port=16001) == [
        '-p tcp "remora/outbound-redirect" -j REDIRECT --to-ports 16001'
    ]


def test_own_calls_of_every_owner_come_before_the_pass_of_any() -> None:
    lines = of_chain(Spec(uids=(1, 2), gids=(3,)), "REMORA_OUTBOUND")
    assert [line.split('"')[1] + line.split("-owner ")[1][:1] for line in lines[1:7]] == [
        *("remora/own-call-uid1", "remora/own-call-uid2", "remora/own-call-gid3"),
        *("remora/proxy-uid1", "remora/proxy-uid2", "remora/proxy-gid3"),
    ]


def test_excluded_inbound_ports_stand_with_the_admin_port() -> None:
    assert inbound(inbound_exclude_ports=ranges("9090,9100-9110"))[0] == (
        '-p tcp -m multiport --dports 9090,9100:9110,15020 "remora/inbound-exclude-ports" -j RETURN'
    )


def test_included_inbound_ports_are_redirected_and_no_others() -> None:
    assert inbound(inbound_include_ports=ranges("80,8000-8100"))[1:] == [
        f'{MULTIPORT} 80,8000:8100 "remora/inbound-redirect-ports" -j REDIRECT --to-ports 15006'
    ]


@pytest.mark.parametrize("included", [None, ports.EVERY_PORT])
def test_every_inbound_port_needs_no_match(included: Ports | None) -> None:
    assert inbound(inbound_include_ports=included) == inbound()


def test_no_inbound_port_leaves_the_exclusion_only() -> None:
    assert len(inbound(inbound_include_ports=())) == 1


def test_excluded_outbound_ports_and_blocks_come_before_the_redirect() -> None:
    blocks = (ip_network("10.0.0.0/8"), ip_network("192.0.2.1"), ip_network("fd00::/8"))
    assert app_rules(outbound_exclude_ports=ranges("25,5432"), outbound_exclude_cidrs=blocks) == [
        '-p tcp -m multiport --dports 25,5432 "remora/outbound-exclude-ports" -j RETURN',
        '-d 10.0.0.0/8 "remora/outbound-exclude-cidr" -j RETURN',
        '-d 192.0.2.1/32 "remora/outbound-exclude-cidr" -j RETURN',
        '-p tcp "remora/outbound-redirect" -j REDIRECT --to-ports 15001',
    ]


def test_each_family_gets_its_own_blocks() -> None:
    blocks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert app_rules(Family.IPV6, outbound_exclude_cidrs=blocks)[1] == (
        '-d fd00::/8 "remora/outbound-exclude-cidr" -j RETURN'
    )


def test_included_ports_and_blocks_are_redirected_one_by_one() -> None:
    assert app_rules(
        outbound_include_ports=ranges("80,443"),
        outbound_include_cidrs=(ip_network("10.96.0.0/12"), ip_network("fd00::/8")),
    ) == [
        f'{MULTIPORT} 80,443 "remora/outbound-redirect-ports" -j REDIRECT --to-ports 15001',
        '-d 10.96.0.0/12 -p tcp "remora/outbound-redirect-cidr" -j REDIRECT --to-ports 15001',
    ]


def test_blocks_of_one_family_leave_the_other_alone() -> None:
    included = (ip_network("10.96.0.0/12"),)
    assert len(app_rules(Family.IPV6, outbound_include_cidrs=included)) == 1  # link-local


def test_the_block_of_every_address_needs_no_match() -> None:
    assert app_rules(outbound_include_cidrs=ports.EVERY_NETWORK) == [
        '-p tcp "remora/outbound-redirect-cidr" -j REDIRECT --to-ports 15001'
    ]
    assert app_rules(outbound_exclude_cidrs=ports.EVERY_NETWORK)[0] == (
        '"remora/outbound-exclude-cidr" -j RETURN'
    )


def test_nothing_included_outbound_redirects_nothing() -> None:
    assert app_rules(outbound_include_cidrs=()) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1,3,5", ["1,3,5"]),
        (",".join(str(2 * n) for n in range(1, 16)), ["2,4,6,8,10,12,14,16,18,20,22,24,26,28,30"]),
        (
            ",".join(str(2 * n) for n in range(1, 17)),
            ["2,4,6,8,10,12,14,16,18,20,22,24,26,28,30", "32"],
        ),
        # Seven ranges take 14 numbers, and the eighth would take two more than there are.
        (
            "1-2,4-5,7-8,10-11,13-14,16-17,19-20,22-23",
            ["1-2,4-5,7-8,10-11,13-14,16-17,19-20", "22-23"],
        ),
        (
            "1-2,4-5,7-8,10-11,13-14,16-17,19-20,22",
            ["1-2,4-5,7-8,10-11,13-14,16-17,19-20,22"],
        ),
    ],
    ids=["few", "fifteen", "sixteen", "ranges", "ranges and one"],
)
def test_ports_are_split_at_fifteen_numbers_where_a_range_takes_two(
    given: str, expected: list[str]
) -> None:
    assert [",".join(map(str, part)) for part in chunks(ranges(given))] == expected


def test_a_split_list_becomes_several_rules() -> None:
    many = ranges(",".join(str(2 * n) for n in range(1, 41)))
    lines = app_rules(outbound_exclude_ports=many)
    assert [line.count(",") + 1 for line in lines[:-1]] == [15, 15, 10]


def test_no_ports_need_no_rule() -> None:
    assert list(chunks(())) == []
