"""The address ::6 on lo, from which the proxy's inbound side dials the app over IPv6.

Over IPv4 it is 127.0.0.6, which needs no such step: all of 127.0.0.0/8 is local.
"""

import socket
from ipaddress import IPv6Address
from typing import Final

from iptables import netlink
from iptables.exits import Exit, InitError

ADDRESS: Final = IPv6Address("::6")
WORDS: Final = f"{ADDRESS}/128 on lo"


def ensure() -> bool:
    """Have the address on lo. Returns True if it was added, and raises InitError if it cannot."""
    try:
        return netlink.add_to_loopback(ADDRESS)
    except OSError as error:
        raise InitError(
            Exit.NOT_APPLIED,
            f"{WORDS}: cannot be added: {error.strerror}"
            " (this needs CAP_NET_ADMIN, and IPv6 switched on for lo)",
        ) from error


def is_ours(*, had_rules: bool) -> bool | None:
    """Tell whether the address on lo was added by remora; None if it is not there.

    The kernel keeps who added an address from Linux 5.18 on. Before that nobody can know, and the
    address is taken for ours if our rules were there.
    """
    loopback = socket.if_nametoindex("lo")
    everywhere = netlink.addresses()
    here = [each for each in everywhere if each.address == ADDRESS and each.index == loopback]
    if not here:
        return None
    if any(each.protocol for each in everywhere):
        return here[0].protocol == netlink.OUR_PROTOCOL
    return had_rules


def withdraw() -> None:
    """Take the address away. Raises InitError if that fails."""
    try:
        netlink.remove_from_loopback(ADDRESS)
    except OSError as error:
        raise InitError(
            Exit.NOT_APPLIED,
            f"{WORDS}: cannot be removed: {error.strerror} (this needs CAP_NET_ADMIN)",
        ) from error
