"""AuthorizationPolicy: who may do what (Istio's, `security.istio.io/v1`).

What this proxy cannot decide is a fault that names the field: a policy that is half understood
would let in what it should not.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from proxy.sources.meta import Meta, read_selector
from proxy.sources.strict import Fault, FaultsError, Value, each_text

ALLOW, DENY, AUDIT = "ALLOW", "DENY", "AUDIT"
DRY_RUN: Final = "istio.io/dry-run"

# What a match looks at.
PRINCIPAL: Final = "principal"
NAMESPACE: Final = "namespace"
ACCOUNT: Final = "account"
TRUST_DOMAIN: Final = "trust_domain"
SOURCE_IP: Final = "source_ip"
DESTINATION_IP: Final = "destination_ip"
PORT: Final = "port"
SNI: Final = "sni"
HOST: Final = "host"
METHOD: Final = "method"
PATH: Final = "path"
HEADER: Final = "header"
OF_REQUESTS: Final = frozenset({HOST, METHOD, PATH, HEADER})

_SOURCES: Final = {
    "principals": PRINCIPAL,
    "namespaces": NAMESPACE,
    "serviceAccounts": ACCOUNT,
    "trustDomains": TRUST_DOMAIN,
    "ipBlocks": SOURCE_IP,
}
_OPERATIONS: Final = {"hosts": HOST, "ports": PORT, "methods": METHOD, "paths": PATH}
_KEYS: Final = {
    "source.ip": SOURCE_IP,
    "source.namespace": NAMESPACE,
    "source.serviceAccount": ACCOUNT,
    "source.trustDomain": TRUST_DOMAIN,
    "source.principal": PRINCIPAL,
    "destination.ip": DESTINATION_IP,
    "destination.port": PORT,
    "connection.sni": SNI,
}
_HEADER_KEY: Final = re.compile(r"request\.headers\[([!#$%&'*+.^_`|~0-9A-Za-z-]+)\]")
_ACCOUNT: Final = re.compile(r"[a-z0-9.-]+(/[a-z0-9.-]+)?")
_PORT_MAX: Final = 65535
# One operator is a whole segment, {**} the last operator.
_TEMPLATE: Final = re.compile(r"(/(\{\*\}|[^{}*/]*))*(/\{\*\*\}(/[^{}*/]*)*)?")


class Match(NamedTuple):
    """A field must fit one of the values; with `is_not`, none of them."""

    field: str
    values: tuple[str, ...]
    is_not: bool = False
    name: str = ""  # of a header, in small letters


Group = tuple[Match, ...]  # all must hold


class Rule(NamedTuple):
    """One of `sources` and one of `operations` (none: any), and all of `when`."""

    sources: tuple[Group, ...] = ()
    operations: tuple[Group, ...] = ()
    when: Group = ()


class AuthorizationPolicy(NamedTuple):
    """One policy. With `faults` it cannot be used where it applies."""

    meta: Meta
    selector: Mapping[str, str] | None
    action: str
    rules: tuple[Rule, ...]
    is_dry_run: bool
    faults: tuple[Fault, ...] = ()


def read_authorization_policy(value: Value, meta: Meta) -> AuthorizationPolicy:
    """Read an AuthorizationPolicy."""
    selector: Mapping[str, str] | None = None
    try:
        top = value.members(("apiVersion", "kind", "metadata", "spec", "status"))
        is_dry_run = _dry_run(value, meta)
        if "spec" not in top:
            return AuthorizationPolicy(meta, None, ALLOW, (), is_dry_run)
        selector = read_selector(top["spec"].members().get("selector"))
        fields = top["spec"].members(("selector", "action", "rules"))
        action = fields["action"].choice(ALLOW, DENY, AUDIT) if "action" in fields else ALLOW
        items = fields["rules"].items() if "rules" in fields else []
        rules = tuple(_rule(item, meta.namespace) for item in items)
        return AuthorizationPolicy(meta, selector, action, rules, is_dry_run)
    except FaultsError as wrong:
        return AuthorizationPolicy(meta, selector, DENY, (), is_dry_run=False, faults=wrong.faults)


def _dry_run(value: Value, meta: Meta) -> bool:
    word = meta.annotations.get(DRY_RUN, "false")
    if word not in {"true", "false"}:
        raise value.fault(f"annotation {DRY_RUN} is {word!r}, neither true nor false")
    return word == "true"


def _rule(value: Value, namespace: str) -> Rule:
    fields = value.members(("from", "to", "when"))
    return Rule(
        _groups(fields.get("from"), "source", _SOURCES, namespace),
        _groups(fields.get("to"), "operation", _OPERATIONS, namespace),
        tuple(
            match
            for item in (fields["when"].items() if "when" in fields else [])
            for match in _condition(item, namespace)
        ),
    )


def _groups(
    value: Value | None, word: str, known: Mapping[str, str], namespace: str
) -> tuple[Group, ...]:
    groups = []
    for item in value.items() if value else []:
        inner = item.members((word,)).get(word)
        group = _group(inner, known, namespace) if inner else ()
        if not group:
            raise item.fault("has no field (leave the whole list out to match everything)")
        groups.append(group)
    return tuple(groups)


def _group(value: Value, known: Mapping[str, str], namespace: str) -> Group:
    twins = {f"not{name[0].upper()}{name[1:]}": name for name in known}
    fields = value.members({*known, *twins})
    if "serviceAccounts" in fields and {"principals", "namespaces"} & set(fields):
        raise fields["serviceAccounts"].fault("cannot stand beside principals or namespaces")
    return tuple(
        Match(
            known[twins.get(name, name)],
            _values(known[twins.get(name, name)], each, namespace),
            name in twins,
        )
        for name, each in fields.items()
    )


def _condition(value: Value, namespace: str) -> list[Match]:
    fields = value.members(("key", "values", "notValues"))
    if "key" not in fields:
        raise value.fault("has no key")
    key = fields["key"].text()
    header = _HEADER_KEY.fullmatch(key)
    field = HEADER if header else _KEYS.get(key)
    if field is None:
        raise fields["key"].fault(f"{key!r} is not supported")
    name = header[1].lower() if header else ""
    matches = [
        Match(field, _values(field, fields[word], namespace), is_not, name)
        for word, is_not in (("values", False), ("notValues", True))
        if word in fields
    ]
    if not matches:
        raise value.fault("has neither values nor notValues")
    return matches


# ---- values -------------------------------------------------------------------------------------


def _values(field: str, value: Value, namespace: str) -> tuple[str, ...]:
    read = _READERS.get(field, _word)
    words: list[str] = []
    for at, text in each_text(value.items()):
        try:
            words.append(read(text, namespace))
        except ValueError as wrong:
            raise at.fault(f"{text!r} {wrong}") from None
    if not words:
        raise value.fault("is an empty list")
    return tuple(words)


def _word(text: str, _namespace: str) -> str:
    if "*" in text[1:-1] or (len(text) > 1 and text[0] == text[-1] == "*"):
        raise ValueError("has a * elsewhere than at its beginning or its end")
    return text


def _host(text: str, namespace: str) -> str:
    return _word(text, namespace).lower()


def _path(text: str, namespace: str) -> str:
    if "{" in text or "}" in text:
        if not _TEMPLATE.fullmatch(text):
            raise ValueError("is no template: {*} is a whole segment, {**} the last operator")
        return text
    return _word(text, namespace)


def _port(text: str, _namespace: str) -> str:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _PORT_MAX):
        raise ValueError("is no port")
    return str(int(text))


def _block(text: str, _namespace: str) -> str:
    try:
        block = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no address and no CIDR block") from None
    if isinstance(block, ipaddress.IPv6Network) and block.network_address.ipv4_mapped:
        raise ValueError("is IPv4 in IPv6: write it as IPv4")
    return str(block)


def _account(text: str, namespace: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise ValueError("is no SERVICEACCOUNT or NAMESPACE/SERVICEACCOUNT")
    return text if "/" in text else f"{namespace}/{text}"


_READERS: Final[Mapping[str, Callable[[str, str], str]]] = {
    ACCOUNT: _account,
    SOURCE_IP: _block,
    DESTINATION_IP: _block,
    PORT: _port,
    HOST: _host,
    PATH: _path,
}
