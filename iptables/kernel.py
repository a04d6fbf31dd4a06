"""What the kernel lacks when a transaction fails: the module by name, with where it was seen.

Missing modules are the most frequent fault of an installation, and the tools hardly name them:
"line 13 failed" is all that legacy iptables says. So the refused rule tells which features it
needs, and the kernel's own lists tell which of them are not there.
"""

import gzip
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Feature:
    """Something of the kernel that our rules need."""

    name: str  # as an operator would search for it
    module: str
    option: str  # in the kernel's configuration
    extension: str = ""  # its word in rules, and in /proc/net/ip_tables_{targets,matches}

    def __str__(self) -> str:
        """Give the name, and the module to look for."""
        return f"{self.name} (module {self.module})"


CONNTRACK: Final = Feature("connection tracking", "nf_conntrack", "CONFIG_NF_CONNTRACK")
NAT: Final = Feature("address translation", "nf_nat", "CONFIG_NF_NAT")
_BASE: Final = (CONNTRACK, NAT)

_XT: Final = "CONFIG_NETFILTER_XT_"
REDIRECT: Final = Feature("target REDIRECT", "xt_REDIRECT", f"{_XT}TARGET_REDIRECT", "REDIRECT")
OWNER: Final = Feature("match owner", "xt_owner", f"{_XT}MATCH_OWNER", "owner")
MULTIPORT: Final = Feature("match multiport", "xt_multiport", f"{_XT}MATCH_MULTIPORT", "multiport")
COMMENT: Final = Feature("match comment", "xt_comment", f"{_XT}MATCH_COMMENT", "comment")
_EXTENSIONS: Final = (REDIRECT, OWNER, MULTIPORT, COMMENT)

TABLE_IPV4: Final = Feature("legacy table nat of IPv4", "iptable_nat", "CONFIG_IP_NF_NAT")
TABLE_IPV6: Final = Feature("legacy table nat of IPv6", "ip6table_nat", "CONFIG_IP6_NF_NAT")

NF_TABLES: Final = Feature("nf_tables", "nf_tables", "CONFIG_NF_TABLES")
NFT_NAT: Final = Feature("nat chains of nf_tables", "nft_chain_nat", "CONFIG_NFT_NAT")
NFT_REDIR: Final = Feature("redirect of nf_tables", "nft_redir", "CONFIG_NFT_REDIR")
NFT_COMPAT: Final = Feature("iptables extensions in nf_tables", "nft_compat", "CONFIG_NFT_COMPAT")
_NFT_VARIANT: Final = (*_BASE, NF_TABLES, NFT_NAT, NFT_COMPAT, *_EXTENSIONS)

# What each place needs, by its name (see stores).
NEEDS: Final[Mapping[str, tuple[Feature, ...]]] = {
    "iptables-nft": _NFT_VARIANT,
    "ip6tables-nft": _NFT_VARIANT,
    "iptables-legacy": (*_BASE, TABLE_IPV4, *_EXTENSIONS),
    "ip6tables-legacy": (*_BASE, TABLE_IPV6, *_EXTENSIONS),
    "nftables": (*_BASE, NF_TABLES, NFT_NAT, NFT_REDIR),
}

# What the tools write about a feature that is not there.
_NO_TABLE: Final = re.compile(r"can't initialize ip6?tables table|Table does not exist")
_NO_NF_TABLES: Final = re.compile(r"Failed to initialize nft|Protocol not supported")
_NO_EXTENSION: Final = re.compile(
    r"Extension (\w+) (?:revision \d+|is) not supported|Couldn't load (?:match|target) [`'](\w+)'"
)
_LINE: Final = re.compile(r"(?:line |/dev/stdin:)(\d+)")
_RIGHTS: Final = re.compile(r"Permission denied|Operation not permitted|you must be root")
_LOCK: Final = re.compile(r"xtables\.lock|lock file")

# How a line of our input shows that it needs a feature.
_MARKS: Final[Mapping[str, Feature]] = {
    "-j REDIRECT": REDIRECT,
    "-m owner": OWNER,
    "-m multiport": MULTIPORT,
    "-m comment": COMMENT,
    "redirect to": NFT_REDIR,
    "type nat": NFT_NAT,
}


@dataclass(frozen=True)
class Facts:
    """What the kernel says of itself. Empty where it does not say."""

    options: Mapping[str, str]  # CONFIG_X: "y", "m" or "n"
    modules: frozenset[str]  # loaded
    extensions: frozenset[str]  # of iptables, registered now


def gather(proc: Path = Path("/proc"), boot: Path = Path("/boot")) -> Facts:
    """Read what this kernel says of itself; what cannot be read stays empty."""
    options = _options(proc / "config.gz", boot / f"config-{os.uname().release}")
    modules = (line.split()[0] for line in _lines(proc / "modules"))
    lists = (proc / "net" / f"{family}_tables_{kind}" for family in _IP for kind in _KINDS)
    extensions = (line.strip() for file in lists for line in _lines(file))
    return Facts(options, frozenset(modules), frozenset(extensions))


_IP: Final = ("ip", "ip6")
_KINDS: Final = ("targets", "matches")


def _options(packed: Path, plain: Path) -> dict[str, str]:
    try:
        lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    except OSError:
        lines = _lines(plain)
    options = {}
    for line in lines:
        if line.startswith("CONFIG_"):
            name, _, value = line.partition("=")
            options[name] = value
    return options


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def built_without(features: Iterable[Feature], facts: Facts) -> list[str]:
    """Name the features that this kernel cannot have. Pure.

    An option that is off, or depends on one that is off, is not listed as y or m.
    """
    if not facts.options:
        return []
    return [
        f"{feature.name}: the kernel is built without {feature.option}"
        for feature in features
        if facts.options.get(feature.option) not in ("y", "m")
    ]


def not_loaded(features: Iterable[Feature], facts: Facts) -> list[str]:
    """Name the features whose module is not there now; the kernel may have failed to load it."""
    return [
        f"{feature.name}: module {feature.module} is not loaded;"
        " load it on the node (modprobe), as a container cannot"
        for feature in features
        if facts.options.get(feature.option, "m") == "m"
        and feature.module not in facts.modules
        and feature.extension not in facts.extensions
    ]


def named(message: str, place: str) -> list[str]:
    """Name the features that the tool's own words complain about. Pure."""
    words = {word for pair in _NO_EXTENSION.findall(message) for word in pair if word}
    found = {feature for feature in NEEDS[place] if feature.extension in words}
    if _NO_TABLE.search(message):
        found |= {TABLE_IPV4, TABLE_IPV6}
    if _NO_NF_TABLES.search(message):
        found.add(NF_TABLES)
    return [f"missing: {feature}" for feature in NEEDS[place] if feature in found]


def refused_line(message: str, text: str) -> str:
    """Give the line of our input that the tool stumbled over; empty if it names none. Pure."""
    match = _LINE.search(message)
    lines = text.splitlines()
    if match is None or not 1 <= int(match[1]) <= len(lines):
        return ""
    return lines[int(match[1]) - 1].strip()


def needed_by(line: str, place: str) -> list[Feature]:
    """Give what one line of our input needs. Pure."""
    return [feature for mark, feature in _MARKS.items() if mark in line and feature in NEEDS[place]]


def rights(message: str) -> str:
    """Say what to do when the tool may not do its work; empty if that is not it. Pure."""
    if _LOCK.search(message):
        return (
            "iptables-legacy cannot open its lock file: make /run writable (an emptyDir),"
            " or name another file in XTABLES_LOCKFILE"
        )
    if _RIGHTS.search(message):
        return "this needs root with CAP_NET_ADMIN, and CAP_NET_RAW for iptables-legacy"
    return ""
