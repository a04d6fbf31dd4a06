"""The places that can hold our rules, and the tools that read and change them.

Table nat of one family in one variant of iptables is a place; the tables of native nft, of both
families, are another. One change of one place is one transaction of the kernel.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from iptables import nftables, tools, xtables
from iptables.held import Held, Key
from iptables.rules import Rule
from iptables.spec import Family
from iptables.tools import LOCK_WAIT_S, Command, ToolError

Rules = Mapping[Family, Iterable[Rule]]

_LEGACY_TABLES: Final = {
    Family.IPV4: Path("/proc/thread-self/net/ip_tables_names"),
    Family.IPV6: Path("/proc/thread-self/net/ip6_tables_names"),
}


class Store(Protocol):
    """One place."""

    @property
    def name(self) -> str:
        """What an operator would call it."""

    @property
    def families(self) -> tuple[Family, ...]:
        """Families whose rules it can hold."""

    @property
    def key(self) -> Key:
        """How lines are compared."""

    def read(self) -> Held:
        """Read what is there, or raise ToolError. Changes nothing, not even loads a table."""

    def wanted(self, rules: Rules, found: Held) -> Held:
        """Give what should be there; rules of families that are not ours are passed over."""

    def commands(self, before: Held, after: Held) -> list[Command]:
        """Give the calls that lead from one to the other, in order."""


@dataclass(frozen=True)
class XtablesStore:
    """Table nat of one family, through one variant of iptables."""

    family: Family
    variant: str
    save: str
    restore: str
    knows_wait: bool
    nft: str | None = None  # takes an empty table away, which iptables cannot

    @property
    def name(self) -> str:
        """Give "iptables-nft" and so on."""
        return f"{'iptables' if self.family is Family.IPV4 else 'ip6tables'}-{self.variant}"

    @property
    def families(self) -> tuple[Family, ...]:
        """Give its one family."""
        return (self.family,)

    @property
    def key(self) -> Key:
        """Compare as iptables-save prints."""
        return xtables.key

    def read(self) -> Held:
        """Read all tables: asking for nat by name would make it where it is not."""
        command = Command((self.save,))
        names = _LEGACY_TABLES[self.family]
        # Without the right to read this list, the legacy tool prints nothing and is content.
        if self.variant == "legacy" and names.exists() and not os.access(names, os.R_OK):
            raise ToolError(command, f"{names}: Permission denied")
        saved = tools.run(command)
        if not xtables.is_readable(saved):
            raise ToolError(command, "table nat holds what only nft can show: use nftables")
        held = xtables.parse(saved)
        if xtables.MADE_TABLE in held.chains and self.nft is not None:
            table = (nftables.FAMILY_WORD[self.family], xtables.TABLE)
            listing = tools.run(Command((self.nft, "list", "table", *table)))
            shares = held.shares_table or xtables.holds_more(listing)
            return replace(held, shares_table=shares)
        return held

    def wanted(self, rules: Rules, found: Held) -> Held:
        """Give the rules of its family, and the mark of a table that we make."""
        if self.family not in rules:
            return Held()
        can_drop = self.variant == "nft" and self.nft is not None
        return xtables.wanted(rules[self.family], found, may_drop_table=can_drop)

    def commands(self, before: Held, after: Held) -> list[Command]:
        """Give one transaction, and after the last rule of ours the end of a table we made."""
        wait = ("-w", str(LOCK_WAIT_S)) if self.knows_wait else ()
        argv = (self.restore, *wait, "--noflush")
        change = Command(argv, xtables.transaction(before, after))
        made = xtables.MADE_TABLE in before.chains and not after
        if not made or before.shares_table or self.nft is None:
            return [change]
        drop = xtables.drop_table(nftables.FAMILY_WORD[self.family])
        return [change, Command((self.nft, "-f", "-"), drop, is_tidying=True)]


@dataclass(frozen=True)
class NftStore:
    """Our own tables, through nft."""

    nft: str
    name: str = "nftables"
    families: tuple[Family, ...] = tuple(Family)

    @property
    def key(self) -> Key:
        """Compare as nft lists."""
        return nftables.key

    def read(self) -> Held:
        """Read our tables, if they are there."""
        tables = tools.run(Command((self.nft, "list", "tables"))).splitlines()
        listings = {
            family: tools.run(Command((self.nft, "-s", "-y", "list", *ours.split())))
            for family, word in nftables.FAMILY_WORD.items()
            if (ours := f"table {word} {nftables.TABLE}") in tables
        }
        return Held(nftables.parse(listings))

    def wanted(self, rules: Rules, found: Held) -> Held:  # noqa: ARG002 - our tables are ours alone
        """Give the rules of all families."""
        return nftables.wanted(rules)

    def commands(self, before: Held, after: Held) -> list[Command]:
        """Give the one transaction."""
        return [Command((self.nft, "-f", "-"), nftables.transaction(before, after))]


def reads(store: Store) -> Held | ToolError:
    """Read a place that may be unusable here: the error is an answer, too."""
    try:
        return store.read()
    except ToolError as error:
        return error
