"""What `ctl status` says of HTTP."""

from proxy.engine import Golden, Group
from proxy.request_totals import flag_counts, request_totals, service_totals
from tests.unit.control.goldens import golden

GOLDENS: dict[Group, Golden] = {
    ("inbound", "shop/web", False, "unknown"): golden(6, {(200, "-"): 4, (503, "UF"): 2}),
    ("inbound", "unknown", False, "unknown"): golden(7, {(200, "-"): 2, (0, "DC"): 2}, in_flight=3),
    ("outbound", "shop/cart", False, "unknown"): golden(1, {(503, "UF"): 1}),
}


def test_each_direction_has_its_rate_and_its_latency() -> None:
    assert request_totals(GOLDENS)["inbound"] == {
        "begun": 13,
        "in_flight": 3,
        "success_rate": 0.8,
        "p50_ms": 0.75,
        "p99_ms": 0.995,
    }


def test_where_nothing_ended_there_is_neither() -> None:
    totals = request_totals(GOLDENS)["explicit"]
    assert totals["begun"] == 0
    assert [totals[name] for name in ("success_rate", "p50_ms", "p99_ms")] == [None] * 3


def test_each_service_has_the_same_the_busiest_first() -> None:
    rows = service_totals(GOLDENS, 10)
    assert [(row["direction"], row["service"], row["begun"]) for row in rows] == [
        ("inbound", "unknown", 7),
        ("inbound", "shop/web", 6),
        ("outbound", "shop/cart", 1),
    ]
    assert [row["success_rate"] for row in rows] == [1.0, 4 / 6, 0.0]


def test_no_more_services_are_told_of_than_asked_for() -> None:
    assert [row["service"] for row in service_totals(GOLDENS, 1)] == ["unknown"]


def test_flags_are_summed_over_statuses_and_services_and_the_absent_one_is_left_out() -> None:
    more = GOLDENS | {("inbound", "shop/cart", False, "unknown"): golden(5, {(504, "UF"): 5})}
    assert flag_counts(more) == {"inbound": {"UF": 7, "DC": 2}, "outbound": {"UF": 1}}
