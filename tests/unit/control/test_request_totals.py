"""What `ctl status` says of HTTP."""

import pytest

from proxy.engine import Engine, Responses, Stats
from proxy.request_totals import flag_counts, request_totals

RESPONSES = [
    Responses("inbound", 200, "-", 6),
    Responses("inbound", 503, "UF", 2),
    Responses("inbound", 0, "DC", 2),
    Responses("outbound", 503, "UF", 1),
]


@pytest.fixture
def stats() -> Stats:
    """Ten requests, all inbound GET; each of them took between 0.5 and 1 ms."""
    engine = Engine(1, 1)
    raw = engine.stats()._raw
    engine.stop()
    raw["requests"][1] = 10
    raw["in_flight"][0] = 3
    raw["request_bucket"][3] = 10
    return Stats(raw)


def test_each_direction_has_its_rate_and_its_latency(stats: Stats) -> None:
    assert request_totals(stats, RESPONSES)["inbound"] == {
        "begun": 10,
        "in_flight": 3,
        "success_rate": 0.8,
        "p50_ms": 0.75,
        "p99_ms": 0.995,
    }


def test_where_nothing_ended_there_is_neither(stats: Stats) -> None:
    totals = request_totals(stats, RESPONSES)["explicit"]
    assert [totals[name] for name in ("success_rate", "p50_ms", "p99_ms")] == [None] * 3


def test_flags_are_summed_over_statuses_and_the_absent_one_is_left_out() -> None:
    more = [*RESPONSES, Responses("inbound", 504, "UF", 5)]
    assert flag_counts(more) == {"inbound": {"UF": 7, "DC": 2}, "outbound": {"UF": 1}}
