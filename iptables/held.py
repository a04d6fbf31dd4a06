"""What a place that can hold our rules holds: one picture for iptables and nft alike. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

Key = Callable[[str], tuple[str, ...]]  # two spellings of one rule have the same key

_LABEL: Final = re.compile(r"remora/[a-z-]+")


@dataclass(frozen=True)
class Held:
    """Our rules in one place, each line as the tool spells it."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    jumps: tuple[str, ...] = ()  # in chains that are not ours; always empty for native nft
    table_exists: bool = False  # the table that holds them, ours or not
    has_foreign: bool = False  # rules of others anywhere in this place
    shares_table: bool = False  # rules, chains or policies of others in our table

    def __bool__(self) -> bool:
        """Tell whether anything of ours is there."""
        return bool(self.chains or self.jumps)

    @property
    def rule_count(self) -> int:
        """Rules of ours, the jumps among them; each carries our comment."""
        lines = [*self.jumps, *(line for chain in self.chains.values() for line in chain)]
        return sum(1 for line in lines if _LABEL.search(line))


def same(left: Held, right: Held, key: Key) -> bool:
    """Tell whether both hold the same rules of ours, in the same order."""
    return (
        left.chains.keys() == right.chains.keys()
        and sorted(map(key, left.jumps)) == sorted(map(key, right.jumps))
        and all(
            list(map(key, lines)) == list(map(key, right.chains[name]))
            for name, lines in left.chains.items()
        )
    )


def without_partner(lines: Iterable[str], others: Iterable[str], key: Key) -> tuple[str, ...]:
    """Give the lines that the others lack; a line that stands twice needs two partners."""
    left = [key(line) for line in others]
    alone = []
    for line in lines:
        if key(line) in left:
            left.remove(key(line))
        else:
            alone.append(line)
    return tuple(alone)


def differences(found: Held, wanted: Held, key: Key) -> list[str]:
    """Say what is missing and what should not be there, one rule a sentence."""
    sentences = []
    names = dict.fromkeys([*wanted.chains, *found.chains])
    groups = [(wanted.jumps, found.jumps)]
    groups += [(wanted.chains.get(name, ()), found.chains.get(name, ())) for name in names]
    for expected, present in groups:
        missing = without_partner(expected, present, key)
        sentences += [f"rule {label(line)} is missing: {line}" for line in missing]
        surplus = without_partner(present, expected, key)
        sentences += [f"rule {label(line)} was not asked for: {line}" for line in surplus]
    if not sentences and not same(found, wanted, key):
        sentences.append("the rules stand in another order than asked for")
    return sentences


def label(line: str) -> str:
    """Name the rule by the comment it carries."""
    match = _LABEL.search(line)
    return match[0] if match else "without our comment"
