"""What to redirect, as plain values. Nothing here knows of iptables, flags or the machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORT_MAX: Final = 65535


class PortRange(NamedTuple):
    """Both ends belong to it."""

    first: int
    last: int

    def __str__(self) -> str:
        """Give "80", or "80-90"."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


Ports = tuple[PortRange, ...]


def merge_ports(ranges: Iterable[PortRange]) -> Ports:
    """Sort, and join what overlaps or touches: one set of ports has one spelling."""
    merged: list[PortRange] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, last))
        else:
            merged.append(PortRange(first, last))
    return tuple(merged)


def holds_port(ports: Ports, port: int) -> bool:
    """Tell whether `port` lies in one of the ranges."""
    return any(first <= port <= last for first, last in ports)


class Family(Enum):
    """An address family, with the addresses that the rules treat specially."""

    IPV4 = 4
    IPV6 = 6

    @property
    def word(self) -> str:
        """Give "ipv4" or "ipv6"."""
        return f"ipv{self.value}"

    @property
    def localhost(self) -> Address:
        """The loopback address."""
        return IPv4Address("127.0.0.1") if self is Family.IPV4 else IPv6Address("::1")

    @property
    def delivery(self) -> Address:
        """Source from which the proxy's inbound side dials the app: how the rules know it."""
        return IPv4Address("127.0.0.6") if self is Family.IPV4 else IPv6Address("::6")

    def owns(self, thing: Address | Network) -> bool:
        """Tell whether the address or network is of this family."""
        return thing.version == self.value


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything the rules follow from. Ports and networks are merged and sorted (see `ports`).

    An include list of None means "not given". Inbound, that is every port. Outbound, a connection
    is redirected when its port or its address is included; with neither list given, always.
    """

    outbound_port: int = 15001
    inbound_port: int = 15006
    admin_port: int = 15020
    uids: tuple[int, ...] = (1337,)
    gids: tuple[int, ...] = (1337,)
    inbound_include_ports: Ports | None = None
    inbound_exclude_ports: Ports = ()
    outbound_include_ports: Ports | None = None
    outbound_exclude_ports: Ports = ()
    outbound_include_cidrs: tuple[Network, ...] | None = None
    outbound_exclude_cidrs: tuple[Network, ...] = ()
    families: tuple[Family, ...] | None = None  # None: IPv4, and IPv6 where the namespace has it
    backend: str = "auto"  # auto, nft, legacy or nftables

    @property
    def inbound_open_ports(self) -> Ports:
        """Ports that reach the app, or the proxy's admin server, without the proxy."""
        admin = PortRange(self.admin_port, self.admin_port)
        return merge_ports([*self.inbound_exclude_ports, admin])

    @property
    def redirects_all_outbound(self) -> bool:
        """No outbound include list was given."""
        return self.outbound_include_ports is None and self.outbound_include_cidrs is None

    def takes_inbound(self, port: int) -> bool:
        """Tell whether a connection to this port of the pod goes to the proxy."""
        if holds_port(self.inbound_open_ports, port):
            return False
        included = self.inbound_include_ports
        return included is None or holds_port(included, port)

    def takes_outbound(self, address: Address, port: int) -> bool:
        """Tell whether an app's connection to a host that is not this pod goes to the proxy."""
        if address.is_loopback or is_zoned(address):
            return False
        if holds_port(self.outbound_exclude_ports, port):
            return False
        if any(address in network for network in self.outbound_exclude_cidrs):
            return False
        return self.redirects_all_outbound or (
            holds_port(self.outbound_include_ports or (), port)
            or any(address in network for network in self.outbound_include_cidrs or ())
        )


# A link-local IPv6 address means nothing without its interface, and a redirected connection
# arrives without it: the proxy could never dial such a destination.
ZONED: Final = IPv6Network("fe80::/10")


def is_zoned(address: Address) -> bool:
    """Tell whether the address needs an interface beside it."""
    return address.version == ZONED.version and address in ZONED
