"""Our rules as iptables-save prints and iptables-restore reads them. Text in, text out.

Lines are written exactly as iptables-save prints them, so that reading back is a comparison.
What newer or older versions spell otherwise (order of matches, "-m tcp", shortened addresses)
is evened out by `key`.
"""

import ipaddress
import shlex
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from iptables import held
from iptables.held import Held
from iptables.rules import OUTPUT, PREFIX, PREROUTING, Jump, Redirect, Rule
from iptables.spec import Ports

TABLE: Final = "nat"

# Marks that table nat was not there before us, so that cleanup may drop it. An empty chain, as it
# is the one thing in a table that survives in the kernel and does nothing.
MADE_TABLE: Final = PREFIX + "MADE_TABLE"


_BUILT_IN: Final = (PREROUTING, "INPUT", OUTPUT, "POSTROUTING")

# Printed by iptables-nft-save instead of a table that only nft can show.
_UNREADABLE: Final = f"# Table `{TABLE}' is incompatible"


def _ports(ports: Ports) -> str:
    return ",".join(str(part).replace("-", ":") for part in ports)


def render(rule: Rule) -> str:
    """Write one rule as a line of iptables-save."""
    words = ["-A", rule.chain]
    if rule.source:
        words += ["-s", str(rule.source)]
    if rule.destination:
        words += ["-d", str(rule.destination)]
    if rule.destination_not:
        words += ["!", "-d", str(rule.destination_not)]
    if rule.through_loopback:
        words += ["-o", "lo"]
    if rule.ports or isinstance(rule.verdict, Redirect) or rule.chain in (PREROUTING, OUTPUT):
        words += ["-p", "tcp"]
    if rule.ports:
        words += ["-m", "multiport", "--dports", _ports(rule.ports)]
    if rule.owner:
        words += ["-m", "owner", f"--{rule.owner.kind}-owner", str(rule.owner.number)]
    words += ["-m", "comment", "--comment", f'"{rule.comment}"', "-j", _target(rule)]
    return " ".join(words)


def _target(rule: Rule) -> str:
    match rule.verdict:
        case Jump(chain):
            return chain
        case Redirect(port):
            return f"REDIRECT --to-ports {port}"
        case _:
            return "RETURN"


def wanted(rules: Iterable[Rule], found: Held, *, may_drop_table: bool) -> Held:
    """Give what table nat should hold of ours; a mark that is there already is kept."""
    chains: dict[str, list[str]] = {}
    jumps: list[str] = []
    for rule in rules:
        if rule.chain.startswith(PREFIX):
            chains.setdefault(rule.chain, []).append(render(rule))
        else:
            jumps.append(render(rule))
    if MADE_TABLE in found.chains or (may_drop_table and not found.table_exists):
        chains[MADE_TABLE] = []
    return Held({name: tuple(lines) for name, lines in chains.items()}, tuple(jumps))


def is_readable(saved: str) -> bool:
    """Tell whether iptables-save could show table nat at all."""
    return _UNREADABLE not in saved


def parse(saved: str) -> Held:
    """Read the output of iptables-save for all tables."""
    chains: dict[str, list[str]] = {}
    jumps: list[str] = []
    table = ""
    tables: set[str] = set()
    foreign: set[str] = set()  # tables with rules, chains or policies of others
    foreign_rules = False
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
            tables.add(table)
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            if table == TABLE and name.startswith(PREFIX):
                chains[name] = []
            elif policy != "ACCEPT":
                foreign.add(table)
        elif line.startswith("-A "):
            chain = line.split()[1]
            if table == TABLE and chain.startswith(PREFIX):
                chains[chain].append(line)
            elif table == TABLE and _jumps_to_us(line):
                jumps.append(line)
            else:
                foreign.add(table)
                foreign_rules = True
    return Held(
        {name: tuple(lines) for name, lines in chains.items()},
        tuple(jumps),
        table_exists=TABLE in tables,
        has_foreign=foreign_rules,
        shares_table=TABLE in foreign,
    )


def _jumps_to_us(line: str) -> bool:
    words = line.split()
    return any(
        word in ("-j", "-g") and target.startswith(PREFIX) for word, target in pairwise(words)
    )


def transaction(before: Held, after: Held) -> str:
    """Write the input of iptables-restore --noflush that leads from one to the other.

    A chain that is declared is made, or emptied if it is there: both belong to the transaction.
    A jump that stays is not touched, so that its place among the rules of others stays too.
    """
    gone = [name for name in before.chains if name not in after.chains]
    lines = [f"*{TABLE}"]
    lines += [f":{name} - [0:0]" for name in [*after.chains, *gone]]
    lines += [
        line.replace("-A ", "-D ", 1)
        for line in held.without_partner(before.jumps, after.jumps, key)
    ]
    lines += [line for chain in after.chains.values() for line in chain]
    lines += held.without_partner(after.jumps, before.jumps, key)
    lines += [f"-X {name}" for name in gone]
    return "\n".join([*lines, "COMMIT", ""])


def holds_more(listing: str) -> bool:
    """Tell whether `nft list table` shows things in table nat that iptables does not know.

    Sets, maps and base chains of other names are somebody's, though iptables-save hides them.
    """
    depth = 0
    for line in listing.splitlines():
        words = line.split()
        if depth == 1 and words and words != ["}"]:
            is_known = words[1] in _BUILT_IN or words[1].startswith(PREFIX)
            if words[0] != "chain" or not is_known:
                return True
        depth += line.count("{") - line.count("}")
    return False


def drop_table(family_word: str) -> str:
    """Write the input of nft that takes table nat away again, if nobody uses it by now.

    Deleting a chain fails where it has rules, and one failure undoes the whole.
    """
    return "".join(
        f"delete {what}\n"
        for what in (
            f"chain {family_word} {TABLE} {PREROUTING}",
            f"chain {family_word} {TABLE} {OUTPUT}",
            f"table {family_word} {TABLE}",
        )
    )


def key(line: str) -> tuple[str, ...]:
    """Give the same for every spelling of a rule: its matches, sorted, addresses evened out."""
    groups: list[list[str]] = []
    negated = False
    for word in shlex.split(line):
        if word == "!":
            negated = True
        elif word.startswith("-") or not groups:
            groups.append(["!", word] if negated else [word])
            negated = False
        else:
            groups[-1].append(_address(word))
    return tuple(sorted(" ".join(group) for group in groups if group != ["-m", "tcp"]))


def _address(word: str) -> str:
    if "." not in word and ":" not in word:
        return word
    try:
        return str(ipaddress.ip_network(word))
    except ValueError:
        return word
