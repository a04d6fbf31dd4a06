"""Annotations `remora.dev/...`: each has one form, and a name that nobody knows is a fault."""

from pathlib import Path

import pytest

from proxy.sources.annotations import NAMES, Budget, SuccessRate
from proxy.traffic.rows import Injected, Limit
from tests.unit.manifests.making import route, said, service


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("rate-limit", "100/s", "limit", Limit(100_000, 100)),
        ("rate-limit", "100/s burst=200", "limit", Limit(100_000, 200)),
        ("rate-limit", "30/m", "limit", Limit(500, 1)),
        ("rate-limit", "1/m", "limit", Limit(17, 1)),
        ("peer-rate-limit", "10/s", "peer_limit", Limit(10_000, 10)),
        ("concurrency-limit", "64", "requests_max", 64),
        ("fault-delay", "10% 200ms", "delay", Injected(100_000, 200)),
        ("fault-delay", "0.01% 1s", "delay", Injected(100, 1000)),
        ("fault-abort", "5% 503", "abort", Injected(0, 0, 50_000, 503)),
        ("retry-attempts", "0", "retry_attempts", 0),
        ("retry-codes", "503,502,503", "retry_codes", (502, 503)),
        ("retry-backoff", "25ms", "retry_backoff_ms", 25),
        ("timeout", "1m30s", "request_ms", 90_000),
        ("timeout", "0s", "request_ms", 0),
        ("try-timeout", "2s", "try_ms", 2000),
        ("retry-budget", "20%", "budget", Budget(20, 10)),
        ("retry-budget", "50% min=0", "budget", Budget(50, 0)),
        ("slow-start", "30s", "slow_start_ms", 30_000),
        ("outlier-success-rate", "80%", "success_rate", SuccessRate(80, 5)),
        ("outlier-success-rate", "80% requests=20", "success_rate", SuccessRate(80, 20)),
    ],
)
def test_an_annotation_of_a_service_is_read(
    tmp_path: Path, name: str, text: str, field: str, value: object
) -> None:
    each = service(tmp_path, annotations=f"remora.dev/{name}: '{text}'")
    assert each.faults == ()
    assert {key: it for key, it in each.annotations._asdict().items() if it is not None} == {
        field: value
    }


def test_delay_and_abort_are_one_injection(tmp_path: Path) -> None:
    notes = "remora.dev/fault-delay: 10% 200ms, remora.dev/fault-abort: 5% 503"
    assert route(tmp_path, "{}", annotations=notes).annotations.fault == Injected(
        100_000, 200, 50_000, 503
    )


@pytest.mark.parametrize("name", [name for name, of_services in NAMES.items() if of_services])
def test_what_is_for_services_is_a_fault_on_a_route(tmp_path: Path, name: str) -> None:
    each = route(tmp_path, "{}", annotations=f"{name}: '1'")
    assert said(each) == [f"metadata.annotations.{name}: is for Services, not for a HTTPRoute"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("rate-limits", "1/s", "is not supported (there are concurrency-limit, "),
        ("status", "injected", "is not supported (there are concurrency-limit, "),
        ("rate-limit", "100", "'100' is no rate (write 100/s, 30/m, or 100/s burst=200)"),
        ("rate-limit", "0/s", "'0/s' is outside 1 to 10000000"),
        ("rate-limit", "1/s burst=0", "'1/s burst=0' would let nothing through: its burst is 0"),
        ("concurrency-limit", "0", "'0' is no number from 1 to 2147483647"),
        ("concurrency-limit", "²", "'²' is no number from 1 to 2147483647"),
        ("fault-delay", "200ms", "'200ms' is no delay (write 10% 200ms)"),
        ("fault-delay", "101% 1s", "'101% 1s' is not above 0% and up to 100%"),
        ("fault-delay", "1% 1d", "'1% 1d' is no duration"),
        ("fault-abort", "5% 200", "'5% 200' is no abort (write 5% 503; statuses from 400 to 599)"),
        ("retry-attempts", "101", "'101' is no number from 0 to 100"),
        ("retry-codes", "302", "'302' is no list of statuses from 400 to 599"),
        ("retry-codes", "", "'' is no list of statuses from 400 to 599"),
        ("timeout", "1.5s", "'1.5s' is no duration (write 500ms, 10s, 1m30s or 1h)"),
        ("retry-budget", "200%", "'200%' is no retry budget (write 20% or 20% min=10)"),
        ("outlier-success-rate", "0%", "'0%' is no success rate (write 80% or 80% requests=5)"),
    ],
)
def test_an_annotation_that_is_not_understood_is_a_fault(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    (only,) = said(service(tmp_path, annotations=f"remora.dev/{name}: '{text}'"))
    assert only.startswith(f"metadata.annotations.remora.dev/{name}: {sentence}")


def test_a_try_does_not_last_longer_than_all_of_them(tmp_path: Path) -> None:
    notes = "remora.dev/timeout: 1s, remora.dev/try-timeout: 2s"
    (only,) = said(service(tmp_path, annotations=notes))
    assert only == ": annotation remora.dev/try-timeout is longer than remora.dev/timeout"


def test_annotations_of_others_are_left_alone(tmp_path: Path) -> None:
    each = service(tmp_path, annotations="example.org/rate-limit: x, remora.dev: y")
    assert each.faults == ()
