"""AuthorizationPolicies → rows that the data plane copies: numbers and bytes, nothing to decide."""

import ipaddress
from collections.abc import Iterable
from typing import Final

from proxy.policy.rows import MatchRow, PolicyRow, Value
from proxy.sources import authorization_policy as words
from proxy.sources.authorization_policy import AuthorizationPolicy, Group, Match

# The same order as the enums of fast/reasons.pxd.
ACTIONS: Final = (words.DENY, words.ALLOW, words.AUDIT)
FIELDS: Final = (
    words.PRINCIPAL,
    words.NAMESPACE,
    words.ACCOUNT,
    words.TRUST_DOMAIN,
    words.SOURCE_IP,
    words.DESTINATION_IP,
    words.PORT,
    words.SNI,
    words.HOST,
    words.METHOD,
    words.PATH,
    words.HEADER,
)
FORMS: Final = (
    "exact",
    "prefix",
    "suffix",
    "present",
    "template",
    "block4",
    "block6",
    "port",
)
# fast/limits.pxd: POLICY_*_MAX.
FIELDS_MAX: Final = 16384
VALUES_MAX: Final = 16384
TEXT_BYTES_MAX: Final = 1 << 20
# Operators of a path's template: fast/policy.pxd, TEMPLATE_*.
_SEGMENT: Final = "\x01"
_REST: Final = "\x02"


def table(policies: Iterable[AuthorizationPolicy]) -> list[PolicyRow]:
    """Return the rows of all policies."""
    return [
        PolicyRow(
            policy.meta.path,
            ACTIONS.index(policy.action),
            policy.is_dry_run,
            [
                (
                    [_group(each) for each in rule.sources],
                    [_group(each) for each in rule.operations],
                    _group(rule.when),
                )
                for rule in policy.rules
            ],
        )
        for policy in policies
    ]


def excess(rows: Iterable[PolicyRow]) -> str:
    """Return what is too much of the policies of one pod for the data plane, "" if nothing is."""
    matches = [
        match
        for row in rows
        for sources, operations, when in row.rules
        for group in (*sources, *operations, when)
        for match in group
    ]
    values = [value for match in matches for value in match[3]]
    text_bytes = sum(len(name) for _, _, name, _ in matches) + sum(len(v[1]) for v in values)
    for what, number, most in (
        ("fields", len(matches), FIELDS_MAX),
        ("values", len(values), VALUES_MAX),
        ("bytes of values", text_bytes, TEXT_BYTES_MAX),
    ):
        if number > most:
            return f"{number} {what} in the policies of this pod; {most} are the most"
    return ""


def _group(group: Group) -> list[MatchRow]:
    return [
        (
            FIELDS.index(match.field),
            match.is_not,
            match.name.encode(),
            [_value(match, text) for text in match.values],
        )
        for match in group
    ]


def _value(match: Match, text: str) -> Value:
    if match.field in {words.SOURCE_IP, words.DESTINATION_IP}:
        block = ipaddress.ip_network(text)
        form = FORMS.index(f"block{block.version}")
        return form, block.network_address.packed, block.prefixlen
    if match.field == words.PORT:
        return FORMS.index("port"), b"", int(text)
    if match.field == words.ACCOUNT:
        namespace, _, account = text.partition("/")
        return _word("exact", f"{namespace}/sa/{account}")
    if match.field == words.PATH and "{" in text:
        template = text.replace("{**}", _REST).replace("{*}", _SEGMENT)
        return _word("template", template)
    return _pattern(text)


def _pattern(text: str) -> Value:
    if text == "*":
        return _word("present", "")
    if text.endswith("*"):
        return _word("prefix", text[:-1])
    return _word("suffix", text[1:]) if text.startswith("*") else _word("exact", text)


def _word(form: str, text: str) -> Value:
    return FORMS.index(form), text.encode(), 0
