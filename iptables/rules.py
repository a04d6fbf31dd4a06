"""The rules that redirect a pod's TCP traffic: from a spec to an ordered, labelled list. Pure.

Two chains of our own in table nat, and one jump to each (and an empty chain that marks a table
nat that was not there before: see `xtables`). Order carries the meaning; the first
rule that matches ends the walk. UDP never enters: both jumps ask for TCP.

PREROUTING, -p tcp: jump to REMORA_INBOUND. What reaches the pod from outside.

| REMORA_INBOUND       | match                             | verdict           |
|----------------------|-----------------------------------|-------------------|
| inbound-exclude-ports| excluded ports, the admin port    | RETURN            |
| inbound-redirect     | included ports, or all            | REDIRECT inbound  |

Exclusion stands first, so that an excluded port inside an included range stays excluded. The
admin port is always there: metrics and probes must work whatever becomes of the proxied path.

OUTPUT, -p tcp: jump to REMORA_OUTBOUND. What a process of the pod sends.

| REMORA_OUTBOUND      | match                             | verdict           |
|----------------------|-----------------------------------|-------------------|
| delivery             | out lo, from 127.0.0.6 or ::6     | RETURN            |
| own-call             | out lo, not to localhost, proxy   | REMORA_INBOUND    |
| proxy                | owned by the proxy's uid or gid   | RETURN            |
| loopback             | out lo                            | RETURN            |
| localhost            | to 127.0.0.1 or ::1               | RETURN            |
| link-local           | to fe80::/10                      | RETURN            |
| outbound-exclude-*   | excluded ports, excluded blocks   | RETURN            |
| outbound-redirect    | included ports, blocks, or all    | REDIRECT outbound |

delivery: the proxy hands an inbound connection to the app from this source. It must come before
    own-call, which would send the delivery back to the proxy: a loop.
own-call: the pod called its own Service, and the proxy chose the pod itself. The connection has
    to arrive as any other peer's would, through the inbound side (mutual TLS, metrics, policy),
    or not, if its port is excluded there: hence a jump to REMORA_INBOUND and no REDIRECT of its
    own. Before proxy, which would let it pass.
proxy: what the proxy dials leaves the pod as it is. Before everything that redirects: a loop.
    One rule for each uid and gid, all of them after all of own-call. (Peers exempt loopback of
    "not this uid" between two users; the first user's exemption then hides the second's calls.)
loopback: app to app inside the pod. All that is left here is not the proxy's, so the rule needs
    no owner. It includes the pod's call of its own address: that never leaves the pod.
localhost: the same, where policy routing sends loopback addresses out of another interface.
link-local: such an address is nothing without its interface, and a redirected connection arrives
    without it, so that the proxy could not dial it. Outbound only: inbound stays redirected, as
    a way around the inbound side would be a hole.
outbound-exclude-*: after the rules about the proxy, so that they say what they seem to say:
    which calls *of the app* are left alone. An excluded outbound port does not decide how the
    proxy's own call reaches the pod.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, Literal, NamedTuple

from iptables.spec import PORT_MAX, ZONED, Family, Network, PortRange, Ports, Spec

PREFIX: Final = "REMORA_"
INBOUND: Final = PREFIX + "INBOUND"
OUTBOUND: Final = PREFIX + "OUTBOUND"
PREROUTING: Final = "PREROUTING"
OUTPUT: Final = "OUTPUT"

# xt_multiport holds 15 numbers, and a range takes two (XT_MULTI_PORTS in the kernel's headers).
MULTIPORT_SLOTS: Final = 15


class Return(NamedTuple):
    """The connection stays as it is."""


class Jump(NamedTuple):
    """Go on in another chain of ours, and come back if nothing there decides."""

    chain: str


class Redirect(NamedTuple):
    """The connection goes to this port of the pod."""

    port: int


Verdict = Return | Jump | Redirect


class Owner(NamedTuple):
    """Who opened the socket."""

    kind: Literal["uid", "gid"]
    number: int


@dataclass(frozen=True)
class Rule:
    """One rule. All matches that are given must hold."""

    chain: str
    label: str  # stands in the comment of the rule
    verdict: Verdict
    through_loopback: bool = False  # leaves through lo
    source: Network | None = None
    destination: Network | None = None
    destination_not: Network | None = None
    owner: Owner | None = None
    ports: Ports = ()  # destination ports; at most MULTIPORT_SLOTS

    @property
    def comment(self) -> str:
        """What marks the rule as ours, and names it."""
        return f"remora/{self.label}"


def chunks(ports: Ports) -> Iterator[Ports]:
    """Split so that each part fits one multiport match."""
    part: list[PortRange] = []
    slots = 0
    for ports_range in ports:
        needed = 1 if ports_range.first == ports_range.last else 2
        if slots + needed > MULTIPORT_SLOTS:
            yield tuple(part)
            part, slots = [], 0
        part.append(ports_range)
        slots += needed
    if part:
        yield tuple(part)


def _every_port(ports: Ports | None) -> bool:
    return ports is None or ports == (PortRange(1, PORT_MAX),)


def _block(network: Network) -> Network | None:
    """No match at all for the block that holds every address."""
    return network if network.prefixlen else None


def _inbound(spec: Spec) -> Iterator[Rule]:
    for part in chunks(spec.inbound_open_ports):
        yield Rule(INBOUND, "inbound-exclude-ports", Return(), ports=part)
    target = Redirect(spec.inbound_port)
    if _every_port(spec.inbound_include_ports):
        yield Rule(INBOUND, "inbound-redirect", target)
        return
    for part in chunks(spec.inbound_include_ports or ()):
        yield Rule(INBOUND, "inbound-redirect-ports", target, ports=part)


def _owners(spec: Spec) -> list[Owner]:
    return [Owner("uid", uid) for uid in spec.uids] + [Owner("gid", gid) for gid in spec.gids]


def _proxy(spec: Spec, family: Family) -> Iterator[Rule]:
    """Give the rules about what the proxy itself sends, and about loopback."""
    yield Rule(
        OUTBOUND, "delivery", Return(), through_loopback=True, source=ip_network(family.delivery)
    )
    for owner in _owners(spec):
        yield Rule(
            OUTBOUND,
            f"own-call-{owner.kind}",
            Jump(INBOUND),
            through_loopback=True,
            destination_not=ip_network(family.localhost),
            owner=owner,
        )
    for owner in _owners(spec):
        yield Rule(OUTBOUND, f"proxy-{owner.kind}", Return(), owner=owner)
    yield Rule(OUTBOUND, "loopback", Return(), through_loopback=True)
    yield Rule(OUTBOUND, "localhost", Return(), destination=ip_network(family.localhost))


def _app(spec: Spec, family: Family) -> Iterator[Rule]:
    """Give the rules about what the app sends out of the pod."""
    if family.owns(ZONED):
        yield Rule(OUTBOUND, "link-local", Return(), destination=ZONED)
    for part in chunks(spec.outbound_exclude_ports):
        yield Rule(OUTBOUND, "outbound-exclude-ports", Return(), ports=part)
    for block in filter(family.owns, spec.outbound_exclude_cidrs):
        yield Rule(OUTBOUND, "outbound-exclude-cidr", Return(), destination=_block(block))
    target = Redirect(spec.outbound_port)
    if spec.redirects_all_outbound or spec.outbound_include_ports == (PortRange(1, PORT_MAX),):
        yield Rule(OUTBOUND, "outbound-redirect", target)
        return
    for part in chunks(spec.outbound_include_ports or ()):
        yield Rule(OUTBOUND, "outbound-redirect-ports", target, ports=part)
    for block in filter(family.owns, spec.outbound_include_cidrs or ()):
        yield Rule(OUTBOUND, "outbound-redirect-cidr", target, destination=_block(block))


def build(spec: Spec, family: Family) -> tuple[Rule, ...]:
    """Give every rule of one family: the jumps first, then both chains in the order of the walk."""
    return (
        Rule(PREROUTING, "inbound", Jump(INBOUND)),
        Rule(OUTPUT, "outbound", Jump(OUTBOUND)),
        *_inbound(spec),
        *_proxy(spec, family),
        *_app(spec, family),
    )
