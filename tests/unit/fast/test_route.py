"""Which rule is a request's: cases that say it, and random ones held to a slow matcher."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from types import ModuleType
from typing import Final

import pytest

from proxy.traffic.rows import (
    ANY,
    EXACT,
    NOBODY,
    PREFIX,
    REGEX,
    Backend,
    Dfa,
    Field,
    Front,
    Route,
    Rule,
    Share,
    Traffic,
)

Headers = Sequence[tuple[bytes, bytes]]


def dfa(steps: dict[tuple[int, bytes], int], accepting: Sequence[int]) -> Dfa:
    """Return a table from (state, bytes of a class) → state; all else leads to a dead end."""
    words = sorted({word for _, word in steps})
    classes = bytes(
        next((i for i, word in enumerate(words, 1) if byte in word), 0) for byte in range(256)
    )
    dead = max([0, *steps.values(), *accepting]) + 1
    table = [
        steps.get((state, words[i - 1]), dead) if i else dead
        for state in range(dead + 1)
        for i in range(len(words) + 1)
    ]
    states = bytes(int(state in accepting) for state in range(dead + 1))
    return Dfa(classes, len(words) + 1, tuple(table), states)


DIGITS, LETTERS, SLASH = b"0123456789", b"abcdefghijklmnopqrstuvwxyz", b"/"
# What each table means, for the slow matcher.
PATTERNS: Final = (b"/[a-z]+/[0-9]+", b"[0-9]*", b"(a[a-z]*)?")
DFAS: Final = (
    dfa(
        {
            (0, SLASH): 1,
            (1, LETTERS): 2,
            (2, LETTERS): 2,
            (2, SLASH): 3,
            (3, DIGITS): 4,
            (4, DIGITS): 4,
        },
        [4],
    ),
    dfa({(0, DIGITS): 0}, [0]),
    dfa(
        {(0, b"a"): 1, (1, b"a"): 1, (1, LETTERS.strip(b"a")): 1},
        [0, 1],
    ),
)


def traffic_of(*routes: Route) -> Traffic:
    """Return rows with a front that has these routes."""
    rule_count = max((route.rule for route in routes), default=-1) + 1
    rules = tuple(Rule(i, f"shop/r{i}") for i in range(rule_count))
    front = Front("shop/web", "detect", (), (), NOBODY, 0, routes)
    return Traffic(fronts=(front,), rules=rules, dfas=DFAS)


def slow_match(
    routes: Sequence[Route], method: str, path: bytes, query: bytes, headers: Headers
) -> int | None:
    """Return the index of the route that decides, as Gateway API says it."""
    for index, route in enumerate(routes):
        if (
            (not route.method or route.method == method)
            and slow_path(route, path)
            and all(slow_field(field, query, headers) for field in route.fields)
        ):
            return index
    return None


def slow_path(route: Route, path: bytes) -> bool:
    if route.path_form == EXACT:
        return path == route.path
    if route.path_form == PREFIX:
        wanted = [part for part in route.path.split(b"/") if part]
        return path[:1] == b"/" and path[1:].split(b"/")[: len(wanted)] == wanted
    return route.path_form == ANY or re.fullmatch(PATTERNS[route.dfa], path) is not None


def slow_field(field: Field, query: bytes, headers: Headers) -> bool:
    if field.is_query:
        pairs = [part.partition(b"=") for part in query.split(b"&") if part]
        values = [slow_decode(value) for name, _, value in pairs if slow_decode(name) == field.name]
        joined = values[0] if values else None
    else:
        named = [value for name, value in headers if name.lower() == field.name]
        joined = b", ".join(named) if named else None
    if joined is None:
        return False
    if field.dfa == NOBODY:
        return joined == field.value
    return re.fullmatch(PATTERNS[field.dfa], joined) is not None


def slow_decode(word: bytes) -> bytes:
    return re.sub(
        rb"%([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), word.replace(b"+", b" ")
    )


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
    paths = [b"/", b"/a", b"/a/", b"/a/b", b"/ab", b"/a/1", b"/a/1/b"]
    forms = [(ANY, NOBODY), (EXACT, NOBODY), (PREFIX, NOBODY), (REGEX, 0)]
    routes = []
    for _ in range(dice.randrange(1, 12)):
        form, table = dice.choice(forms)
        fields = tuple(random_field(dice) for _ in range(dice.choice((0, 0, 1, 1, 2, 3))))
        method = dice.choice(("", "", "GET", "POST"))
        routes.append(Route(dice.randrange(5), form, dice.choice(paths), table, method, fields))
    return tuple(routes)


def random_field(dice: random.Random) -> Field:
    value = dice.choice((b"", b"1", b"a", b"a b", b"1, 1", b"a, a"))
    table = dice.choice((NOBODY, NOBODY, 1, 2))
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
def test_random_routes_and_requests_are_matched_as_slowly(
    decisions: ModuleType, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secret
    outcomes: Counter[bool] = Counter()
    for _ in range(10):
        routes = random_routes(dice)
        policy = decisions.Policy(traffic_of(*routes))
        for _ in range(50):
            method, path, query, headers = random_request(dice)
            found = policy.route(0, method.encode(), path, query, lines(headers))
            expected = slow_match(routes, method, path, query, headers)
            assert (found[0] if found else None) == expected, (routes, method, path, query, headers)
            assert found is None or found[1] == routes[found[0]].rule
            outcomes[found is None] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("index", range(len(DFAS)))
def test_a_table_matches_what_its_expression_does(decisions: ModuleType, index: int) -> None:
    dice = random.Random(index)  # noqa: S311 - no secret
    policy = decisions.Policy(traffic_of())
    for _ in range(2000):
        word = bytes(dice.choice(b"ab19/\xff\x00") for _ in range(dice.randrange(8)))
        assert policy.dfa(index, word) == (re.fullmatch(PATTERNS[index], word) is not None), word


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
