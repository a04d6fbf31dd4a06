"""Routes at Services: whom they bind, what their rules become, and what is told instead."""

from pathlib import Path

import pytest

from proxy.policy.effective import Who
from proxy.sources.strict import FaultsError
from proxy.traffic.model import traffic
from proxy.traffic.numbers import Numbers
from proxy.traffic.rows import (
    FULL,
    MILLION,
    NOBODY,
    SET,
    Edit,
    Limit,
    Mirror,
    Retry,
    Rewrite,
    Rule,
    Share,
    Traffic,
)
from proxy.traffic.settings import NO_LIMIT_MS
from tests.support.traffic import Object, load, route, rule, service, to

WEB = service("web", ports=(80, 81))
V2 = service("v2", "10.96.0.2")


def made(
    tmp_path: Path, *objects: Object, namespace: str = "shop"
) -> tuple[Traffic, tuple[str, ...]]:
    return traffic(load(tmp_path, WEB, V2, *objects), Who(namespace), Numbers())


def one_rule(tmp_path: Path, one: Object, **fields: object) -> Rule:
    rows, _ = made(tmp_path, route("r", one, **fields))  # type: ignore[arg-type]
    (row,) = rows.rules
    return row


def bound(rows: Traffic) -> list[tuple[str, int]]:
    """Return the ports to which a route is attached."""
    ports = [(front, rows.backends[front.backend].port) for front in rows.fronts]
    return [(front.service, port) for front, port in ports if front.routes]


# ---- whom a route binds -------------------------------------------------------------------------


def test_a_route_binds_every_port_of_its_service(tmp_path: Path) -> None:
    rows, notes = made(tmp_path, route("r", rule(to("web"))))
    assert bound(rows) == [("shop/web", 80), ("shop/web", 81)]
    assert notes == ()


@pytest.mark.parametrize("parent", [{"port": 81}, {"sectionName": "p1"}])
def test_a_route_may_bind_one_port(tmp_path: Path, parent: Object) -> None:
    rows, _ = made(tmp_path, route("r", rule(to("web")), parent=parent))
    assert bound(rows) == [("shop/web", 81)]


def test_a_route_that_names_a_port_twice_is_asked_once(tmp_path: Path) -> None:
    one = route("r", rule(to("web")))
    one["spec"]["parentRefs"] *= 2
    rows, _ = made(tmp_path, one)
    assert [len(front.routes) for front in rows.fronts] == [0, 1, 1]


def test_a_consumer_route_binds_its_own_namespace_only(tmp_path: Path) -> None:
    one = route("r", rule(to("web")), namespace="cart")
    assert bound(made(tmp_path, one, namespace="shop")[0]) == []
    assert len(bound(made(tmp_path, one, namespace="cart")[0])) == 2


def test_consumer_routes_replace_those_of_the_producer(tmp_path: Path) -> None:
    own = route("own", rule(to("web"), path="/a"))
    consumer = route("c", rule(to("web", namespace="shop")), namespace="cart", parent={"port": 81})
    rows, _ = made(tmp_path, own, consumer, namespace="cart")
    names = [[rows.rules[each.rule].route for each in front.routes] for front in rows.fronts]
    assert names == [[], ["shop/own"], ["cart/c"]]  # v2:80, web:80, web:81


def test_a_route_of_a_gateway_means_nothing_here(tmp_path: Path) -> None:
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    rows, notes = made(tmp_path, route("r", rule(to("nobody")), parent=parent))
    assert (rows.rules, notes) == ((), ())


@pytest.mark.parametrize(
    ("service_of", "parent", "note"),
    [
        ("gone", {}, "Service shop/gone: there is none here"),
        ("web", {"port": 82}, "Service shop/web: it has no such port"),
        ("db", {}, "Service shop/db: it is Headless, and has no address of its own"),
    ],
)
def test_a_route_that_finds_no_service_is_told(
    tmp_path: Path, service_of: str, parent: Object, note: str
) -> None:
    one = route("r", rule(to("web")), to=service_of, parent=parent)
    _, notes = made(tmp_path, service("db", "None"), one)
    assert notes == (f"HTTPRoute shop/r is not attached to {note}",)


def test_host_names_of_a_route_count_for_nothing_and_are_told(tmp_path: Path) -> None:
    rows, notes = made(tmp_path, route("r", rule(to("web")), hostnames=["a.example"]))
    assert len(bound(rows)) == 2
    assert notes == ("HTTPRoute shop/r: hostnames count for nothing at a Service",)


def test_a_route_of_grpc_is_told(tmp_path: Path) -> None:
    one = route("r", {"backendRefs": [to("web")]})
    one["kind"] = "GRPCRoute"
    rows, notes = made(tmp_path, one)
    assert (bound(rows), rows.rules) == ([], ())
    assert notes == ("GRPCRoute shop/r is read, and served when HTTP/2 comes",)


# ---- what becomes of a rule ---------------------------------------------------------------------


def test_backends_have_weights_and_edits_of_their_own(tmp_path: Path) -> None:
    header = {"set": [{"name": "X-A", "value": "1"}]}
    edit = {"type": "RequestHeaderModifier", "requestHeaderModifier": header}
    row = one_rule(tmp_path, rule(to("web", weight=9), to("v2", filters=[edit])))
    v2, web = 0, 1
    assert row.shares == (Share(web, 9), Share(v2, 1, (Edit(SET, b"x-a", b"1"),)))


@pytest.mark.parametrize("backend", [to("gone"), to("web", 99), to("web", namespace="gone")])
def test_a_backend_that_is_not_there_keeps_its_weight_and_answers_500(
    tmp_path: Path, backend: Object
) -> None:
    rows, notes = made(tmp_path, route("r", rule(to("web"), {**backend, "weight": 3})))
    assert rows.rules[0].shares[1] == Share(NOBODY, 3)
    where = f"{backend.get('namespace', 'shop')}/{backend['name']}:{backend['port']}"
    why = "is no port of a Service with endpoints here: its share is answered with 500"
    assert notes == (f"HTTPRoute shop/r: {where} {why}",)


def test_a_backend_may_be_in_any_namespace(tmp_path: Path) -> None:
    far = service("far", "10.96.0.9")
    far["metadata"]["namespace"] = "cart"
    rows, notes = made(tmp_path, far, route("r", rule(to("far", namespace="cart"))))
    assert rows.backends[rows.rules[0].shares[0].backend].service == "cart/far"
    assert notes == ()


def test_a_rule_without_a_backend_is_told(tmp_path: Path) -> None:
    rows, notes = made(tmp_path, route("r", rule()))
    assert rows.rules[0].shares == ()
    assert notes == ("HTTPRoute shop/r: spec.rules[0] has no backend and answers 500",)


def test_a_redirect_needs_no_backend(tmp_path: Path) -> None:
    redirect = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}
    rows, notes = made(tmp_path, route("r", rule(filters=[redirect])))
    assert rows.rules[0].rewrite == Rewrite(scheme="https", status=302)
    assert notes == ()


def test_a_rewrite_and_a_mirror(tmp_path: Path) -> None:
    full = {"type": "ReplaceFullPath", "replaceFullPath": "/x"}
    filters = [
        {"type": "URLRewrite", "urlRewrite": {"hostname": "b.example", "path": full}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": to("v2"), "percent": 25}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": to("gone")}},
    ]
    row = one_rule(tmp_path, rule(to("web"), filters=filters))
    assert row.rewrite == Rewrite(b"b.example", b"/x", FULL)
    assert row.mirrors == (Mirror(0, MILLION // 4),)


def test_times_and_retries_of_a_rule_win_over_annotations_of_its_route(tmp_path: Path) -> None:
    said = {"timeout": "9s", "try-timeout": "3s", "retry-attempts": "5", "rate-limit": "1/s"}
    fields: Object = {"timeouts": {"request": "4s"}, "retry": {"codes": [503], "attempts": 1}}
    row = one_rule(tmp_path, rule(to("web"), **fields), annotations=said)
    assert (row.request_ms, row.try_ms) == (4000, 3000)
    assert row.retry == Retry(1, (503,), 25, is_said=True)
    assert row.limit == Limit(1000, 1)
    row = one_rule(tmp_path, rule(to("web")), annotations=said)
    assert (row.request_ms, row.try_ms) == (9000, 3000)
    assert row.retry == Retry(5, (), 25, is_said=True)


def test_a_rule_that_says_nothing_leaves_it_to_the_backend(tmp_path: Path) -> None:
    row = one_rule(tmp_path, rule(to("web")))
    assert (row.request_ms, row.try_ms, row.retry) == (0, 0, Retry())


def test_no_limit_takes_that_of_the_service_away(tmp_path: Path) -> None:
    limited = service("slow", "10.96.0.3", annotations={"timeout": "1s"})
    none: Object = {"timeouts": {"request": "0s"}}
    rows, _ = made(tmp_path, limited, route("r", rule(to("slow"), **none), rule(to("web"), **none)))
    assert [row.request_ms for row in rows.rules] == [NO_LIMIT_MS, 0]


def test_a_try_that_outlasts_its_request_is_a_fault(tmp_path: Path) -> None:
    one = route("r", rule(to("web"), timeouts={"request": "1s"}), annotations={"try-timeout": "2s"})
    with pytest.raises(FaultsError, match=r"HTTPRoute shop/r: spec\.rules\[0\]: a try may take"):
        made(tmp_path, one)


def test_a_bad_regular_expression_is_a_fault_of_its_field(tmp_path: Path) -> None:
    match = {"headers": [{"type": "RegularExpression", "name": "h", "value": r"(a)\1"}]}
    with pytest.raises(FaultsError) as caught:
        made(tmp_path, route("r", {"matches": [match], "backendRefs": [to("web")]}))
    (fault,) = caught.value.faults
    assert (fault.object, fault.field) == ("HTTPRoute shop/r", "spec.rules[0].matches[0].headers")
    assert fault.text == r"the regular expression '(a)\\1' has \1, which is not supported"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    bad_path = {"matches": [{"path": {"type": "RegularExpression", "value": "("}}]}
    objects = (
        service("x", "10.96.0.9", annotations={"rate-limit": "much"}),
        route("a", {**bad_path, "backendRefs": [to("web")]}),
        route("b", rule(to("web"), timeouts={"request": "soon"})),
    )
    with pytest.raises(FaultsError) as caught:
        made(tmp_path, *objects)
    assert [fault.object for fault in caught.value.faults] == [
        "Service shop/x",
        "HTTPRoute shop/b",
        "HTTPRoute shop/a",
    ]


def test_one_expression_in_several_places_is_one_table(tmp_path: Path) -> None:
    path = {"path": {"type": "RegularExpression", "value": "/a+"}}
    rows, _ = made(
        tmp_path, route("r", *[{"matches": [path, path], "backendRefs": [to("web")]}] * 3)
    )
    assert len(rows.dfas) == 1
    assert {each.dfa for each in rows.fronts[1].routes} == {0}


def test_rules_of_a_route_share_its_number_and_so_its_limit(tmp_path: Path) -> None:
    rows, _ = made(
        tmp_path, route("r", rule(to("web")), rule(to("v2"))), route("s", rule(to("v2")))
    )
    assert [row.number for row in rows.rules] == [0, 0, 1]
