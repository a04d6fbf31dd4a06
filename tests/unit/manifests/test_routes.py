"""HTTPRoute and GRPCRoute: what they say, in the words of sources/route.py."""

from pathlib import Path

import pytest

from proxy.sources.route import (
    BackendRef,
    FieldMatch,
    Filters,
    MirrorRef,
    ParentRef,
    PathMatch,
    RouteMatch,
)
from proxy.traffic.rows import EXACT, PREFIX, REGEX, Edit, Retry
from tests.unit.manifests.making import TO_WEB, route, said, sample, thing
from tests.unit.policy.objects import loaded


def test_what_kubectl_prints_of_a_route_is_read_without_a_fault() -> None:
    (each,) = sample("routes.yaml").http_routes
    assert each.faults == ()
    assert each.parents == (ParentRef("Service", "", "shop", "web", 80),)
    assert (each.meta.created, each.is_grpc) == ("2026-11-04T09:00:00Z", False)
    assert (each.annotations.request_ms, each.annotations.retry_codes) == (15_000, (502, 503))
    assert [rule.name for rule in each.rules] == ["canary", ""]


def test_a_rule_tells_its_matches_its_backends_and_its_times() -> None:
    canary, rest = sample("routes.yaml").http_routes[0].rules
    assert canary.matches == (
        RouteMatch(PathMatch(PREFIX, "/"), (FieldMatch("x-canary", "yes"),)),
        RouteMatch(
            PathMatch(EXACT, "/beta"),
            queries=(FieldMatch("color", "red|blue", is_regex=True),),
            method="GET",
        ),
    )
    v2, v1 = canary.backends
    assert v2 == BackendRef("shop", "web-v2", 80, 1)
    assert v1[:4] == ("legacy", "web-v1", 8080, 9)
    assert v1.filters == Filters(request=(Edit("set", b"x-version", b"v1"),))
    assert (canary.request_ms, canary.try_ms) == (10_000, 2000)
    assert canary.retry == Retry(3, (500, 503), 50, is_said=True)
    assert (rest.request_ms, rest.try_ms, rest.retry) == (None, None, None)


def test_filters_become_edits_and_mirrors() -> None:
    filters = sample("routes.yaml").http_routes[0].rules[0].filters
    assert filters.request == (
        Edit("set", b"x-version", b"v2"),
        Edit("add", b"x-seen", b"canary"),
        Edit("remove", b"x-debug"),
    )
    assert filters.response == (Edit("set", b"x-served-by", b"canary"),)
    assert filters.mirrors == (MirrorRef(BackendRef("shop", "shadow", 80), 50_000),)
    assert (filters.rewrite, filters.redirect) == (None, None)


def test_of_two_conditions_on_one_header_the_first_counts(tmp_path: Path) -> None:
    headers = "[{name: A, value: x}, {name: a, value: y}]"
    each = route(tmp_path, f"{{matches: [{{headers: {headers}}}]}}")
    assert each.rules[0].matches[0].headers == (FieldMatch("a", "x"),)


def test_a_match_without_a_word_about_paths_has_none(tmp_path: Path) -> None:
    each = route(tmp_path, "{matches: [{method: PUT}, {path: {value: /a}}, {path: {}}]}")
    assert [match.path for match in each.rules[0].matches] == [
        None,
        PathMatch(PREFIX, "/a"),
        PathMatch(PREFIX, "/"),
    ]


def test_no_limit_is_not_the_same_as_nothing_said(tmp_path: Path) -> None:
    each = route(tmp_path, "{timeouts: {request: 0s, backendRequest: 5s}}")
    assert (each.rules[0].request_ms, each.rules[0].try_ms) == (0, 5000)


def test_a_retry_that_says_little_has_the_defaults(tmp_path: Path) -> None:
    assert route(tmp_path, "{retry: {}}").rules[0].retry == Retry(2, (), 25, is_said=True)


def test_what_a_route_of_a_gateway_says_is_not_even_read(tmp_path: Path) -> None:
    spec = "spec: {parentRefs: [{name: edge}], rules: [{filters: [{type: ExtensionRef}]}], x: 1}"
    (each,) = loaded(tmp_path, thing("HTTPRoute", spec, annotations="remora.dev/x: y")).http_routes
    assert each.parents == (ParentRef("Gateway", "gateway.networking.k8s.io", "shop", "edge"),)
    assert (each.rules, each.faults) == ((), ())


def test_a_route_of_a_gateway_and_a_service_is_read(tmp_path: Path) -> None:
    parents = 'parentRefs: [{name: edge}, {group: "", kind: Service, name: web}]'
    (each,) = loaded(
        tmp_path, thing("HTTPRoute", f"spec: {{{parents}, rules: [{{}}]}}")
    ).http_routes
    assert [parent.is_service for parent in each.parents] == [False, True]
    assert len(each.rules) == 1


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("sessionPersistence: {}", "sessionPersistence: is not supported"),
        ("matches: [{path: {type: Glob}}]", "matches[0].path.type: 'Glob' is none of Exact, "),
        ("matches: [{path: {value: a}}]", "matches[0].path: 'a' does not begin with /"),
        ("matches: [{path: {value: /a//b}}]", "matches[0].path: '/a//b' can be no path: it has //"),
        (
            "matches: [{path: {value: /a/..}}]",
            "matches[0].path: '/a/..' can be no path: it has /..",
        ),
        ("matches: [{path: {value: /%2f}}]", "matches[0].path: '/%2f' can be no path: it has %2f"),
        ("matches: [{method: get}]", "matches[0].method: 'get' is none of GET, HEAD, "),
        ("matches: [{headers: [{name: a}]}]", "matches[0].headers[0]: has no value"),
        (
            "matches: [{headers: [{name: 'a b', value: c}]}]",
            "matches[0].headers[0]: 'a b' is no na",
        ),
        (
            "matches: [{headers: [{name: a, value: 1}]}]",
            "matches[0].headers[0].value: must be a st",
        ),
        ("matches: [{cookies: []}]", "matches[0].cookies: is not supported"),
        ("backendRefs: [{name: web}]", "backendRefs[0]: has no port"),
        ("backendRefs: [{kind: Bucket, name: a, port: 1}]", "backendRefs[0]: is a Bucket: only "),
        (
            "backendRefs: [{group: net.example, name: a, port: 1}]",
            "backendRefs[0]: is a Service of net.example: only Services are supported",
        ),
        (
            "backendRefs: [{name: a, port: 1, weight: -1}]",
            "backendRefs[0].weight: must be a whole ",
        ),
        (
            "backendRefs: [{name: a, port: 1, filters: [{type: URLRewrite, urlRewrite: {}}]}]",
            "backendRefs[0].filters[0].type: 'URLRewrite' is not supported here (RequestHeader",
        ),
        ("timeouts: {request: 1.5s}", "timeouts.request: '1.5s' is no duration (write 500ms, 10s"),
        (
            "timeouts: {request: 1s, backendRequest: 2s}",
            "timeouts.backendRequest: is longer than r",
        ),
        ("timeouts: {idle: 1s}", "timeouts.idle: is not supported"),
        ("retry: {codes: [302]}", "retry.codes[0]: 302 is outside 400 to 599"),
        ("retry: {attempts: 101}", "retry.attempts: 101 is outside 0 to 100"),
        ("retry: {backoff: soon}", "retry.backoff: 'soon' is no duration"),
    ],
)
def test_what_a_rule_says_and_the_proxy_cannot_do_is_a_fault(
    tmp_path: Path, rule: str, sentence: str
) -> None:
    (only,) = said(route(tmp_path, f"{{{rule}}}"))
    assert only.startswith(f"spec.rules[0].{sentence}")


def test_every_fault_of_a_route_is_told_at_once(tmp_path: Path) -> None:
    rules = "{matches: [{method: X}, {}], retry: {x: 1}}, {backendRefs: [{}], timeouts: []}"
    each = route(tmp_path, rules, annotations="remora.dev/timeout: x")
    assert [fault.field for fault in each.faults] == [
        "metadata.annotations.remora.dev/timeout",
        "spec.rules[0].matches[0].method",
        "spec.rules[0].retry.x",
        "spec.rules[1].backendRefs[0]",
        "spec.rules[1].timeouts",
    ]


# ---- GRPCRoute ----------------------------------------------------------------------------------


def test_a_grpc_route_is_read_as_the_paths_that_it_means() -> None:
    (each,) = sample("routes.yaml").grpc_routes
    assert (each.faults, each.is_grpc) == ((), True)
    assert each.rules[0].matches == (
        RouteMatch(PathMatch(EXACT, "/shop.Stock/Get")),
        RouteMatch(PathMatch(PREFIX, "/shop.Stock/"), (FieldMatch("tenant", "a"),)),
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("method: Get", PathMatch(REGEX, "/[^/]+/Get")),
        ("type: RegularExpression, service: a|b", PathMatch(REGEX, "/(?:a|b)/[^/]+")),
        (
            "type: RegularExpression, service: 'a.*', method: Get|Put",
            PathMatch(REGEX, "/(?:a.*)/(?:Get|Put)"),
        ),
    ],
)
def test_a_method_of_any_service_is_a_regular_expression(
    tmp_path: Path, method: str, path: PathMatch
) -> None:
    each = route(tmp_path, f"{{matches: [{{method: {{{method}}}}}]}}", "GRPCRoute")
    assert each.rules[0].matches == (RouteMatch(path),)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("timeouts: {request: 1s}", "timeouts: is not supported"),
        ("retry: {}", "retry: is not supported"),
        ("matches: [{method: {}}]", "matches[0].method: has neither service nor method"),
        (
            "matches: [{method: {service: a/b}}]",
            "matches[0].method.service: 'a/b' is no name of a ",
        ),
        (
            "matches: [{method: {method: a.b}}]",
            "matches[0].method.method: 'a.b' is no name of a gR",
        ),
        ("matches: [{path: {value: /}}]", "matches[0].path: is not supported"),
        (
            "filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]",
            "filters[0].type: 'URLRewrite' is not supported here (RequestHeaderModifier, ",
        ),
    ],
)
def test_what_only_an_http_route_has_is_a_fault_in_a_grpc_route(
    tmp_path: Path, rule: str, sentence: str
) -> None:
    (only,) = said(route(tmp_path, f"{{{rule}}}", "GRPCRoute"))
    assert only.startswith(f"spec.rules[0].{sentence}")


def test_a_field_of_the_spec_that_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    (each,) = loaded(tmp_path, thing("HTTPRoute", f"spec: {{{TO_WEB}, ruels: []}}")).http_routes
    assert said(each) == ["spec.ruels: is not supported"]
