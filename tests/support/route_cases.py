"""Gateway API's precedence as a table: routes, requests, and the rule that each falls to.

The model with the slow matcher and the data plane are both held to it. A route is a name and its
rules; a rule is its matches, between ` | `; a match is words: `exact:/a`, `prefix:/a`, `regex:/a+`,
`method:GET`, `header:x=1`, `header~x=[0-9]+`, `query:q=1`, `query~q=.*`. "" matches everything. A
name may have a namespace before it and an age behind it: "cart/a@2024". A request is
`METHOD TARGET`, and headers as `name:value`. It falls to `NAME/RULE`, or to nothing: `-`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from proxy.policy.effective import Who
from proxy.policy.paths import normalize
from proxy.sources.loading import load_files
from proxy.traffic.model import traffic
from proxy.traffic.numbers import Numbers
from proxy.traffic.rows import NOBODY, Traffic

Object = dict[str, Any]
Routes = Mapping[str, list[str]]

NAMESPACE: Final = "shop"
SERVICE: Final = "web"
PORT: Final = 80
NOTHING: Final = "-"
_FORMS: Final = {"exact": "Exact", "prefix": "PathPrefix", "regex": "RegularExpression"}
_FIELDS: Final = {"header": "headers", "query": "queryParams"}
_WORD: Final = re.compile("([a-z]+)([:~])(.*)")


class Request(NamedTuple):
    """A request as matchers take it."""

    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Group(NamedTuple):
    """Some routes, and what becomes of requests."""

    title: str
    routes: Routes
    requests: Mapping[str, str]  # request → rule


class Case(NamedTuple):
    """One line of the table."""

    name: str
    routes: Routes
    request: Request
    expected: str


TABLE: Final = (
    Group(
        "no match at all",
        {"a": [""]},
        {"GET /": "a/0", "POST /any/thing?x=1": "a/0", "OPTIONS *": "a/0", "GET /a x:1": "a/0"},
    ),
    Group("no rule", {"a": []}, {"GET /": "-", "GET /a": "-"}),
    Group(
        "an exact path",
        {"a": ["exact:/one"]},
        {
            "GET /one": "a/0",
            "GET /one?two": "a/0",
            "POST /one": "a/0",
            "GET /one/": "-",
            "GET /one/two": "-",
            "GET /ONE": "-",
            "GET /on": "-",
            "GET /": "-",
            "GET /%6fne": "a/0",
        },
    ),
    Group("the exact root", {"a": ["exact:/"]}, {"GET /": "a/0", "GET /?q": "a/0", "GET /a": "-"}),
    Group(
        "a prefix means whole segments",
        {"a": ["prefix:/one"]},
        {
            "GET /one": "a/0",
            "GET /one/": "a/0",
            "GET /one/two": "a/0",
            "GET /one?two": "a/0",
            "GET /onetwo": "-",
            "GET /one-two": "-",
            "GET /on": "-",
            "GET /": "-",
            "GET /two/one": "-",
            "GET /One": "-",
        },
    ),
    Group(
        "a slash at the end of a prefix says nothing",
        {"a": ["prefix:/one/"]},
        {"GET /one": "a/0", "GET /one/": "a/0", "GET /one/two": "a/0", "GET /onetwo": "-"},
    ),
    Group(
        "the root as a prefix",
        {"a": ["prefix:/"]},
        {"GET /": "a/0", "GET /any": "a/0", "OPTIONS *": "a/0"},
    ),
    Group(
        "a regular expression fits the whole path",
        {"a": ["regex:/v[0-9]+/.*"]},
        {
            "GET /v1/": "a/0",
            "GET /v12/a/b": "a/0",
            "GET /v/a": "-",
            "GET /v1": "-",
            "GET /x/v1/a": "-",
            "GET /v1/?q=1": "a/0",
        },
    ),
    Group(
        "a regular expression with choices",
        {"a": ["regex:/(cart|order)s?"]},
        {"GET /cart": "a/0", "GET /orders": "a/0", "GET /cartss": "-", "GET /": "-"},
    ),
    Group(
        "a method",
        {"a": ["method:GET"]},
        {"GET /": "a/0", "HEAD /": "-", "POST /": "-", "get /": "-"},
    ),
    Group(
        "a header",
        {"a": ["header:x-team=red"]},
        {
            "GET / x-team:red": "a/0",
            "GET / X-Team:red": "a/0",
            "GET / x-team:Red": "-",
            "GET / x-team:blue": "-",
            "GET / x-team:": "-",
            "GET / y:red": "-",
            "GET /": "-",
        },
    ),
    Group(
        "a header by a regular expression",
        {"a": ["header~version=[0-9]+"]},
        {
            "GET / version:12": "a/0",
            "GET / version:1a": "-",
            "GET / version:": "-",
            "GET /": "-",
        },
    ),
    Group(
        "an empty header by a regular expression",
        {"a": ["header~x=.*"]},
        {"GET / x:": "a/0", "GET / x:a": "a/0", "GET /": "-"},
    ),
    Group(
        "two headers must both fit",
        {"a": ["header:a=1 header:b=2"]},
        {"GET / a:1 b:2": "a/0", "GET / b:2 a:1": "a/0", "GET / a:1": "-", "GET / a:1 b:1": "-"},
    ),
    Group(
        "a query parameter",
        {"a": ["query:q=1"]},
        {
            "GET /?q=1": "a/0",
            "GET /?a=2&q=1": "a/0",
            "GET /?q=1&q=2": "a/0",
            "GET /?q=2&q=1": "-",
            "GET /?q=12": "-",
            "GET /?Q=1": "-",
            "GET /?qq=1": "-",
            "GET /?q": "-",
            "GET /": "-",
        },
    ),
    Group(
        "a query parameter by a regular expression",
        {"a": ["query~q=a+"]},
        {"GET /?q=aa": "a/0", "GET /?q=b": "-", "GET /?q=": "-", "GET /?q": "-"},
    ),
    Group(
        "conditions of every kind at once",
        {"a": ["prefix:/a method:POST header:h=1 query:q=2"]},
        {
            "POST /a/b?q=2 h:1": "a/0",
            "GET /a/b?q=2 h:1": "-",
            "POST /b?q=2 h:1": "-",
            "POST /a/b?q=3 h:1": "-",
            "POST /a/b?q=2 h:2": "-",
        },
    ),
    Group(
        "one of several matches is enough",
        {"a": ["exact:/one | prefix:/two | method:PUT"]},
        {"GET /one": "a/0", "GET /two/x": "a/0", "PUT /": "a/0", "GET /": "-"},
    ),
    Group(
        "exact before prefix, whatever the order",
        {"a": ["prefix:/one", "exact:/one"]},
        {"GET /one": "a/1", "GET /one/": "a/0", "GET /one/two": "a/0"},
    ),
    Group(
        "exact before a longer prefix with more conditions",
        {"a": ["prefix:/one method:GET header:h=1 query:q=1", "exact:/one"]},
        {"GET /one?q=1 h:1": "a/1", "GET /one/x?q=1 h:1": "a/0"},
    ),
    Group(
        "the longest prefix",
        {"a": ["prefix:/", "prefix:/one", "prefix:/one/two"]},
        {
            "GET /": "a/0",
            "GET /x": "a/0",
            "GET /one": "a/1",
            "GET /one/x": "a/1",
            "GET /one/two": "a/2",
            "GET /one/two/three": "a/2",
            "GET /one/twox": "a/1",
        },
    ),
    Group(
        "the longest prefix, the shorter one with a method",
        {"a": ["prefix:/one method:GET", "prefix:/one/two"]},
        {"GET /one/two": "a/1", "GET /one/x": "a/0"},
    ),
    Group(
        "a prefix that fits and a condition that does not: the next one",
        {"a": ["prefix:/one", "prefix:/one/two header:h=1"]},
        {"GET /one/two h:1": "a/1", "GET /one/two": "a/0", "GET /one/two h:2": "a/0"},
    ),
    Group(
        "an exact path whose method does not fit: the prefix",
        {"a": ["exact:/one method:POST", "prefix:/one"]},
        {"POST /one": "a/0", "GET /one": "a/1"},
    ),
    Group(
        "a regular expression after prefixes",
        {"a": ["regex:/one/.*", "prefix:/one"]},
        {"GET /one/two": "a/1", "GET /one": "a/1", "GET /two": "-"},
    ),
    Group(
        "a regular expression before the root",
        {"a": ["", "prefix:/", "regex:/one/.*"]},
        {"GET /one/two": "a/2", "GET /one": "a/0"},
    ),
    Group(
        "a regular expression after an exact path",
        {"a": ["regex:/one", "exact:/one"]},
        {"GET /one": "a/1"},
    ),
    Group(
        "of two regular expressions the one with a method, else the first",
        {"a": ["regex:/o.*", "regex:/on.*", "regex:/one method:GET"]},
        {"GET /one": "a/2", "POST /one": "a/0", "GET /on": "a/0"},
    ),
    Group(
        "a method before headers",
        {"a": ["prefix:/a header:h=1 header:i=2", "prefix:/a method:GET"]},
        {"GET /a h:1 i:2": "a/1", "POST /a h:1 i:2": "a/0", "POST /a h:1": "-"},
    ),
    Group(
        "more headers before fewer",
        {"a": ["prefix:/a header:h=1", "prefix:/a header:h=1 header:i=2", "prefix:/a"]},
        {"GET /a h:1 i:2": "a/1", "GET /a h:1": "a/0", "GET /a i:2": "a/2"},
    ),
    Group(
        "headers before query parameters",
        {"a": ["prefix:/a query:q=1 query:r=2", "prefix:/a header:h=1"]},
        {"GET /a?q=1&r=2 h:1": "a/1", "GET /a?q=1&r=2": "a/0"},
    ),
    Group(
        "more query parameters before fewer",
        {"a": ["prefix:/a query:q=1", "prefix:/a query:q=1 query:r=2"]},
        {"GET /a?q=1&r=2": "a/1", "GET /a?q=1": "a/0", "GET /a?r=2": "-"},
    ),
    Group(
        "headers and query parameters are counted apart",
        {"a": ["query:q=1 query:r=2 query:s=3", "header:h=1 query:q=1"]},
        {"GET /?q=1&r=2&s=3 h:1": "a/1", "GET /?q=1&r=2&s=3": "a/0"},
    ),
    Group(
        "the first of equals within a route",
        {"a": ["prefix:/a", "prefix:/a", "prefix:/a/"]},
        {"GET /a": "a/0", "GET /a/b": "a/0"},
    ),
    Group(
        "the first of equals with different values",
        {"a": ["header:h=1", "header:i=1"]},
        {"GET / h:1 i:1": "a/0", "GET / i:1": "a/1"},
    ),
    Group(
        "the older route",
        {"a@2026": ["prefix:/a"], "b@2024": ["prefix:/a"], "c@2025": ["prefix:/a"]},
        {"GET /a": "b/0"},
    ),
    Group(
        "an untold age comes last",
        {"a": ["prefix:/a"], "b@2026": ["prefix:/a"]},
        {"GET /a": "b/0"},
    ),
    Group(
        "of one age the first name",
        {"b@2024": ["prefix:/a"], "a@2024": ["prefix:/a"], "c": ["prefix:/a"]},
        {"GET /a": "a/0"},
    ),
    Group("without ages the first name", {"b": [""], "a": [""]}, {"GET /a": "a/0"}),
    Group(
        "what is more special wins over age",
        {"a@2020": ["prefix:/a"], "b@2026": ["exact:/a", "prefix:/a/b", "prefix:/a method:PUT"]},
        {"GET /a": "b/0", "GET /a/b": "b/1", "PUT /a/c": "b/2", "GET /a/c": "a/0"},
    ),
    Group(
        "routes of one Service are one list",
        {"a": ["prefix:/a", "exact:/b"], "b": ["prefix:/b", "exact:/a"], "c": [""]},
        {"GET /a": "b/1", "GET /b": "a/1", "GET /a/x": "a/0", "GET /b/x": "b/0", "GET /c": "c/0"},
    ),
    Group(
        "the namespace is part of the name",
        {"shop/z": ["prefix:/a"], "cart/a": ["prefix:/a", ""]},
        {"GET /a": "shop/z/0", "GET /b": "-"},
    ),
    Group(
        "an order of everything",
        {
            "a": [
                "",
                "regex:/p/.*",
                "prefix:/p",
                "prefix:/p/q",
                "exact:/p/q",
                "prefix:/p method:GET",
                "prefix:/p header:h=1",
                "prefix:/p query:q=1",
                "method:GET",
                "header:h=1",
                "query:q=1",
                "regex:/r method:GET",
                "regex:/r",
            ]
        },
        {
            "GET /p/q?q=1 h:1": "a/4",
            "GET /p/q/r?q=1 h:1": "a/3",
            "GET /p/x?q=1 h:1": "a/5",
            "PUT /p/x?q=1 h:1": "a/6",
            "PUT /p/x?q=1": "a/7",
            "PUT /p/x": "a/2",
            "GET /r?q=1 h:1": "a/11",
            "PUT /r?q=1 h:1": "a/12",
            "GET /x?q=1 h:1": "a/8",
            "PUT /x?q=1 h:1": "a/9",
            "PUT /x?q=1": "a/10",
            "PUT /x": "a/0",
            "GET /px": "a/8",
        },
    ),
    Group(
        "a header that comes twice is one list",
        {"a": ["header~h=1,.2", "header:h=1", "header:h=2"]},
        {"GET / h:1 h:2": "a/0", "GET / h:2 h:1": "-", "GET / h:1": "a/1", "GET / h:2": "a/2"},
    ),
    Group(
        "query parameters are compared decoded",
        {"a": ["query~q=a.b", "query:é=ü", "query:p=a+b"]},
        {
            "GET /?q=a+b": "a/0",
            "GET /?%71=a%20b": "a/0",
            "GET /?%C3%A9=%c3%bc": "a/1",
            "GET /?p=a%2Bb": "a/2",
            "GET /?p=a+b": "-",
            "GET /?p=a%2bb%": "-",
            "GET /?&&p=a%2Bb": "a/2",
        },
    ),
    Group(
        "of a header that stands in a match twice the first one counts",
        {"a": ["header:h=1 header:H=2"]},
        {"GET / h:1": "a/0", "GET / h:2": "-"},
    ),
    Group(
        "bytes beyond ASCII",
        {"a": ["regex:/caf.+", "header:n=é", "query:q=é"]},
        {"GET /café": "a/0", "GET / n:é": "a/1", "GET /?q=é": "a/2", "GET /?q=e": "-"},
    ),
    Group(
        "paths that mean the same",
        {"a": ["exact:/a/b", "prefix:/a", "exact:/caf%c3%a9", "exact:/ü", "prefix:/%7ejo"]},
        {
            "GET /a//b": "a/0",
            "GET /a/./b": "a/0",
            "GET //a/b": "a/0",
            "GET /c/../a/b": "a/0",
            "GET /a/b/": "a/1",
            "GET /caf%C3%A9": "a/2",
            "GET /caf%c3%a9": "a/2",
            "GET /%C3%BC": "a/3",
            "GET /~jo/x": "a/4",
            "GET /%7Ejo": "a/4",
            "GET /A/b": "-",
        },
    ),
)


def cases() -> list[Case]:
    """Return every line of the table."""
    return [
        Case(f"{group.title}: {request}", group.routes, _request(request), expected)
        for group in TABLE
        for request, expected in group.requests.items()
    ]


def rows_of(directory: Path, routes: Routes) -> Traffic:
    """Return the rows of a Service with these routes; its front is the first one."""
    file = directory / "routes.json"
    file.write_text("\n---\n".join(map(json.dumps, objects_of(routes))))
    return traffic(load_files([file]), Who(NAMESPACE), Numbers())[0]


def name_of(rows: Traffic, rule: int) -> str:
    """Return what the table calls a rule."""
    if rule == NOBODY:
        return NOTHING
    route = rows.rules[rule].route
    before = sum(each.route == route for each in rows.rules[:rule])
    return f"{route.removeprefix(f'{NAMESPACE}/')}/{before}"


def named(expected: str) -> str:
    """Return a name of the table in its one form."""
    return expected.removeprefix(f"{NAMESPACE}/")


def objects_of(routes: Routes) -> list[Object]:
    """Return the Service and its routes as Kubernetes objects."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": PORT}]},
    }
    return [service, *(_route(name, rules) for name, rules in routes.items())]


def _route(name: str, rules: list[str]) -> Object:
    path, _, year = name.partition("@")
    namespace, slash, own = path.partition("/")
    meta = {"name": own, "namespace": namespace} if slash else {"name": path, "namespace": "shop"}
    if year:
        meta["creationTimestamp"] = f"{year}-01-01T00:00:00Z"
    parent = {"group": "", "kind": "Service", "name": SERVICE, "namespace": NAMESPACE}
    backend = {"name": SERVICE, "port": PORT}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": meta,
        "spec": {
            "parentRefs": [parent],
            "rules": [{"matches": _matches(rule), "backendRefs": [backend]} for rule in rules],
        },
    }


def _matches(rule: str) -> list[Object]:
    return [_match(words.split()) for words in rule.split(" | ")] if rule else []


def _match(words: list[str]) -> Object:
    match: Object = {}
    for word in words:
        found = _WORD.fullmatch(word)
        assert found, word
        kind, sign, rest = found.groups()
        if kind in _FORMS:
            match["path"] = {"type": _FORMS[kind], "value": rest}
        elif kind == "method":
            match["method"] = rest
        else:
            name, _, value = rest.partition("=")
            form = "RegularExpression" if sign == "~" else "Exact"
            condition = {"type": form, "name": name, "value": value}
            match.setdefault(_FIELDS[kind], []).append(condition)
    return match


def _request(text: str) -> Request:
    method, target, *fields = text.split(" ")
    path, _, query = target.encode().partition(b"?")
    path = normalize(path) or path  # as the data plane asks
    pairs = [field.encode().partition(b":") for field in fields]
    return Request(method, path, query, tuple((name, value) for name, _, value in pairs))
