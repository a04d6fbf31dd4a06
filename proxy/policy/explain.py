"""What authorization policies say of a request, and why: for people, in plain Python.

The data plane judges (fast/policy.pxd); this tells an operator what it will find.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from proxy.sources.authorization_policy import (
    ACCOUNT,
    ALLOW,
    DENY,
    DESTINATION_IP,
    HEADER,
    HOST,
    METHOD,
    NAMESPACE,
    PATH,
    PORT,
    PRINCIPAL,
    SNI,
    SOURCE_IP,
    TRUST_DOMAIN,
    AuthorizationPolicy,
    Group,
    Match,
    Rule,
)

_PEER: Final = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")


class Asked(NamedTuple):
    """A request that comes in. What is not known is empty, and fits nothing."""

    peer: str  # SPIFFE ID
    port: int
    method: str
    host: str
    path: str  # in its one form
    headers: tuple[tuple[str, str], ...] = ()
    source: str = ""
    destination: str = ""
    sni: str = ""


class Reading(NamedTuple):
    """A policy, and whether it matched; else what of each rule did not fit."""

    policy: AuthorizationPolicy
    is_matched: bool
    misfits: tuple[str, ...]


class Verdict(NamedTuple):
    """What becomes of it, by which policy ("": by none), and a sentence."""

    is_allowed: bool
    policy: str
    text: str


def read(policies: Iterable[AuthorizationPolicy], asked: Asked) -> list[Reading]:
    """Return how each policy takes a request."""
    return [_reading(policy, asked) for policy in policies]


def judge(readings: Sequence[Reading]) -> Verdict:
    """Return what the policies decide together. Dry runs and audits decide nothing."""
    deciding = [each for each in readings if not each.policy.is_dry_run]
    for each in deciding:
        if each.policy.action == DENY and each.is_matched:
            return Verdict(False, each.policy.meta.path, "a DENY policy matches")  # noqa: FBT003
    allowing = [each for each in deciding if each.policy.action == ALLOW]
    if not allowing:
        return Verdict(True, "", "there is no ALLOW policy")  # noqa: FBT003
    for each in allowing:
        if each.is_matched:
            return Verdict(True, each.policy.meta.path, "an ALLOW policy matches")  # noqa: FBT003
    return Verdict(False, "", "there are ALLOW policies, and none matches")  # noqa: FBT003


def _reading(policy: AuthorizationPolicy, asked: Asked) -> Reading:
    misfits = [_misfit(rule, asked, is_allow=policy.action == ALLOW) for rule in policy.rules]
    is_matched = "" in misfits
    told = [f"rule {i}: {text}" for i, text in enumerate(misfits)] or ["it has no rule"]
    return Reading(policy, is_matched, () if is_matched else tuple(told))


def _misfit(rule: Rule, asked: Asked, *, is_allow: bool) -> str:
    """Return what does not fit, "" where all does."""
    for word, groups in (("from", rule.sources), ("to", rule.operations)):
        if groups and not any(_group_fits(group, asked, is_allow) for group in groups):
            fields = dict.fromkeys(match.field for group in groups for match in group)
            return f"no entry of {word} fits (it looks at {', '.join(fields)})"
    for match in rule.when:
        if not _fits(match, asked, is_allow):
            return f"a condition on {match.name or match.field} does not hold"
    return ""


def _group_fits(group: Group, asked: Asked, is_allow: bool) -> bool:  # noqa: FBT001
    return all(_fits(match, asked, is_allow) for match in group)


def _fits(match: Match, asked: Asked, is_allow: bool) -> bool:  # noqa: FBT001
    if match.field == HEADER:
        return _header_fits(match, asked, is_allow)
    fits = any(_TESTS[match.field](value, asked) for value in match.values)
    return fits is not match.is_not


def _header_fits(match: Match, asked: Asked, is_allow: bool) -> bool:  # noqa: FBT001
    found = [value for name, value in asked.headers if name.lower() == match.name]
    if not found:
        return match.is_not
    each = [any(_word(p, value) for p in match.values) is not match.is_not for value in found]
    # To be let in all of several values must fit; to be kept out one is enough.
    return all(each) if is_allow else any(each)


def _word(pattern: str, word: str) -> bool:
    if pattern == "*":
        return word != ""
    if pattern.endswith("*"):
        return word.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return word.endswith(pattern[1:])
    return word == pattern


def _path(pattern: str, asked: Asked) -> bool:
    if "{" not in pattern:
        return _word(pattern, asked.path)
    parts = re.split(r"(\{\*\*?\})", pattern)
    regex = "".join({"{*}": "[^/]+", "{**}": ".*"}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(regex, asked.path, re.DOTALL) is not None


def _host(pattern: str, asked: Asked) -> bool:
    host = asked.host.lower()
    return _word(pattern, host) or (
        re.search(r":\d*$", host) is not None and _word(pattern, host.rpartition(":")[0])
    )


def _block(pattern: str, ip: str) -> bool:
    if not ip:
        return False
    network, address = ipaddress.ip_network(pattern), ipaddress.ip_address(ip)
    return network.version == address.version and address in network


def _part(asked: Asked, number: int) -> str:
    found = _PEER.fullmatch(asked.peer)
    if found:
        return str(found[number])
    domain = asked.peer.removeprefix("spiffe://").partition("/")[0]
    return domain if number == 1 else ""


_TESTS: Final[Mapping[str, Callable[[str, Asked], bool]]] = {
    PRINCIPAL: lambda p, asked: _word(p, asked.peer.removeprefix("spiffe://")),
    NAMESPACE: lambda p, asked: _word(p, _part(asked, 2)),
    ACCOUNT: lambda p, asked: p == f"{_part(asked, 2)}/{_part(asked, 3)}",
    TRUST_DOMAIN: lambda p, asked: _word(p, _part(asked, 1)),
    SOURCE_IP: lambda p, asked: _block(p, asked.source),
    DESTINATION_IP: lambda p, asked: _block(p, asked.destination),
    PORT: lambda p, asked: int(p) == asked.port,
    SNI: lambda p, asked: _word(p, asked.sni),
    HOST: _host,
    METHOD: lambda p, asked: _word(p, asked.method),
    PATH: _path,
}
