"""What a set of AuthorizationPolicies says, in plain Python, straight from the objects.

The judge of the data plane is compared with it. It shares no code with the proxy: it reads specs as
the documentation tells, one line for each sentence.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, Any]
PEER = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")
OF_REQUESTS = {"hosts", "methods", "paths"}


@dataclass(frozen=True)
class Asked:
    """A request, a connection, or a tunnel whose request nobody knows any more."""

    way: str = "request"
    peer: str = ""
    source: str = "10.0.0.1"
    destination: str = "10.0.0.2"
    port: int = 8080
    sni: str = ""
    method: str = "GET"
    host: str = "web"
    path: str = "/"
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Names of policies; "" where none decided."""

    is_denied: bool
    policy: str = ""
    dry_denied: str | None = None
    audited: frozenset[str] = field(default_factory=frozenset)


def fits(pattern: str, word: str) -> bool:
    if pattern == "*":
        return word != ""
    if pattern.endswith("*"):
        return word.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return word.endswith(pattern[1:])
    return word == pattern


def path_fits(pattern: str, path: str) -> bool:
    if "{" not in pattern:
        return fits(pattern, path)
    parts = re.split(r"(\{\*\*?\})", pattern)
    regex = "".join({"{*}": "[^/]+", "{**}": ".*"}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(regex, path) is not None


def host_fits(pattern: str, host: str) -> bool:
    pattern, host = pattern.lower(), host.lower()
    return fits(pattern, host) or (
        re.search(r":\d*$", host) is not None and fits(pattern, host.rpartition(":")[0])
    )


def in_block(block: str, ip: str) -> bool:
    network, address = ipaddress.ip_network(block, strict=False), ipaddress.ip_address(ip)
    return network.version == address.version and address in network


class Reading:
    """One policy and what is asked of it."""

    def __init__(self, policy: Spec, asked: Asked) -> None:
        self.namespace = policy["metadata"]["namespace"]
        self.spec = policy["spec"]
        self.action = self.spec.get("action", "ALLOW")
        self.asked = asked

    def matches(self) -> bool:
        return any(self.rule_matches(rule) for rule in self.spec.get("rules", []))

    def rule_matches(self, rule: Spec) -> bool:
        if self.asked.way != "request" and uses_request(rule):
            drops_rules = self.action == "ALLOW"
            if self.asked.way == "tunnel":
                drops_rules = not drops_rules
            if drops_rules:
                return False
        sources = [entry["source"] for entry in rule.get("from", [])]
        operations = [entry["operation"] for entry in rule.get("to", [])]
        return (
            (not sources or any(map(self.source_matches, sources)))
            and (not operations or any(map(self.operation_matches, operations)))
            and all(map(self.condition_holds, rule.get("when", [])))
        )

    def source_matches(self, source: Spec) -> bool:
        domain, namespace, account = parts_of(self.asked.peer)
        principal = self.asked.peer.removeprefix("spiffe://")
        return (
            both(source, "principals", lambda p: fits(p, principal))
            and both(source, "namespaces", lambda p: fits(p, namespace))
            and both(source, "trustDomains", lambda p: fits(p, domain))
            and both(source, "serviceAccounts", lambda p: self.is_account(p, namespace, account))
            and both(source, "ipBlocks", lambda p: in_block(p, self.asked.source))
        )

    def is_account(self, pattern: str, namespace: str, account: str) -> bool:
        wanted = pattern if "/" in pattern else f"{self.namespace}/{pattern}"
        return wanted == f"{namespace}/{account}"

    def operation_matches(self, operation: Spec) -> bool:
        asked = self.asked
        if not both(operation, "ports", lambda p: int(p) == asked.port):
            return False
        return asked.way != "request" or (
            both(operation, "hosts", lambda p: host_fits(p, asked.host))
            and both(operation, "methods", lambda p: fits(p, asked.method))
            and both(operation, "paths", lambda p: path_fits(p, asked.path))
        )

    def condition_holds(self, condition: Spec) -> bool:
        key = condition["key"]
        if key.startswith("request.headers["):
            return self.asked.way != "request" or self.header_holds(condition, key[16:-1])
        domain, namespace, account = parts_of(self.asked.peer)
        tests: dict[str, Callable[[str], bool]] = {
            "source.ip": lambda p: in_block(p, self.asked.source),
            "destination.ip": lambda p: in_block(p, self.asked.destination),
            "destination.port": lambda p: int(p) == self.asked.port,
            "source.principal": lambda p: fits(p, self.asked.peer.removeprefix("spiffe://")),
            "source.namespace": lambda p: fits(p, namespace),
            "source.trustDomain": lambda p: fits(p, domain),
            "source.serviceAccount": lambda p: self.is_account(p, namespace, account),
            "connection.sni": lambda p: fits(p, self.asked.sni),
        }
        values, others = condition.get("values"), condition.get("notValues")
        return (values is None or any(map(tests[key], values))) and (
            others is None or not any(map(tests[key], others))
        )

    def header_holds(self, condition: Spec, name: str) -> bool:
        found = [text for key, text in self.asked.fields if key.lower() == name.lower()]
        verdicts = []
        for word, wanted in (("values", True), ("notValues", False)):
            if word in condition:
                each = [any(fits(p, text) for p in condition[word]) is wanted for text in found]
                quantifier = all if self.action == "ALLOW" else any
                verdicts.append(quantifier(each) if found else not wanted)
        return all(verdicts)


def both(where: Spec, name: str, test: Callable[[str], bool]) -> bool:
    """Whether a field and its twin hold; one that is not there does."""
    twin = f"not{name[0].upper()}{name[1:]}"
    return (name not in where or any(map(test, where[name]))) and not any(
        map(test, where.get(twin, []))
    )


def uses_request(rule: Spec) -> bool:
    names = {
        name.removeprefix("not")[0].lower() + name.removeprefix("not")[1:]
        for entry in rule.get("to", [])
        for name in entry["operation"]
    }
    keys = [condition["key"] for condition in rule.get("when", [])]
    return bool(names & OF_REQUESTS) or any(key.startswith("request.headers") for key in keys)


def parts_of(peer: str) -> tuple[str, str, str]:
    match = PEER.fullmatch(peer)
    if match:
        return match[1], match[2], match[3]
    return peer.removeprefix("spiffe://").partition("/")[0], "", ""


def judge(policies: Iterable[Spec], asked: Asked) -> Verdict:
    policies = list(policies)
    readings = {each["metadata"]["name"]: Reading(each, asked) for each in policies}
    dry = {
        each["metadata"]["name"]
        for each in policies
        if each["metadata"].get("annotations", {}).get("istio.io/dry-run") == "true"
    }

    def matching(action: str, *, is_dry: bool) -> list[str]:
        return [
            name
            for name, each in readings.items()
            if each.action == action and (name in dry) is is_dry and each.matches()
        ]

    def there_are(action: str, *, is_dry: bool) -> list[str]:
        return [n for n, each in readings.items() if each.action == action and (n in dry) is is_dry]

    audited = frozenset(matching("AUDIT", is_dry=False) + matching("AUDIT", is_dry=True))
    denied = matching("DENY", is_dry=False)
    allowed = matching("ALLOW", is_dry=False)
    if denied:
        return Verdict(is_denied=True, policy=denied[0], audited=audited)
    if there_are("ALLOW", is_dry=False) and not allowed:
        return Verdict(is_denied=True, audited=audited)
    would_deny = matching("DENY", is_dry=True)
    if not would_deny and not allowed and not matching("ALLOW", is_dry=True):
        would_deny = there_are("ALLOW", is_dry=True)
    return Verdict(
        is_denied=False,
        policy=allowed[0] if allowed else "",
        dry_denied=would_deny[0] if would_deny else None,
        audited=audited,
    )
