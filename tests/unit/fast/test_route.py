"""Which rule is a request's: cases that say it, and random ones held to a slow matcher."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from proxy.traffic.matching import reference_match
from proxy.traffic.regex import compile_regex
from proxy.traffic.rows import (
    ANY,
    EXACT,
    NOBODY,
    PREFIX,
    REGEX,
    Backend,
    Field,
    Front,
    Route,
    Rule,
    Share,
    Traffic,
)
from tests.support.route_cases import Case, cases, name_of, named, rows_of

Headers = Sequence[tuple[bytes, bytes]]


PATTERNS: Final = ("/[a-z]+/[0-9]+", "[0-9]*", "(a[a-z]*)?", ".*b.?", r"[^/]+|/(a|b)?")
DFAS: Final = tuple(map(compile_regex, PATTERNS))


def traffic_of(*routes: Route) -> Traffic:
    """Return rows with a front that has these routes."""
    rule_count = max((route.rule for route in routes), default=-1) + 1
    rules = tuple(Rule(i, f"shop/r{i}") for i in range(rule_count))
    front = Front("shop/web", "detect", (), (), NOBODY, 0, routes)
    return Traffic(fronts=(front,), rules=rules, dfas=DFAS)


def lines(headers: Headers) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers)


def rule_of(
    decisions: ModuleType,
    route: Route,
    target: bytes = b"/",
    method: bytes = b"GET",
    headers: Headers = (),
) -> bool:
    """Whether a request matches a route."""
    path, _, query = target.partition(b"?")
    found = decisions.Policy(traffic_of(route)).route(0, method, path, query, lines(headers))
    return found is not None


def test_the_first_route_that_holds_decides(decisions: ModuleType) -> None:
    routes = (Route(2, EXACT, b"/a"), Route(0, PREFIX, b"/a"), Route(1))
    policy = decisions.Policy(traffic_of(*routes))
    assert policy.route(0, b"GET", b"/a", b"", b"") == (0, 2)
    assert policy.route(0, b"GET", b"/a/b", b"", b"") == (1, 0)
    assert policy.route(0, b"GET", b"/b", b"", b"") == (2, 1)


def test_a_front_without_routes_matches_nothing(decisions: ModuleType) -> None:
    assert decisions.Policy(traffic_of()).route(0, b"GET", b"/", b"", b"") is None


@pytest.mark.parametrize(
    ("prefix", "path", "fits"),
    [
        (b"/foo", b"/foo", True),
        (b"/foo", b"/foo/", True),
        (b"/foo", b"/foo/bar", True),
        (b"/foo", b"/foobar", False),
        (b"/foo", b"/fo", False),
        (b"/foo", b"/Foo", False),
        (b"/foo/", b"/foo", True),
        (b"/foo/", b"/foo/bar", True),
        (b"/foo/", b"/foobar", False),
        (b"/", b"/", True),
        (b"/", b"/anything/else", True),
        (b"/", b"*", False),
        (b"/a%20b", b"/a%20b/c", True),
    ],
)
def test_a_prefix_is_one_of_whole_segments(
    decisions: ModuleType, prefix: bytes, path: bytes, *, fits: bool
) -> None:
    assert rule_of(decisions, Route(0, PREFIX, prefix), path) == fits


@pytest.mark.parametrize(
    ("path", "fits"),
    [(b"/a", True), (b"/a/", False), (b"/A", False), (b"/", False), (b"/ab", False), (b"", False)],
)
def test_an_exact_path_is_all_of_it(decisions: ModuleType, path: bytes, *, fits: bool) -> None:
    assert rule_of(decisions, Route(0, EXACT, b"/a"), path) == fits


def test_a_regular_expression_matches_a_whole_path(decisions: ModuleType) -> None:
    route = Route(0, REGEX, dfa=0)
    assert rule_of(decisions, route, b"/item/42")
    for path in (b"/item/", b"/item/42/", b"x/item/42", b"/item/4\xff", b"/", b""):
        assert not rule_of(decisions, route, path)


def test_a_method_is_that_method_only(decisions: ModuleType) -> None:
    assert rule_of(decisions, Route(0, method="GET"), method=b"GET")
    assert not rule_of(decisions, Route(0, method="GET"), method=b"HEAD")
    assert not rule_of(decisions, Route(0, method="GET"), method=b"get")
    assert rule_of(decisions, Route(0), method=b"PURGE")


HEADER = Field(is_query=False, name=b"x-stage", value=b"beta")
DIGITS_HEADER = HEADER._replace(dfa=1)


@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        ([(b"X-Stage", b"beta")], True),
        ([(b"x-stage", b" beta \t")], True),
        ([(b"x-stage", b"Beta")], False),
        ([(b"x-stage", b"beta2")], False),
        ([(b"x-stage", b"bet")], False),
        ([(b"x-stage", b"")], False),
        ([(b"x-stages", b"beta")], False),
        ([(b"other", b"beta")], False),
        ([(b"x-stage", b"beta"), (b"x-stage", b"beta")], False),
        ([(b"x-stage", b""), (b"x-stage", b"beta")], False),
    ],
)
def test_a_header_is_compared_whatever_the_case_of_its_name(
    decisions: ModuleType, headers: Headers, *, fits: bool
) -> None:
    assert rule_of(decisions, Route(0, fields=(HEADER,)), headers=headers) == fits


def test_a_header_that_stands_there_twice_is_one_list(decisions: ModuleType) -> None:
    route = Route(0, fields=(HEADER._replace(value=b"a, b"),))
    assert rule_of(decisions, route, headers=[(b"x-stage", b"a"), (b"X-STAGE", b"b")])
    assert rule_of(decisions, route, headers=[(b"x-stage", b"a, b")])
    assert not rule_of(decisions, route, headers=[(b"x-stage", b"b"), (b"x-stage", b"a")])
    assert not rule_of(decisions, route, headers=[(b"x-stage", b"a,b")])


def test_a_header_that_is_not_there_is_not_empty(decisions: ModuleType) -> None:
    for field in (HEADER._replace(value=b""), DIGITS_HEADER):
        assert rule_of(decisions, Route(0, fields=(field,)), headers=[(b"x-stage", b"")])
        assert not rule_of(decisions, Route(0, fields=(field,)))


QUERY = Field(is_query=True, name=b"my key", value=b"a&b c")


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        (b"my+key=a%26b+c", True),
        (b"my%20key=%61%26b%20c", True),
        (b"x=1&my+key=a%26b+c&y", True),
        (b"my+key=a%26b+c&my+key=other", True),
        (b"my+key=other&my+key=a%26b+c", False),
        (b"my+key=a&b+c", False),
        (b"my+key=a%26b+c%20", False),
        (b"my+keys=a%26b+c", False),
        (b"my+ke=a%26b+c", False),
        (b"My+key=a%26b+c", False),
        (b"my+key", False),
        (b"", False),
    ],
)
def test_the_first_value_of_a_query_parameter_is_compared_decoded(
    decisions: ModuleType, query: bytes, *, fits: bool
) -> None:
    assert rule_of(decisions, Route(0, fields=(QUERY,)), b"/?" + query) == fits


@pytest.mark.parametrize("query", [b"q", b"q=", b"&&q=&", b"%71", b"q&q=1"])
def test_a_query_parameter_without_a_value_is_empty(decisions: ModuleType, query: bytes) -> None:
    field = Field(is_query=True, name=b"q", value=b"")
    assert rule_of(decisions, Route(0, fields=(field,)), b"/?" + query)


@pytest.mark.parametrize("value", [b"%", b"%4", b"%zz", b"%4g1", b"a%"])
def test_what_is_no_escape_stands_for_itself(decisions: ModuleType, value: bytes) -> None:
    field = Field(is_query=True, name=b"q", value=value)
    assert rule_of(decisions, Route(0, fields=(field,)), b"/?q=" + value)
    assert rule_of(decisions, Route(0, fields=(field,)), b"/?q=" + value + b"&x=1")


def random_routes(dice: random.Random) -> tuple[Route, ...]:
    paths = [b"/a", b"/a/b", b"/ab", b"/a/1", b"/a/1/b"]
    forms = [(ANY, NOBODY), (EXACT, NOBODY), (PREFIX, NOBODY), (REGEX, dice.randrange(5))]
    routes = []
    for _ in range(dice.randrange(1, 12)):
        form, table = dice.choice(forms)
        fields = tuple(random_field(dice) for _ in range(dice.choice((0, 0, 1, 1, 2, 3))))
        method = dice.choice(("", "", "GET", "POST"))
        routes.append(Route(dice.randrange(5), form, dice.choice(paths), table, method, fields))
    return tuple(routes)


def random_field(dice: random.Random) -> Field:
    value = dice.choice((b"", b"1", b"a", b"a b", b"1, 1", b"a, a"))
    table = dice.choice((NOBODY, NOBODY, 1, 2, 3))
    return Field(dice.random() < 0.5, dice.choice((b"x", b"y", b"x y")), value, table)


def random_request(dice: random.Random) -> tuple[str, bytes, bytes, Headers]:
    path = dice.choice(
        (b"/", b"/a", b"/a/", b"/a/b", b"/ab", b"/a/1", b"/a/12", b"/a/1/b", b"/b", b"*")
    )
    words = (b"", b"1", b"11", b"a", b"ab", b"a+b", b"a%20b", b"%31", b"%", b"b")
    names = (b"x", b"y", b"x+y", b"%78", b"z", b"")
    query = b"&".join(
        dice.choice(names) + dice.choice((b"", b"=")) + dice.choice(words)
        for _ in range(dice.randrange(5))
    )
    values = (b"", b"1", b"a", b"ab", b"a b")
    headers = [
        (dice.choice((b"x", b"X", b"y", b"z")), dice.choice(values))
        for _ in range(dice.randrange(4))
    ]
    return dice.choice(("GET", "POST", "PUT")), path, query, headers


@pytest.mark.parametrize("seed", range(40))
def test_random_routes_and_requests_are_matched_as_slowly(decisions: ModuleType, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secret
    outcomes: Counter[bool] = Counter()
    for _ in range(10):
        routes = random_routes(dice)
        rows = traffic_of(*routes)
        policy = decisions.Policy(rows)
        for _ in range(50):
            method, path, query, headers = random_request(dice)
            found = policy.route(0, method.encode(), path, query, lines(headers))
            rule = found[1] if found else NOBODY
            expected = reference_match(rows, rows.fronts[0], method, path, query, headers)
            assert rule == expected, (routes, method, path, query, headers)
            assert found is None or routes[found[0]].rule == rule
            outcomes[found is None] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_request_falls_to_the_rule_that_gateway_api_says(
    decisions: ModuleType, case: Case, tmp_path: Path
) -> None:
    rows = rows_of(tmp_path, case.routes)
    method, path, query, headers = case.request
    found = decisions.Policy(rows).route(0, method.encode(), path, query, lines(headers))
    assert name_of(rows, found[1] if found else NOBODY) == named(case.expected)


@pytest.mark.parametrize("index", range(len(DFAS)))
def test_a_table_matches_what_its_expression_does(decisions: ModuleType, index: int) -> None:
    dice = random.Random(index)  # noqa: S311 - no secret
    policy = decisions.Policy(traffic_of())
    for _ in range(2000):
        word = bytes(dice.choice(b"ab19/\x00") for _ in range(dice.randrange(8)))
        expected = re.fullmatch(PATTERNS[index].encode(), word) is not None
        assert policy.dfa(index, word) == expected, word


def test_shares_are_given_by_weight(decisions: ModuleType) -> None:
    backends = tuple(Backend(i, f"shop/b{i}", 80) for i in range(3))
    shares = (Share(0, 1), Share(1, 0), Share(NOBODY, 3), Share(2, 6))
    rules = (Rule(0, "shop/r", shares), Rule(1, "shop/r"), Rule(2, "shop/r", (Share(0, 0),)))
    policy = decisions.Policy(Traffic(backends=backends, rules=rules))
    fleet = decisions.Fleet(1)
    counts = Counter(fleet.share(policy, 0) for _ in range(20_000))
    assert set(counts) == {0, 2, 3}
    for share, due in ((0, 2000), (2, 6000), (3, 12_000)):
        assert abs(counts[share] - due) < 300
    assert fleet.share(policy, 1) == fleet.share(policy, 2) == -1
    later = policy_with_weights(decisions, 2**31, 2**31 - 1)
    assert {fleet.share(later, 0) for _ in range(100)} == {0, 1}


def policy_with_weights(decisions: ModuleType, *weights: int) -> object:
    rule = Rule(0, "shop/r", tuple(Share(NOBODY, weight) for weight in weights))
    return decisions.Policy(Traffic(rules=(rule,)))
