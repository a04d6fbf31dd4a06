"""What a run of everything starts after the families."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import ROOT, beside
from bench.beside import Part
from tests.support.waiting import eventually

# Stands for a command that has something to clean up: it tells that it runs, and that it did.
TIDY = """
import pathlib, signal, sys
place = pathlib.Path(sys.argv[1])
def clean(*_):
    (place / "clean").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, clean)
(place / "runs").touch()
signal.pause()
"""
RUN = "import sys; from bench import beside; beside._output([sys.executable, *sys.argv[1:]])"


def test_a_part_that_cannot_be_had_here_is_left_out_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    part = Part("check", "The generator against others", ("--peers", "remora"), 1)
    assert beside.run(part, tmp_path) == ([], True)
    said = capsys.readouterr().err
    assert "The generator against others: left out: `-m bench.check --peers remora`" in said


def test_a_part_that_fails_is_told_and_is_a_failure_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = Part("charts", "Charts", (str(tmp_path / "none.json"),), 1, draws=True)
    assert beside.run(part, tmp_path) == ([], False)
    assert "Charts: FAILED with status 1" in capsys.readouterr().err


@pytest.mark.slow
def test_another_generator_asks_the_same_proxy_and_its_figures_stand_beside_ours(
    tmp_path: Path,
) -> None:
    part = Part("check", "Check", ("--peers", "remora", "--rounds", "1", "--seconds", "1"), 1)
    (path,), went_well = beside.run(part, tmp_path)
    assert went_well
    text = path.read_text()
    assert text.startswith("# Check, ")
    assert "python -m bench.check --peers remora" in text
    (row,) = (line for line in text.split("\n## ")[1].splitlines() if line.startswith("| remora"))
    cpu_ours, cpu_wrk = (float(cell) for cell in row.split("|")[2:4])
    assert cpu_ours > 0
    assert cpu_wrk > 0


def test_parts_are_run_by_the_interpreter_of_the_run() -> None:
    code, said = beside._output([sys.executable, "-c", "print('here')"])
    assert (code, said) == (0, "here\n")


def test_a_part_cleans_up_before_an_interrupted_run_ends(tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUN, "-c", TIDY, str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE) as run:
        eventually("the part", (tmp_path / "runs").exists)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=20)
    assert run.returncode != 0
    assert (tmp_path / "clean").exists()
