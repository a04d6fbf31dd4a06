"""Verdicts of the data plane: the order of policies, every field, and thousands of random ones."""

import random
from types import ModuleType
from typing import Any

import pytest

from tests.probes import build
from tests.unit.policy.judging import Judge, policy
from tests.unit.policy.reference import Asked, Spec, Verdict, judge

WEB = "spiffe://cluster.local/ns/shop/sa/web"
CART = "spiffe://cluster.local/ns/cart/sa/cart"
ODD = "spiffe://other.org/workload/7"


@pytest.fixture(scope="session")
def probe() -> ModuleType:
    return build.loaded("policy")


def rule_of(**source: object) -> Spec:
    return {"rules": [{"from": [{"source": source}]}]}


def to(**operation: object) -> Spec:
    return {"rules": [{"to": [{"operation": operation}]}]}


def when(key: str, **values: object) -> Spec:
    return {"rules": [{"when": [{"key": key, **values}]}]}


# An ALLOW policy, what it lets in, and what it does not.
ROWS: list[tuple[Spec, Asked, Asked]] = [
    (rule_of(principals=[WEB[9:]]), Asked(peer=WEB), Asked(peer=CART)),
    (rule_of(principals=["*"]), Asked(peer=ODD), Asked()),
    (rule_of(principals=["cluster.local/*"]), Asked(peer=CART), Asked(peer=ODD)),
    (rule_of(principals=["*/sa/web"]), Asked(peer=WEB), Asked(peer=WEB + "2")),
    (rule_of(notPrincipals=["*"]), Asked(), Asked(peer=WEB)),
    (rule_of(namespaces=["shop"]), Asked(peer=WEB), Asked(peer=CART)),
    (rule_of(namespaces=["*"]), Asked(peer=WEB), Asked(peer=ODD)),
    (rule_of(serviceAccounts=["web"]), Asked(peer=WEB), Asked(peer=CART)),
    (rule_of(serviceAccounts=["cart/cart"]), Asked(peer=CART), Asked(peer=WEB)),
    (rule_of(trustDomains=["other.org"]), Asked(peer=ODD), Asked(peer=WEB)),
    (rule_of(ipBlocks=["10.1.0.0/16"]), Asked(source="10.1.2.3"), Asked(source="10.2.0.0")),
    (rule_of(ipBlocks=["10.1.2.3"]), Asked(source="10.1.2.3"), Asked(source="10.1.2.2")),
    (rule_of(ipBlocks=["10.1.2.4/30"]), Asked(source="10.1.2.7"), Asked(source="10.1.2.8")),
    (rule_of(ipBlocks=["0.0.0.0/0"]), Asked(source="1.2.3.4"), Asked(source="::1")),
    (rule_of(ipBlocks=["fd00::/9"]), Asked(source="fd7f::1"), Asked(source="fd80::1")),
    (rule_of(notIpBlocks=["10.0.0.0/8"]), Asked(source="11.0.0.1"), Asked(source="10.0.0.1")),
    (to(hosts=["Web.example"]), Asked(host="WEB.example:80"), Asked(host="web.example.org")),
    (to(hosts=["*.example"]), Asked(host="a.example:1"), Asked(host="example")),
    (to(hosts=["web:81"]), Asked(host="web:81"), Asked(host="web:80")),
    (to(ports=["8080", "81"]), Asked(port=81), Asked(port=80)),
    (to(notPorts=["80"]), Asked(port=81), Asked(port=80)),
    (to(methods=["GET", "P*"]), Asked(method="PUT"), Asked(method="get")),
    (to(paths=["/a"]), Asked(path="/a"), Asked(path="/a/")),
    (to(paths=["/a*"]), Asked(path="/ab"), Asked(path="/b")),
    (to(paths=["*/info"]), Asked(path="/x/info"), Asked(path="/x/info/")),
    (to(paths=["/a/{*}/c"]), Asked(path="/a/b/c"), Asked(path="/a/b/b/c")),
    (to(paths=["/a/{*}"]), Asked(path="/a/b"), Asked(path="/a/")),
    (to(paths=["/a/{**}"]), Asked(path="/a/b/c"), Asked(path="/a")),
    (to(paths=["/a/{**}/z"]), Asked(path="/a/b/c/z"), Asked(path="/a/z")),
    (to(paths=["/{*}/b/{**}"]), Asked(path="/a/b/"), Asked(path="/a/c/b/")),
    (to(paths=["/a*"], notPaths=["/ab"]), Asked(path="/ac"), Asked(path="/ab")),
    (when("source.ip", values=["10.0.0.0/24"]), Asked(source="10.0.0.9"), Asked(source="10.0.1.9")),
    (when("source.namespace", values=["shop"]), Asked(peer=WEB), Asked(peer=CART)),
    (when("source.principal", notValues=["*"]), Asked(), Asked(peer=WEB)),
    (when("source.serviceAccount", values=["web"]), Asked(peer=WEB), Asked(peer=CART)),
    (when("source.trustDomain", values=["other*"]), Asked(peer=ODD), Asked(peer=CART)),
    (when("destination.ip", values=["10.0.0.2"]), Asked(), Asked(destination="10.0.0.3")),
    (when("destination.port", values=["81"]), Asked(port=81), Asked(port=82)),
    (when("connection.sni", values=["*.example"]), Asked(sni="a.example"), Asked()),
    (
        when("request.headers[X-Team]", values=["red", "b*"]),
        Asked(fields=(("x-team", "blue"), ("X-TEAM", "red"))),
        Asked(fields=(("x-team", "blue"), ("x-team", "green"))),
    ),
    (when("request.headers[x]", values=["*"]), Asked(fields=(("X", "1"),)), Asked()),
    (
        when("request.headers[x]", notValues=["1"]),
        Asked(),
        Asked(fields=(("x", "2"), ("x", "1"))),
    ),
]


@pytest.mark.parametrize(("spec", "good", "bad"), ROWS)
def test_a_field_lets_in_what_fits(probe: ModuleType, spec: Spec, good: Asked, bad: Asked) -> None:
    ask = Judge(probe, [policy("p", spec)])
    assert ask(good) == Verdict(is_denied=False, policy="p")
    assert ask(bad) == Verdict(is_denied=True)


@pytest.mark.parametrize(("spec", "good", "bad"), ROWS)
def test_the_reference_agrees(spec: Spec, good: Asked, bad: Asked) -> None:
    policies = [policy("p", spec)]
    assert not judge(policies, good).is_denied
    assert judge(policies, bad).is_denied


def test_the_order_is_deny_then_allow_then_nobody(probe: ModuleType) -> None:
    deny = policy("deny", {"action": "DENY", **to(paths=["/a/secret*"])})
    allow = policy("allow", to(paths=["/a/*"]))
    ask = Judge(probe, [allow, deny])
    assert ask(Asked(path="/a/b")) == Verdict(is_denied=False, policy="allow")
    assert ask(Asked(path="/a/secret")) == Verdict(is_denied=True, policy="deny")
    assert ask(Asked(path="/b")) == Verdict(is_denied=True)


def test_an_allow_policy_without_rules_denies_all_and_one_with_an_empty_rule_nobody(
    probe: ModuleType,
) -> None:
    assert Judge(probe, [policy("p", {})])(Asked()).is_denied
    assert not Judge(probe, [policy("p", {"rules": [{}]})])(Asked()).is_denied
    assert not Judge(probe, [policy("p", {"action": "DENY"})])(Asked()).is_denied


def test_dry_runs_and_audits_are_told_and_decide_nothing(probe: ModuleType) -> None:
    everything: Spec = {"rules": [{}]}
    policies = [
        policy("dry", {"action": "DENY", **everything}, is_dry_run=True),
        policy("audit", {"action": "AUDIT", **everything}),
    ]
    assert Judge(probe, policies)(Asked()) == Verdict(
        is_denied=False, dry_denied="dry", audited=frozenset({"audit"})
    )


def test_a_dry_run_allow_policy_would_deny_what_it_does_not_match(probe: ModuleType) -> None:
    ask = Judge(probe, [policy("dry", to(paths=["/a"]), is_dry_run=True)])
    assert ask(Asked(path="/a")) == Verdict(is_denied=False)
    assert ask(Asked(path="/b")) == Verdict(is_denied=False, dry_denied="dry")


@pytest.mark.parametrize(
    ("action", "way", "is_denied"),
    [
        ("ALLOW", "connection", True),
        ("DENY", "connection", True),
        ("ALLOW", "tunnel", False),
        ("DENY", "tunnel", False),
    ],
)
def test_where_no_request_is_known_fields_of_requests_fall_to_the_safe_side(
    probe: ModuleType, action: str, way: str, *, is_denied: bool
) -> None:
    spec = {"action": action, **to(paths=["/a"], ports=["8080"])}
    ask = Judge(probe, [policy("p", spec)])
    assert ask(Asked(way=way)).is_denied is is_denied
    if action == "DENY":
        assert not ask(Asked(way=way, port=1)).is_denied


def test_one_bad_value_of_a_header_is_enough_to_be_denied(probe: ModuleType) -> None:
    ask = Judge(
        probe, [policy("p", {"action": "DENY", **when("request.headers[x]", values=["bad"])})]
    )
    assert ask(Asked(fields=(("x", "good"), ("x", "bad")))).is_denied
    assert not ask(Asked(fields=(("x", "good"),))).is_denied


# ---- random policies ----------------------------------------------------------------------------

POOL: dict[str, list[str]] = {
    "principals": [WEB[9:], CART[9:], "*", "cluster.local/*", "*/sa/web", "nobody"],
    "namespaces": ["shop", "cart", "*", "sh*", "*op"],
    "trustDomains": ["cluster.local", "other*", "*"],
    "serviceAccounts": ["web", "cart/cart", "shop/web"],
    "ipBlocks": ["10.0.0.0/8", "10.0.0.1", "10.0.0.2/31", "fd00::/8", "::/0", "10.0.0.128/25"],
    "hosts": ["web", "WEB:81", "*.org", "we*", "*"],
    "ports": ["80", "81", "8080"],
    "methods": ["GET", "P*", "*T", "DELETE"],
    "paths": ["/a", "/a*", "*/b", "/{*}/b", "/a/{**}", "/{*}/{**}/c", "*"],
    "header": ["red", "b*", "*n", "*"],
    "sni": ["a.org", "*.org", "*"],
}
KEYS = {
    "source.ip": "ipBlocks",
    "destination.ip": "ipBlocks",
    "source.namespace": "namespaces",
    "source.serviceAccount": "serviceAccounts",
    "source.trustDomain": "trustDomains",
    "source.principal": "principals",
    "destination.port": "ports",
    "connection.sni": "sni",
    "request.headers[X-Team]": "header",
}
SOURCES = ["principals", "namespaces", "trustDomains", "ipBlocks"]
OPERATIONS = ["hosts", "ports", "methods", "paths"]


class Dice(random.Random):
    """Policies and requests that often meet."""

    def some(self, name: str) -> list[str]:
        return self.sample(POOL[name], self.randrange(1, 3))

    def entry(self, names: list[str]) -> Spec:
        chosen = self.sample(names, self.choice([1, 1, 2, 3]))
        return {
            (name if self.random() < 0.7 else f"not{name[0].upper()}{name[1:]}"): self.some(name)
            for name in chosen
        }

    def source(self) -> Spec:
        if self.random() < 0.2:
            return {"serviceAccounts": self.some("serviceAccounts")}
        return self.entry(SOURCES)

    def condition(self) -> Spec:
        key = self.choice(list(KEYS))
        words = self.choice([["values"], ["notValues"], ["values", "notValues"]])
        return {"key": key, **{word: self.some(KEYS[key]) for word in words}}

    def rule(self) -> Spec:
        rule: Spec = {}
        if self.random() < 0.5:
            rule["from"] = [{"source": self.source()} for _ in range(self.randrange(1, 3))]
        if self.random() < 0.6:
            entries = [self.entry(OPERATIONS) for _ in range(self.randrange(1, 3))]
            rule["to"] = [{"operation": entry} for entry in entries]
        if self.random() < 0.4:
            rule["when"] = [self.condition() for _ in range(self.randrange(1, 3))]
        return rule

    def policy(self, number: int) -> Spec:
        spec: dict[str, Any] = {"rules": [self.rule() for _ in range(self.randrange(4))]}
        action = self.choice(["ALLOW", "ALLOW", "DENY", "AUDIT", ""])
        if action:
            spec["action"] = action
        return policy(f"p{number}", spec, is_dry_run=self.random() < 0.25)

    def asked(self) -> Asked:
        teams = self.choices(["red", "blue", "green"], k=self.choice([0, 1, 1, 2]))
        return Asked(
            way=self.choice(["request", "request", "request", "connection", "tunnel"]),
            peer=self.choice(["", WEB, CART, ODD, WEB + "2"]),
            source=self.choice(["10.0.0.1", "10.0.0.3", "10.0.0.200", "192.0.2.1", "fd00::1"]),
            destination=self.choice(["10.0.0.2", "fd00::2", "10.9.9.9"]),
            port=self.choice([80, 81, 8080]),
            sni=self.choice(["", "a.org", "b.org", "a.com"]),
            method=self.choice(["GET", "PUT", "DELETE", "get"]),
            host=self.choice(["web", "Web:81", "a.org", "a.org:80", ""]),
            path=self.choice(["/a", "/a/b", "/ab", "/x/b", "/x/y/c", "/", "/a/"]),
            fields=tuple(("X-team", team) for team in teams),
        )


@pytest.mark.parametrize("seed", range(8))
def test_the_judge_says_what_the_reference_says(probe: ModuleType, seed: int) -> None:
    dice = Dice(seed)
    seen = set()
    for _ in range(250):
        policies = [dice.policy(number) for number in range(dice.randrange(1, 5))]
        ask = Judge(probe, policies)
        for _ in range(20):
            asked = dice.asked()
            expected = judge(policies, asked)
            assert ask(asked) == expected, f"{policies}\n{asked}"
            seen.add((expected.is_denied, bool(expected.policy), bool(expected.dry_denied)))
    assert len(seen) == 6, "some kind of verdict never came up"
