"""The rule list means what the spec says: random specs and packets, walked as the kernel walks."""

import random
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from iptables import rules
from iptables.rules import MULTIPORT_SLOTS, OUTPUT, PREROUTING, Jump, Redirect, Rule
from iptables.spec import Address, Family, PortRange, Ports, Spec, holds_port, merge_ports

ROUNDS = 500


@dataclass(frozen=True)
class Packet:
    """The first packet of a TCP connection."""

    source: Address
    destination: Address
    port: int
    through_loopback: bool
    uid: int = 1000
    gid: int = 1000


def matches(rule: Rule, packet: Packet) -> bool:
    owner = rule.owner
    return (
        (not rule.through_loopback or packet.through_loopback)
        and (rule.source is None or packet.source in rule.source)
        and (rule.destination is None or packet.destination in rule.destination)
        and (rule.destination_not is None or packet.destination not in rule.destination_not)
        and (owner is None or getattr(packet, owner.kind) == owner.number)
        and (not rule.ports or holds_port(rule.ports, packet.port))
    )


def walk(chain: str, every: tuple[Rule, ...], packet: Packet) -> int | None:
    """Give the port of the redirect that the packet meets, or None."""
    for rule in every:
        if rule.chain != chain or not matches(rule, packet):
            continue
        if isinstance(rule.verdict, Redirect):
            return rule.verdict.port
        if not isinstance(rule.verdict, Jump):
            return None
        landed = walk(rule.verdict.chain, every, packet)
        if landed is not None:
            return landed
    return None


def some_ports(dice: random.Random) -> Ports:
    firsts = [dice.randint(1, 60) for _ in range(dice.randint(0, 25))]
    return merge_ports(PortRange(first, first + dice.choice([0, 0, 1, 3])) for first in firsts)


BLOCKS = [
    *map(ip_network, ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "0.0.0.0/0")),
    *map(ip_network, ("fd00::/8", "fd00:1::/32", "2001:db8::/32", "::/0")),
]
HOSTS: dict[Family, list[Address]] = {
    Family.IPV4: [IPv4Address(text) for text in ("10.1.2.3", "10.2.0.1", "192.0.2.9", "8.8.8.8")],
    Family.IPV6: [
        IPv6Address(text) for text in ("fd00:1::5", "fd02::1", "2001:db8::9", "fe80::1", "2600::1")
    ],
}


def some_spec(dice: random.Random) -> Spec:
    def blocks() -> tuple[object, ...]:
        return tuple(dice.sample(BLOCKS, dice.randint(0, 3)))

    return Spec(
        uids=tuple(dice.sample(range(1, 5), dice.randint(1, 3))),
        gids=tuple(dice.sample(range(1, 5), dice.randint(0, 2))),
        inbound_include_ports=dice.choice([None, some_ports(dice)]),
        inbound_exclude_ports=some_ports(dice),
        outbound_include_ports=dice.choice([None, None, some_ports(dice)]),
        outbound_exclude_ports=some_ports(dice),
        outbound_include_cidrs=dice.choice([None, None, blocks()]),  # type: ignore[arg-type]
        outbound_exclude_cidrs=blocks(),  # type: ignore[arg-type]
    )


def proxy_of(spec: Spec, dice: random.Random) -> dict[str, int]:
    """Give the proxy's mark on a packet: one of its users, or one of its groups."""
    owners = [("uid", uid) for uid in spec.uids] + [("gid", gid) for gid in spec.gids]
    return dict([dice.choice(owners)])


def check(family: Family, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seed, so that a failure comes again
    spec = some_spec(dice)
    every = rules.build(spec, family)
    host, port = dice.choice(HOSTS[family]), dice.randint(1, 70)
    pod, localhost, delivery = HOSTS[family][0], family.localhost, family.delivery
    proxy = proxy_of(spec, dice)
    inbound = spec.inbound_port if spec.takes_inbound(port) else None
    outbound = spec.outbound_port if spec.takes_outbound(host, port) else None

    def sent(source: Address, target: Address, *, loops: bool, **owner: int) -> int | None:
        return walk(OUTPUT, every, Packet(source, target, port, loops, **owner))

    arriving = Packet(host, pod, port, through_loopback=False)
    assert walk(PREROUTING, every, arriving) == inbound
    assert sent(pod, host, loops=False) == outbound
    assert sent(pod, host, loops=False, **proxy) is None
    assert sent(pod, pod, loops=True) is None
    assert sent(localhost, localhost, loops=True) is None
    assert sent(pod, pod, loops=True, **proxy) == inbound
    assert sent(localhost, localhost, loops=True, **proxy) is None
    assert sent(delivery, pod, loops=True, **proxy) is None


@pytest.mark.parametrize("family", Family, ids=lambda family: family.word)
def test_every_kind_of_connection_goes_where_the_spec_says(family: Family) -> None:
    for seed in range(ROUNDS):
        check(family, seed)


@pytest.mark.parametrize("seed", range(5))
def test_every_rule_has_a_label_and_fits_the_kernels_limits(seed: int) -> None:
    for rule in rules.build(some_spec(random.Random(seed)), Family.IPV6):  # noqa: S311
        slots = sum(1 if first == last else 2 for first, last in rule.ports)
        assert slots <= MULTIPORT_SLOTS
        assert rule.label


def test_the_admin_port_is_never_redirected() -> None:
    spec = Spec(inbound_include_ports=(PortRange(1, 65535),))
    assert not spec.takes_inbound(spec.admin_port)
