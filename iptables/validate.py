"""Proof that redirection works: the rules read back, and real connections.

Outbound: somebody who is not the proxy dials an address that no host has, and the connection has
to arrive at the proxy's outbound port with that destination kept. Inbound: the proxy's user dials
the pod's own address, which has to arrive at the inbound port. Both are opened here, so the proxy
must not run yet. What comes from outside the pod cannot be dialled from inside: the jump from
PREROUTING is proven by reading it only.

It needs no rights for the half that this process's own user can prove, and CAP_SETUID for the
other; reading the rules needs CAP_NET_ADMIN. What could not be proven is said, and never counts
as proven.
"""

import errno
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import chain, islice
from typing import Final

from iptables import backends, kernel, netlink, probe, rules
from iptables.backends import Backend
from iptables.exits import Exit, InitError
from iptables.held import differences
from iptables.probe import CannotBeError, Dial, Identity, ProbeError
from iptables.report import Report, Row
from iptables.spec import PORT_MAX, Address, Family, Network, Ports, Spec

# Set aside for documentation (RFC 5737, RFC 3849): routed to nobody, should a probe escape.
_NOBODY: Final[Mapping[Family, Sequence[Address]]] = {
    Family.IPV4: [IPv4Address(text) for text in ("192.0.2.1", "198.51.100.1", "203.0.113.1")],
    Family.IPV6: [IPv6Address("2001:db8::1")],
}
_EVERY: Final[Mapping[Family, Address]] = {
    Family.IPV4: IPv4Address("0.0.0.0"),  # noqa: S104 - where the proxy's inbound side listens
    Family.IPV6: IPv6Address("::"),
}
_DISCARD_PORT: Final = 9  # by its name, nothing of importance listens there (RFC 863)
_NOBODY_ID: Final = 65534

PROVEN: Final = "proven"
UNPROVEN: Final = "unproven"
FAILED: Final = "FAILED"


@dataclass(frozen=True)
class Pointless:
    """There is no connection to try; `why` says so."""

    why: str


def _is_proxy(spec: Spec, identity: Identity) -> bool:
    return identity.uid in spec.uids or identity.gid in spec.gids


def an_app(spec: Spec, me: Identity) -> Identity:
    """Give somebody whose connections are redirected: this process's user, if possible. Pure."""
    if not _is_proxy(spec, me):
        return me
    free = (number for number in range(_NOBODY_ID, 0, -1))
    return next(same for n in free if not _is_proxy(spec, same := Identity(n, n)))


def the_proxy(spec: Spec, me: Identity) -> Identity:
    """Give somebody whom the rules take for the proxy: this process's user, if possible. Pure."""
    if _is_proxy(spec, me):
        return me
    return Identity(spec.uids[0], me.gid)


def _ports(included: Ports | None) -> Iterator[int]:
    firsts = (ports_range.first for ports_range in included or ())
    return chain([_DISCARD_PORT], firsts, range(1, PORT_MAX + 1))


def _own(family: Family) -> list[netlink.Interface]:
    """Give the addresses by which others know this pod."""
    return [
        each
        for each in netlink.addresses()
        if family.owns(each.address)
        and not (each.address.is_loopback or each.address.is_link_local or each.is_tentative)
        and each.address != family.delivery
    ]


def _others(family: Family, blocks: Iterable[Network]) -> Iterator[Address]:
    """Give one address of each block that is not this pod's: calls of those never leave it."""
    own = {each.address for each in netlink.addresses()}
    for block in filter(family.owns, blocks):
        hosts: Iterable[Address] = block.hosts()
        yield from islice((host for host in hosts if host not in own), 1)


def _neighbourhoods(family: Family) -> Iterator[Network]:
    """Give the networks this pod is in; most of their addresses are nobody's."""
    for each in _own(family):
        yield ip_network(f"{each.address}/{each.prefix_length}", strict=False)


def outbound_dial(spec: Spec, family: Family) -> Dial | Pointless:
    """Choose an address and a port that the rules take, and that a route leads to."""
    included = _others(family, spec.outbound_include_cidrs or ())
    wanted = chain(_NOBODY[family], included, _others(family, _neighbourhoods(family)))
    taken = [
        (address, port)
        for address in wanted
        for port in [_first_outbound(spec, address)]
        if port is not None
    ]
    if not taken:
        return Pointless("the rules asked for redirect nothing that could be tried")
    for address, port in taken:
        if probe.route(family, address):
            return Dial(family, an_app(spec, probe.myself()), address, port)
    return Pointless("no route leads out of this namespace")


def _first_outbound(spec: Spec, address: Address) -> int | None:
    ports = _ports(spec.outbound_include_ports)
    return next((port for port in ports if spec.takes_outbound(address, port)), None)


def inbound_dial(spec: Spec, family: Family) -> Dial | Pointless:
    """Choose a port of the pod's own address that the rules take."""
    # A listener of our own would take the connection with no redirection at all.
    ours = (spec.inbound_port, spec.outbound_port)
    ports = (port for port in _ports(spec.inbound_include_ports) if port not in ours)
    port = next((port for port in ports if spec.takes_inbound(port)), None)
    if port is None:
        return Pointless("the rules asked for redirect nothing inbound")
    identity = the_proxy(spec, probe.myself())
    own = _own(family)
    if own:
        return Dial(family, identity, own[0].address, port)
    # A namespace with loopback only: another of its addresses does as well. The source must not
    # be the one that marks a delivery to the app.
    other = IPv4Address("127.0.0.7") if family is Family.IPV4 else family.delivery
    return Dial(family, identity, other, port, source=family.localhost)


def _listen(stack: ExitStack, family: Family, host: Address, port: int) -> socket.socket:
    try:
        return stack.enter_context(probe.listen(family, host, port))
    except OSError as error:
        where = f"{host} port {port}" if host.version == Family.IPV4.value else f"[{host}]:{port}"
        if error.errno != errno.EADDRINUSE:
            raise InitError(
                Exit.NOT_VALID, f"{where} cannot be opened: {error.strerror} (is lo up?)"
            ) from error
        raise InitError(
            Exit.PORT_IN_USE,
            f"{where} is in use, probably by the proxy: validation takes the connections itself,"
            " so run it before the proxy starts",
        ) from error


def _prove(
    what: str,
    dial: Dial | Pointless,
    listener: socket.socket,
    timeout_s: float,
) -> Row:
    if isinstance(dial, Pointless):
        return Row(what, UNPROVEN, dial.why)
    who = f"uid {dial.identity.uid} dialled {dial.target} port {dial.port}"
    try:
        probe.run(dial, listener, timeout_s)
    except CannotBeError as error:
        return Row(what, UNPROVEN, f"{error}: run it as that user too, or as root")
    except (ProbeError, OSError) as error:
        return Row(what, FAILED, f"{who}: {error}")
    port = listener.getsockname()[1]
    return Row(what, PROVEN, f"{who}, and it arrived at port {port} with that destination")


def connections(spec: Spec, families: Iterable[Family], timeout_s: float) -> list[Row]:
    """Try each direction of each family. Raises InitError if a port of the proxy is taken."""
    rows = []
    for family in families:
        with ExitStack() as stack:
            outbound = _listen(stack, family, family.localhost, spec.outbound_port)
            inbound = _listen(stack, family, _EVERY[family], spec.inbound_port)
            for what, dial, listener in (
                (f"outbound {family.word}", outbound_dial(spec, family), outbound),
                (f"inbound {family.word}", inbound_dial(spec, family), inbound),
            ):
                rows.append(_prove(what, dial, listener, timeout_s))
    return rows


@dataclass(frozen=True)
class Reading:
    """What reading the rules back has shown."""

    row: Row
    wrong: Sequence[str]
    places: Sequence[str]  # names of the places that hold our rules


def read_back(spec: Spec, families: Iterable[Family], found: Sequence[Backend]) -> Reading:
    """Compare the rules that are there with those asked for."""
    with_ours = [backend for backend in found if backend.has_ours]
    if not with_ours:
        return _nothing_read(found)
    names = [backend.name for backend in with_ours]
    if len(with_ours) > 1:
        wrong = [f"rules of remora are in {' and '.join(names)}: run remora init again"]
        return Reading(Row("rules", FAILED, "twice"), wrong, ())
    wanted = {family: rules.build(spec, family) for family in families}
    wrong = [
        f"{store.name}: {sentence}"
        for store, held in with_ours[0].readable
        for sentence in differences(held, store.wanted(wanted, held), store.key)
    ]
    if spec.backend not in ("auto", names[0]):
        wrong.append(f"the rules are in {names[0]}, and --backend names {spec.backend}")
    places = [store.name for store, held in with_ours[0].readable if held]
    state = FAILED if wrong else PROVEN
    detail = "not as asked for" if wrong else f"as asked for, in {' and '.join(places)}"
    return Reading(Row("rules", state, detail), wrong, places)


def _nothing_read(found: Sequence[Backend]) -> Reading:
    unread = [error for backend in found for error in backend.errors]
    if unread or not found:
        why = str(unread[0]) if unread else "no tool here can read them"
        return Reading(Row("rules", UNPROVEN, f"not read: {why}"), (), ())
    wrong = ["this network namespace has no rules of remora: run remora init first"]
    return Reading(Row("rules", FAILED, "missing"), wrong, ())


_ELSEWHERE: Final = (
    "every rule is in place: look for rules of others that come before ours in PREROUTING or"
    " OUTPUT, and for drops in table filter"
)


def _lacking(places: Iterable[str]) -> list[str]:
    """Say what may keep rules from working that are all in place."""
    facts = kernel.gather()
    lacks = [lack for place in places for lack in kernel.built_without(kernel.NEEDS[place], facts)]
    return lacks or [_ELSEWHERE]


def validate(spec: Spec, families: Sequence[Family], timeout_s: float) -> Report:
    """Prove what can be proven, and say what could not be. Raises InitError for taken ports."""
    reading = read_back(spec, families, backends.discover())
    rows = [reading.row, *connections(spec, families, timeout_s)]
    states = {row.state for row in rows}
    broken = [row for row in rows[1:] if row.state == FAILED]
    notes = list(reading.wrong)
    if broken and reading.row.state == PROVEN:
        notes += _lacking(dict.fromkeys(reading.places))
    elif broken and not notes:
        notes.append("run it as root to learn which rule is missing")
    if states == {UNPROVEN}:
        notes.append("nothing could be proven")
    if FAILED in states or PROVEN not in states:
        return Report("redirection is not valid", Exit.NOT_VALID, rows=rows, notes=notes)
    return Report("redirection is valid", rows=rows, notes=notes)
