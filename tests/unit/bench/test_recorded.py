"""Reports that are read again say what the run said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.histogram import Histogram
from bench.measure import Sample
from bench.proc import Cpu
from bench.recorded import Recorded, Report, all_reports
from bench.report import Header, raw
from bench.summary import Results
from bench.workloads import HTTP_64, HTTP_HALF
from tests.unit.bench import reports

if TYPE_CHECKING:
    from collections.abc import Callable


def test_figures_of_a_report_are_those_of_its_run() -> None:
    latency = Histogram([[n * 1000, n * 1000 + 100, 10] for n in range(1, 101)])
    run = [
        Sample(HTTP_HALF.name, peer, number, proxy=Cpu(us * 1000, 1, 2), requests=1)
        for peer, us in (("remora", 20), ("haproxy", 30))
        for number in (1, 2)
    ]
    results = Results([replace(sample, latency=latency) for sample in run])
    header = Header("HTTP", "", "2026-01-01", "python -m bench", {}, {})
    again = Recorded(json.loads(raw(header, results, [])))
    figures: list[Callable[[Results], object]] = [
        lambda of: of.cpu_us(HTTP_HALF, "remora"),
        lambda of: of.cpu_ratio(HTTP_HALF, "remora", "haproxy"),
        lambda of: of.user_share(HTTP_HALF, "remora"),
        lambda of: of.latency_ratio(HTTP_HALF.name, "remora", "haproxy", 99),
        lambda of: of.latency(HTTP_HALF.name, "remora"),
    ]
    for figure in figures:
        assert figure(again) == figure(results)


@pytest.mark.parametrize("percent", [50, 90, 99, 99.9, 100])
def test_a_round_knows_its_percentiles(percent: float) -> None:
    (sample, *_) = reports.of("http-64").results.of("http-64", "remora")
    assert sample.latency.percentile(percent) == 1000 * percent


def test_a_report_is_that_of_its_family_by_its_name() -> None:
    assert reports.of("http-64").is_whole
    assert not reports.of("http-64", name="http-evening").is_whole
    assert reports.other("start", steps={}).is_whole


def test_other_forms_of_a_report_are_no_reports(tmp_path: Path) -> None:
    for name in ("http.json", "http.smp.json"):
        (tmp_path / name).write_text(json.dumps(reports.document()))
    assert list(all_reports(tmp_path)) == ["http"]


def test_what_failed_is_told() -> None:
    report = Report("http", {**reports.document(), "failed": [{"peer": "envoy"}]})
    assert report.troubles() == "1 measurements failed"


def test_budgets_are_those_of_today_whatever_the_report_says() -> None:
    report = reports.of("http-64")
    old = Report("http", {**report.document, "budgets": []})
    words = {verdict.work: verdict.word for verdict in old.verdicts() if verdict.work}
    assert words[HTTP_64.name] == "not measured"  # against Envoy, the last of two
    assert {verdict.word for verdict in old.verdicts()} == {"met", "not measured"}
