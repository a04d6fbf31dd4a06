"""Pictures of reports: what is drawn of what a report has."""

import json
from pathlib import Path

import pytest

from bench.charts import draw, main, plan
from bench.plots import peers
from bench.recorded import Report
from bench.workloads import HTTP_64
from tests.unit.bench import reports


@pytest.mark.parametrize(
    ("workloads", "names"),
    [
        (["http-64"], ["cpu-request"]),
        (["http-64", "http-down"], ["cpu-request", "cpu-mib"]),
        (["http-64", "http-25", "http-half"], ["cpu-request", "latency"]),
        (["http-half", "http-scrape"], ["latency", "latency-meanwhile"]),
        (
            ["http-1", "http-64", "http-256"],
            ["cpu-request", "connections-cpu", "connections-memory"],
        ),
        (["http-service", "http-services"], ["cpu-request", "services-cpu"]),
        (["mtls-idle"], ["connections-memory"]),
    ],
)
def test_only_what_was_measured_is_drawn(workloads: list[str], names: list[str]) -> None:
    assert [picture.name for picture in plan(reports.of(*workloads))] == names


def test_without_any_proxy_there_is_no_cost_to_draw() -> None:
    report = reports.of("http-64")
    samples = [each for each in report.document["samples"] if each["peer"] == "none"]
    assert plan(Report("http", {**report.document, "samples": samples})) == []


def test_rates_of_one_work_are_drawn_side_by_side_from_the_lowest() -> None:
    (latency,) = plan(reports.of("http-half", "http-75", "http-25"))
    assert len(latency.panels) == 3


def test_a_peer_that_is_not_known_here_is_drawn_last() -> None:
    report = reports.of("http-64")
    report.document["samples"].append(reports.sample("http-64", "linkerd"))
    assert peers(report, [HTTP_64]) == ["remora", "haproxy", "linkerd"]


OTHERS = [
    reports.other(
        "start", steps={"init step": [{"wall_ms": 200.0}], "proxy": [{"wall_ms": 210.0}]}
    ),
    reports.other(
        "shop", modes={"none": {"requests": 9, "failures": 1, "times_ms": {"5.0": 50, "400.0": 9}}}
    ),
    reports.other(
        "services",
        cpu_us_pairs=[[20.0, 21.0], [20.0, 19.0]],
        latency_ns={"nothing changes": [[1000, 2000, 900]], "a change a second": [[1000, 2000, 9]]},
    ),
    reports.other(
        "snapshot",
        sizes=[
            {
                "services": n,
                "build_ms": n / 20,
                "memory_kib": n - 1,
                "address_ns": 30,
                "name_ns": 60,
                "balance_ns": 90,
            }
            for n in (1, 100)
        ],
    ),
]
WORKS = ("http-1", "http-64", "http-256", "http-down", "http-half", "http-scrape", "http-services")


@pytest.mark.slow
@pytest.mark.parametrize("report", [reports.of(*WORKS), *OTHERS], ids=lambda report: report.name)
def test_the_same_report_gives_the_same_small_pictures(report: Report, tmp_path: Path) -> None:
    once, again = (draw(report, tmp_path / where) for where in ("once", "again"))
    assert [file.stem for file in once] == [picture.name for picture in plan(report)]
    assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]
    assert all(file.stat().st_size < 60_000 for file in once)


@pytest.mark.slow
def test_text_stays_text(tmp_path: Path) -> None:
    (file,) = draw(reports.of("http-64"), tmp_path)
    assert "haproxy</text>" in file.read_text()


def test_what_is_no_report_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"rows": []}))
    monkeypatch.setattr("sys.argv", ["charts", str(tmp_path / "other.json")])
    assert main() == 1
    assert "other.json: is no report" in capsys.readouterr().err
