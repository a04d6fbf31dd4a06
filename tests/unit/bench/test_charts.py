"""Pictures of reports: what is drawn of what a report has."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.charts import cpu, draw, main, plan
from bench.workloads import HTTP_64, HTTP_DOWN


def sample(workload: str, peer: str, cpu_us: int = 30, **more: object) -> dict[str, Any]:
    memory = {"pss": 20_000_000}
    return {
        "workload": workload,
        "peer": peer,
        "proxy": {"total_ns": cpu_us * 1000 * 100},
        "requests": 100,
        "bytes": 50 << 20,
        "connections": 64,
        "memory": memory,
        "memory_loaded": memory,
        **more,
    }


def report(*workloads: str) -> dict[str, Any]:
    samples = [sample(work, peer) for work in workloads for peer in ("remora", "haproxy", "none")]
    latency = {
        f"{work} remora": [[1_000_000, 1_100_000, 99], [9_000_000, 9_100_000, 1]]
        for work in workloads
    }
    machine = {"processor": "a fast one"}
    top = {"title": "HTTP/1.1 proxy", "date": "2026-01-01", "machine": machine}
    return {**top, "samples": samples, "latency_ns": latency}


def test_cpu_is_by_the_unit_of_the_work() -> None:
    assert cpu(sample("http-64", "remora"), HTTP_64) == 30
    assert cpu(sample("http-down", "remora"), HTTP_DOWN) == 60


@pytest.mark.parametrize(
    ("workloads", "names"),
    [
        (["http-64"], ["cpu-request"]),
        (["http-64", "http-down"], ["cpu-request", "cpu-mib"]),
        (["http-64", "http-half"], ["cpu-request", "latency-http-half"]),
        (["http-1", "http-64", "http-256"], ["cpu-request", "growth"]),
        (["mtls-idle"], ["memory-mtls-idle"]),
    ],
)
def test_only_what_was_measured_is_drawn(workloads: list[str], names: list[str]) -> None:
    assert [name for name, _, _ in plan(report(*workloads))] == names


@pytest.mark.slow
def test_every_picture_can_be_drawn(tmp_path: Path) -> None:
    of_all = report("http-1", "http-64", "http-256", "http-down", "http-half", "mtls-idle")
    files = draw(of_all, "all", tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert len(files) == 2 * 5
    assert all(file.stat().st_size > 1000 for file in files)


def test_what_is_no_report_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"rows": []}))
    monkeypatch.setattr("sys.argv", ["charts", str(tmp_path / "other.json")])
    assert main() == 1
    assert "other.json: is no report" in capsys.readouterr().err
