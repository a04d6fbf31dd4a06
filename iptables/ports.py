"""Words into values. A word that cannot be right is refused, never skipped.

A skipped port is a hole that nobody sees: the connection that should have been left alone is
redirected, or the other way round. So each parser returns what it understood and reports every
word that it did not, and the caller applies nothing if there was a single one.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeVar

from iptables.spec import PORT_MAX, Family, Network, PortRange, Ports

Value = TypeVar("Value")

EVERY_PORT: Final[Ports] = (PortRange(1, PORT_MAX),)
EVERY_NETWORK: Final[tuple[Network, ...]] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

# The kernel keeps 4294967295 for "no such user".
ID_MAX: Final = 2**32 - 2
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_NETWORK: Final = re.compile(r"[0-9a-fA-F:.]+(/[0-9]{1,3})?", re.ASCII)
_RANGE: Final = re.compile(r"([0-9]+)[-:]([0-9]+)", re.ASCII)
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})(ms|s|m|h)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SWITCH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


class Refused(ValueError):  # noqa: N818 - it is what happened to the word
    """The word cannot be right; the text says why, without repeating the word."""


@dataclass
class Faults:
    """Every fault of one command line, in the order found."""

    lines: list[str] = field(default_factory=list)

    def add(self, origin: str, word: str, why: str) -> None:
        """Note that `word`, given by the flag or variable `origin`, was refused."""
        self.lines.append(f'{origin}: "{word}" {why}')

    def parse(
        self,
        origin: str,
        word: str,
        parser: Callable[[str], Value],
        fallback: Value,
    ) -> Value:
        """Parse one word; a refusal is noted and `fallback` stands in for it."""
        try:
            return parser(word)
        except Refused as refusal:
            self.add(origin, word, str(refusal))
            return fallback


def words(text: str) -> list[str]:
    """Split at commas. An empty word stays, so that its parser can refuse it."""
    return [word.strip() for word in text.split(",")]


def each(
    faults: Faults,
    origin: str,
    given: Iterable[str],
    parser: Callable[[str], Value],
) -> list[Value]:
    """Parse every word, so that all faults of a list are reported at once."""
    values: list[Value] = []
    for word in given:
        try:
            values.append(parser(word))
        except Refused as refusal:
            faults.add(origin, word, str(refusal))
    return values


def _number(word: str, low: int, high: int, what: str) -> int:
    if not _NUMBER.fullmatch(word) or not low <= int(word) <= high:
        raise Refused(f"is not {what} ({low} to {high})")
    return int(word)


def port(word: str) -> int:
    """One port; 0 is none."""
    return _number(word, 1, PORT_MAX, "a port")


def port_range(word: str) -> PortRange:
    """One port, or "first-last" (or "first:last", as iptables spells it)."""
    match = _RANGE.fullmatch(word)
    if match is None:
        one = _number(word, 1, PORT_MAX, "a port, or a range such as 8000-8100")
        return PortRange(one, one)
    first, last = (_number(end, 1, PORT_MAX, "a range of ports") for end in match.groups())
    if first > last:
        raise Refused("is a range that ends before it starts")
    return PortRange(first, last)


def identity(word: str) -> int:
    """Parse a numeric user or group: names differ between this image and the proxy's."""
    return _number(word, 0, ID_MAX, "a numeric id")


def network(word: str) -> Network:
    """Parse an address or a CIDR block of either family."""
    if not _NETWORK.fullmatch(word):
        raise Refused("is not an address or a CIDR block such as 10.0.0.0/8")
    try:
        block = ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise Refused("is not an address or a CIDR block such as 10.0.0.0/8") from None
    if block.network_address != ipaddress.ip_interface(word).ip:
        raise Refused(f"has bits set beyond its prefix; {block} is the block it lies in")
    if isinstance(block, IPv6Network) and block.subnet_of(_MAPPED):
        raise Refused("is IPv4 inside IPv6, which no packet carries; write the IPv4 block")
    return block


def merge_networks(networks: Sequence[Network]) -> tuple[Network, ...]:
    """Drop blocks that lie in others, join halves, sort IPv4 before IPv6."""
    v4 = [block for block in networks if isinstance(block, IPv4Network)]
    v6 = [block for block in networks if isinstance(block, IPv6Network)]
    return (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))


def family(word: str) -> Family:
    """ipv4 or ipv6."""
    for known in Family:
        if word == known.word:
            return known
    raise Refused("is not ipv4, ipv6 or auto")


def one_of(*choices: str) -> Callable[[str], str]:
    """Make a parser that takes these words and no other."""

    def parse(word: str) -> str:
        if word not in choices:
            raise Refused(f"is not one of {', '.join(choices)}")
        return word

    return parse


def switch(word: str) -> bool:
    """Parse the value of a variable that stands for a flag without a value."""
    if word.lower() not in _SWITCH:
        raise Refused(f"is not one of {', '.join(_SWITCH)}")
    return _SWITCH[word.lower()]


def duration(word: str) -> float:
    """Parse 500ms, 5s, 1m or 1h, into seconds."""
    match = _DURATION.fullmatch(word)
    if match is None:
        raise Refused("is not a duration such as 500ms, 5s or 1m")
    return int(match[1]) * _SECONDS[match[2]]
