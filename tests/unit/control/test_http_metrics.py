"""The golden metrics as text."""

import pytest
from prometheus_client.core import Metric

from proxy.engine import Engine, Stats
from proxy.http_metrics import HttpMetrics
from proxy.http_series import HttpSeries
from tests.unit.control.goldens import Goldens, golden

GROUP = ("inbound", "shop/web", False, "unknown")
BASE = {
    "direction": "inbound",
    "service": "shop/web",
    "route": "unknown",
    "protocol": "http1",
    "tls": "false",
}


@pytest.fixture(scope="module")
def busy() -> Stats:
    """Every counter at 1."""
    made = Engine(1, 1)
    raw = made.stats()._raw
    made.stop()
    return Stats({name: [1] * len(words) for name, words in raw.items()})


def collected(stats: Stats, goldens: Goldens) -> dict[str, Metric]:
    metrics = HttpMetrics(HttpSeries(2_000, 0))
    return {each.name: each for each in metrics.collect(stats, goldens)}


def test_requests_are_counted_by_direction_service_and_method(busy: Stats) -> None:
    goldens = Goldens({GROUP: golden(2), ("outbound", "unknown", False, "unknown"): golden(3)})
    samples = collected(busy, goldens)["request"].samples
    assert {sample.name for sample in samples} == {"request_total"}
    found = {sample.value: dict(sample.labels) for sample in samples}
    assert found == {
        2: BASE | {"method": "GET"},
        3: BASE | {"direction": "outbound", "service": "unknown", "method": "GET"},
    }


def test_a_response_carries_its_status_classification_and_flag(busy: Stats) -> None:
    goldens = Goldens({GROUP: golden(7, {(503, "UF"): 7})})
    (sample,) = collected(busy, goldens)["response"].samples
    assert (sample.name, sample.value) == ("response_total", 7)
    ending = {"status_code": "503", "classification": "failure", "flag": "UF"}
    assert sample.labels == BASE | ending


def test_bytes_and_requests_in_flight_are_those_of_the_service(busy: Stats) -> None:
    families = collected(busy, Goldens({GROUP: golden(4, in_flight=1)}))
    values = {
        name: [(sample.labels, sample.value) for sample in families[name].samples]
        for name in families
        if name.startswith("remora_http_re") and name.endswith("_bytes")
    }
    assert values == {
        "remora_http_request_bytes": [(BASE, 12)],
        "remora_http_response_bytes": [(BASE, 20)],
    }
    (sample,) = families["remora_http_in_flight_requests"].samples
    assert (sample.labels, sample.value) == (BASE, 1)


def test_what_never_happened_has_no_series(busy: Stats) -> None:
    families = collected(busy, Goldens())
    with_service = {
        name for name, family in families.items() if family.samples and "pool" not in name
    }
    assert not with_service


@pytest.mark.parametrize("name", ["request_duration_seconds", "first_byte_seconds"])
def test_durations_are_in_seconds_and_see_half_a_millisecond(busy: Stats, name: str) -> None:
    samples = collected(busy, Goldens({GROUP: golden(1)}))[f"remora_http_{name}"].samples
    bounds = [float(sample.labels["le"]) for sample in samples if "le" in sample.labels]
    assert 0.0005 in bounds
    assert max(bounds) == float("inf")


def test_a_connection_at_work_is_busy_and_not_idle_too(busy: Stats) -> None:
    samples = collected(busy, Goldens())["remora_http_pool_connections"].samples
    states = {sample.labels["state"]: sample.value for sample in samples}
    assert states == {"idle": 1, "busy": 0}
