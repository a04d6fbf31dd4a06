"""What `ctl why` tells of authorization policies is what they decide."""

import pytest

from proxy.policy import explain
from tests.unit.policy.judging import policy, read
from tests.unit.policy.reference import Asked, Spec, judge
from tests.unit.policy.test_judge import CART, ROWS, WEB, Dice, rule_of, to


def asked_of(asked: Asked) -> explain.Asked:
    return explain.Asked(
        asked.peer,
        asked.port,
        asked.method,
        asked.host,
        asked.path,
        asked.fields,
        asked.source,
        asked.destination,
        asked.sni,
    )


def verdict(policies: list[Spec], asked: Asked) -> explain.Verdict:
    return explain.judge(explain.read(map(read, policies), asked_of(asked)))


@pytest.mark.parametrize(("spec", "good", "bad"), ROWS)
def test_a_field_is_told_as_it_is_judged(spec: Spec, good: Asked, bad: Asked) -> None:
    assert verdict([policy("p", spec)], good) == (True, "shop/p", "an ALLOW policy matches")
    text = "there are ALLOW policies, and none matches"
    assert verdict([policy("p", spec)], bad) == (False, "", text)


def test_random_policies_are_told_as_the_reference_judges_them() -> None:
    dice = Dice(20261121)
    seen = set()
    for _ in range(300):
        policies = [dice.policy(number) for number in range(dice.randrange(1, 5))]
        for _ in range(10):
            asked = dice.asked()
            if asked.way != "request":
                continue
            expected, found = judge(policies, asked), verdict(policies, asked)
            assert found.is_allowed is not expected.is_denied, f"{policies}\n{asked}"
            assert found.policy.removeprefix("shop/") == expected.policy
            seen.add((found.is_allowed, bool(found.policy)))
    assert len(seen) == 4


def test_what_did_not_fit_is_told_rule_by_rule() -> None:
    spec = {"rules": [*rule_of(principals=[WEB[9:]])["rules"], *to(paths=["/a"])["rules"]]}
    (reading,) = explain.read([read(policy("p", spec))], asked_of(Asked(peer=CART)))
    assert reading.misfits == (
        "rule 0: no entry of from fits (it looks at principal)",
        "rule 1: no entry of to fits (it looks at path)",
    )
    (reading,) = explain.read([read(policy("p", {}))], asked_of(Asked()))
    assert reading.misfits == ("it has no rule",)
