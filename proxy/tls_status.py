"""Mesh TLS for the operator: the JSON of GET /identity, and its line of GET /status."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from proxy.engine import TLS_ROLES, Stats, TlsStats
from proxy.snapshot import Trust

if TYPE_CHECKING:
    from proxy.identity.keeper import Keeper

Facts = dict[str, object]

# What `ctl status` says of our identity; `ctl identity` has the rest.
_IN_SHORT: Final = ("identity", "not_after", "seconds_left")


def identity_facts(keeper: "Keeper | None", trust: Trust, stats: Stats) -> Facts:
    """Return all there is to know; without an identity only that there is none."""
    if keeper is None:
        return {"identity": None}
    tls = stats.tls()
    return {
        **keeper.facts(),
        "mode": trust.mode,
        "ports": {str(port): mode for port, mode in trust.ports.items()},
        "endpoints": [str(endpoint) for endpoint in trust.endpoints if endpoint.identity],
        "handshakes": {role: _handshakes(tls, role) for role in TLS_ROLES},
        "failures": _failures(tls.failed),
        "mesh_share": mesh_share(stats),
    }


def identity_in_short(keeper: "Keeper | None", trust: Trust, stats: Stats) -> Facts | None:
    """Return what a line of the status page needs; None without an identity."""
    if keeper is None:
        return None
    facts: Mapping[str, object] = keeper.facts()
    short = {name: facts[name] for name in _IN_SHORT}
    return {**short, "mode": trust.mode, "mesh_share": mesh_share(stats)}


def mesh_share(stats: Stats) -> float | None:
    """Return how much of the payload was in mesh TLS on one of its legs; None without payload.

    A byte is read on one leg and written on the other; with TLS on both it counts once all the
    same, so this is at most 1.
    """
    passed = sum(sum(counts) for _, counts in stats.bytes()) / 2
    if not passed:
        return None
    tls = stats.tls()
    return min((tls.received_bytes + tls.sent_bytes) / passed, 1.0)


def _handshakes(tls: TlsStats, role: str) -> dict[str, int]:
    failed = sum(count for each, _, count in tls.failed if each == role)
    return {"open": tls.open[role], "done": tls.handshakes[role], "failed": failed}


def _failures(failed: Iterable[tuple[str, str, int]]) -> list[Facts]:
    return [
        {"role": role, "reason": reason, "count": count} for role, reason, count in failed if count
    ]
