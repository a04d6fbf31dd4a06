"""Our rules as native nft reads and lists them: one table for each family, all ours.

Two tables of the families ip and ip6, not one of the family inet: nat in inet needs Linux 5.2.
Both change in one transaction all the same. Every rule has a counter, as iptables rules do:
`nft list table ip remora` then shows which rule takes a connection.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final

from iptables.held import Held
from iptables.rules import OUTPUT, PREFIX, PREROUTING, Jump, Redirect, Rule
from iptables.spec import Family, Ports

TABLE: Final = "remora"
FAMILY_WORD: Final = {Family.IPV4: "ip", Family.IPV6: "ip6"}

# -100 is where nat of destinations happens (NF_IP_PRI_NAT_DST); iptables uses the same.
_HOOK: Final = "type nat hook {} priority -100; policy accept;"
_HOOKS: Final = {PREROUTING: "prerouting", OUTPUT: "output"}

# What versions of nft spell differently, evened out in `key`.
_SPELLINGS: Final = (
    (re.compile(r"\bmeta (?=l4proto|skuid|skgid|oifname)"), ""),
    (re.compile(r"\bl4proto 6\b"), "l4proto tcp"),
    (re.compile(r"\bpriority dstnat\b"), "priority -100"),
    (re.compile(r"\bcounter packets \d+ bytes \d+\b"), "counter"),
)


def _name(chain: str) -> str:
    return chain.removeprefix(PREFIX).lower()


def _ports(ports: Ports) -> str:
    words = ", ".join(map(str, ports))
    return words if len(ports) == 1 else f"{{ {words} }}"


def render(rule: Rule, family: Family) -> str:
    """Write one rule as nft lists it."""
    ip = FAMILY_WORD[family]
    words = []
    if rule.through_loopback:
        words += ["oifname", '"lo"']
    if rule.source:
        words += [ip, "saddr", _network(rule.source)]
    if rule.destination:
        words += [ip, "daddr", _network(rule.destination)]
    if rule.destination_not:
        words += [ip, "daddr", "!=", _network(rule.destination_not)]
    if rule.owner:
        words += ["meta", f"sk{rule.owner.kind}", str(rule.owner.number)]
    if rule.ports:
        words += ["tcp", "dport", _ports(rule.ports)]
    elif isinstance(rule.verdict, Redirect) or rule.chain in _HOOKS:
        words += ["meta", "l4proto", "tcp"]
    words += ["counter", _verdict(rule), "comment", f'"{rule.comment}"']
    return " ".join(words)


def _network(network: object) -> str:
    return str(network).removesuffix("/32" if "." in str(network) else "/128")


def _verdict(rule: Rule) -> str:
    match rule.verdict:
        case Jump(chain):
            return f"jump {_name(chain)}"
        case Redirect(port):
            return f"redirect to :{port}"
        case _:
            return "return"


def wanted(rules: Mapping[Family, Iterable[Rule]]) -> Held:
    """Give what our tables should hold."""
    chains: dict[str, list[str]] = {}
    for family, of_family in rules.items():
        table = FAMILY_WORD[family]
        for rule in of_family:
            head = [_HOOK.format(_HOOKS[rule.chain])] if rule.chain in _HOOKS else []
            name = f"{table} {_name(rule.chain)}"
            chains.setdefault(name, head).append(render(rule, family))
    return Held({name: tuple(lines) for name, lines in chains.items()})


def parse(listings: Mapping[Family, str]) -> dict[str, tuple[str, ...]]:
    """Read `nft list table` of our tables: chains by "ip output" and so on."""
    chains: dict[str, list[str]] = {}
    for family, listing in listings.items():
        chain: list[str] | None = None
        for line in _whole_lines(listing):
            if line.startswith("chain "):
                chain = chains.setdefault(f"{FAMILY_WORD[family]} {line.split()[1]}", [])
            elif line == "}":
                chain = None
            elif chain is not None:
                chain.append(line)
    return {name: tuple(lines) for name, lines in chains.items()}


def _whole_lines(listing: str) -> Iterable[str]:
    """Give the lines without indentation; a set that nft wraps becomes one line again."""
    pending = ""
    for line in listing.splitlines():
        pending = f"{pending} {line.strip()}".strip()
        if pending.count("{") <= pending.count("}") or pending.endswith("{"):
            yield pending
            pending = ""


def transaction(before: Held, after: Held) -> str:
    """Write the input of `nft -f -` that leads from one to the other, for both tables at once.

    A table is added before it is deleted: a delete of what is not there would fail.
    """
    text = ""
    for table in FAMILY_WORD.values():
        of_table = {name: lines for name, lines in after.chains.items() if _is_in(name, table)}
        if of_table or any(_is_in(name, table) for name in before.chains):
            text += f"table {table} {TABLE}\ndelete table {table} {TABLE}\n"
        if of_table:
            text += _table(table, of_table)
    return text


def _is_in(name: str, table: str) -> bool:
    return name.split(maxsplit=1)[0] == table


def _table(table: str, chains: Mapping[str, tuple[str, ...]]) -> str:
    text = f"table {table} {TABLE} {{\n"
    for name, lines in chains.items():
        body = "".join(f"    {line}\n" for line in lines)
        text += f"  chain {name.split()[1]} {{\n{body}  }}\n"
    return text + "}\n"


def key(line: str) -> tuple[str, ...]:
    """Give the same for every spelling of a line."""
    for pattern, spelling in _SPELLINGS:
        line = pattern.sub(spelling, line)
    return tuple(_address(word) for word in line.split())


def _address(word: str) -> str:
    bare = word.rstrip(",")
    if "." not in bare and "::" not in bare:
        return word
    try:
        return word.replace(bare, str(ipaddress.ip_network(bare)))
    except ValueError:
        return word
