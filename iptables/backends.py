"""Which tools are here, and which of them should hold the rules."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from iptables import tools
from iptables.exits import Exit, InitError
from iptables.held import Held
from iptables.spec import Family
from iptables.stores import NftStore, Store, XtablesStore, reads
from iptables.tools import Command, ToolError, Version

NFT: Final = "nft"
LEGACY: Final = "legacy"
NFTABLES: Final = "nftables"
_PREFIX: Final = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}


@dataclass(frozen=True)
class Backend:
    """One way to hold the rules, with what it holds now: an error where it does not work."""

    name: str
    is_default: bool  # what the plain name `iptables` means on this machine
    held: tuple[tuple[Store, Held | ToolError], ...]

    @property
    def has_ours(self) -> bool:
        """Tell whether rules of remora are in it."""
        return any(found for _, found in self.readable)

    @property
    def has_foreign(self) -> bool:
        """Tell whether rules of others are in it."""
        return any(found.has_foreign for _, found in self.readable)

    @property
    def readable(self) -> list[tuple[Store, Held]]:
        """Give the places of it that work here."""
        return [(store, found) for store, found in self.held if isinstance(found, Held)]

    @property
    def errors(self) -> list[ToolError]:
        """Give what went wrong while reading."""
        return [found for _, found in self.held if isinstance(found, ToolError)]

    def serves(self, families: Iterable[Family]) -> bool:
        """Tell whether it works for all of these families."""
        served = {family for store, _ in self.readable for family in store.families}
        return served.issuperset(families)


def discover() -> list[Backend]:
    """Look at every tool of the machine and at what it holds in this network namespace."""
    versions = _Versions()
    plain = versions.of(tools.find("iptables-restore"))
    backends = []
    for variant in (NFT, LEGACY):
        stores = [store for family in Family if (store := _xtables(family, variant, versions))]
        if stores:
            is_default = plain is not None and plain.variant == variant
            backends.append(_surveyed(variant, stores, is_default=is_default))
    nft = tools.find("nft")
    if nft:
        backends.append(_surveyed(NFTABLES, [NftStore(nft)], is_default=False))
    return backends


def _surveyed(name: str, stores: Sequence[Store], *, is_default: bool) -> Backend:
    return Backend(name, is_default, tuple((store, reads(store)) for store in stores))


class _Versions:
    """What tools say of their version: one program has several names, and is asked once."""

    def __init__(self) -> None:
        self._known: dict[str, Version | None] = {}

    def of(self, restore: str | None) -> Version | None:
        """Ask a tool; None when it is not there, or says nothing that we know."""
        if restore is None:
            return None
        program = os.path.realpath(restore)
        if program not in self._known:
            self._known[program] = self._asked(restore)
        return self._known[program]

    @staticmethod
    def _asked(restore: str) -> Version | None:
        try:
            return tools.version(tools.run(Command((restore, "--version"))))
        except ToolError:
            return None


def _xtables(family: Family, variant: str, versions: _Versions) -> XtablesStore | None:
    """Find the pair of tools of one variant, by its own name or behind the plain one."""
    prefix = _PREFIX[family]
    for stem in (f"{prefix}-{variant}", prefix):
        restore, save = tools.find(f"{stem}-restore"), tools.find(f"{stem}-save")
        found = versions.of(restore)
        if restore and save and found and found.variant == variant:
            return XtablesStore(family, variant, save, restore, found.knows_wait, tools.find("nft"))
    return None


def choose(
    backends: Sequence[Backend],
    requested: str,
    families: Iterable[Family],
) -> tuple[Backend, str]:
    """Give the backend to use and the reason, or raise InitError. Pure.

    Two sets of rules in two variants work against each other in ways that nobody can read: so
    what is in use in this namespace comes first, then what the machine calls iptables.
    """
    wanted = tuple(families)
    if requested != "auto":
        named = next((backend for backend in backends if backend.name == requested), None)
        if named is None:
            raise InitError(Exit.UNAVAILABLE, _missing(requested))
        return _checked(named, wanted), "as asked for"
    usable = [backend for backend in backends if backend.serves(wanted)]
    iptables = [backend for backend in usable if backend.name != NFTABLES]
    reasons = (
        ("rules of remora are there", [each for each in usable if each.has_ours]),
        ("rules of others are there", _alone(iptables)),
        ("it is the default iptables", [each for each in iptables if each.is_default]),
        ("it works here", usable),
    )
    for reason, candidates in reasons:
        if candidates:
            return candidates[0], reason
    if not backends:
        raise InitError(Exit.UNAVAILABLE, _missing("auto"))
    default = next((backend for backend in backends if backend.is_default), backends[0])
    return _checked(default, wanted), "nothing else is there"


def _alone(iptables: Sequence[Backend]) -> list[Backend]:
    """Give the one variant with rules of others; if both have some, that decides nothing."""
    used = [backend for backend in iptables if backend.has_foreign]
    return used if len(used) == 1 else []


def _missing(name: str) -> str:
    programs = {
        NFT: "iptables-nft-restore and iptables-nft-save (Debian: package iptables)",
        LEGACY: "iptables-legacy-restore and iptables-legacy-save (Debian: package iptables)",
        NFTABLES: "nft (Debian: package nftables)",
    }
    return "missing tool: " + programs.get(
        name, "neither iptables nor nft is here (Debian: package iptables, or nftables)"
    )


def _checked(backend: Backend, families: Iterable[Family]) -> Backend:
    """Give the backend back if it can serve every family; say why not otherwise."""
    wanted = set(families)
    for store, found in backend.held:
        if isinstance(found, ToolError) and wanted.intersection(store.families):
            from iptables.causes import explain  # noqa: PLC0415 - for failures only

            code, causes = explain(store.name, found)
            raise InitError(code, f"{store.name} does not work here: {found}", *causes) from found
    for family in sorted(wanted, key=lambda each: each.value):
        if not backend.serves([family]):
            prefix = _PREFIX[family]
            raise InitError(
                Exit.UNAVAILABLE,
                f"missing tool: {prefix}-{backend.name}-restore, though the namespace has"
                f" {family.word} (to leave {family.word} alone on purpose, name --families)",
            )
    return backend
