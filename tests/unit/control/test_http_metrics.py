"""The golden metrics as text, and how many series they can ever be."""

from itertools import product

import pytest
from prometheus_client.core import Metric

from proxy.answers import classify
from proxy.engine import DIRECTIONS, FLAGS, METHODS, Engine, Responses, Stats
from proxy.http_metrics import HttpMetrics

EVERYTHING = [
    Responses(direction, status, flag, 1)
    for direction, status, flag in product(DIRECTIONS, [0, *range(100, 600)], FLAGS)
]
BASE = {"service": "unknown", "route": "unknown", "protocol": "http1", "tls": "false"}


def raw_of_an_idle_engine() -> dict[str, list[int]]:
    made = Engine(1, 1)
    try:
        return made.stats()._raw
    finally:
        made.stop()


@pytest.fixture(scope="module")
def idle() -> Stats:
    return Stats(raw_of_an_idle_engine())


@pytest.fixture(scope="module")
def busy() -> Stats:
    """Every counter at 1."""
    return Stats({name: [1] * len(words) for name, words in raw_of_an_idle_engine().items()})


def collected(
    stats: Stats, responses: list[Responses], metrics: HttpMetrics | None = None
) -> dict[str, Metric]:
    return {each.name: each for each in (metrics or HttpMetrics()).collect(stats, responses)}


def test_requests_are_counted_by_direction_and_method(busy: Stats) -> None:
    samples = collected(busy, [])["request"].samples
    assert {sample.name for sample in samples} == {"request_total"}
    labels = [{**sample.labels} for sample in samples]
    assert labels == [
        BASE | {"direction": direction, "method": method}
        for direction, method in product(DIRECTIONS, METHODS)
    ]


def test_a_response_carries_its_status_classification_and_flag(idle: Stats) -> None:
    (sample,) = collected(idle, [Responses("inbound", 503, "UF", 7)])["response"].samples
    assert sample.name == "response_total"
    assert sample.value == 7
    ending = {"status_code": "503", "classification": "failure", "flag": "UF"}
    assert sample.labels == BASE | {"direction": "inbound"} | ending


def test_what_never_happened_has_no_series(idle: Stats) -> None:
    families = collected(idle, [])
    assert not families["request"].samples
    assert not families["response"].samples


@pytest.mark.parametrize("name", ["request_duration_seconds", "first_byte_seconds"])
def test_durations_are_in_seconds_and_see_half_a_millisecond(busy: Stats, name: str) -> None:
    samples = collected(busy, [])[f"remora_http_{name}"].samples
    bounds = [float(sample.labels["le"]) for sample in samples if "le" in sample.labels]
    assert 0.0005 in bounds
    assert max(bounds) == float("inf")


def test_a_connection_at_work_is_busy_and_not_idle_too(busy: Stats) -> None:
    samples = collected(busy, [])["remora_http_pool_connections"].samples
    states = {sample.labels["state"]: sample.value for sample in samples}
    assert states == {"idle": 1, "busy": 0}


def test_however_an_application_chooses_its_statuses_the_series_are_bounded(busy: Stats) -> None:
    families = collected(busy, EVERYTHING)
    assert len(families["response"].samples) <= 800 + 2 * len(DIRECTIONS)
    assert sum(len(family.samples) for family in families.values()) < 1_100


def test_what_has_no_series_of_its_own_is_counted_in_that_of_the_rest(idle: Stats) -> None:
    samples = collected(idle, EVERYTHING)["response"].samples
    assert sum(sample.value for sample in samples) == len(EVERYTHING)
    rest = [sample for sample in samples if sample.labels["status_code"] == "other"]
    assert {sample.labels["flag"] for sample in rest} == {"other"}
    failures = sum(s.value for s in samples if s.labels["classification"] == "failure")
    assert failures == sum(classify(each.status, each.flag) == "failure" for each in EVERYTHING)


def test_a_series_that_was_shown_stays_when_others_come(idle: Stats) -> None:
    metrics = HttpMetrics()
    late = EVERYTHING[-1]
    collected(idle, [late], metrics)
    samples = collected(idle, EVERYTHING, metrics)["response"].samples
    labels = BASE | {
        "direction": late.direction,
        "status_code": str(late.status),
        "classification": classify(late.status, late.flag),
        "flag": late.flag,
    }
    assert [sample.value for sample in samples if sample.labels == labels] == [1]
