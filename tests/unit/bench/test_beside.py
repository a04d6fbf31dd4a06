"""What a run of everything starts after the families."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import ROOT, beside, record
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
    assert beside.run(part) == ([], True)
    said = capsys.readouterr().err
    assert "The generator against others: left out: `-m bench.check --peers remora`" in said


def test_a_part_that_fails_is_told_and_is_a_failure_of_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    part = Part("check", "Check", ("--peers", "none"), 1)
    assert beside.run(part) == ([], False)
    assert "Check: FAILED with status 64" in capsys.readouterr().err


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", default="remora")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--congestion")
    record.add_option(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "told", "names"),
    [
        ((), None, ["", "", ""]),
        (("--save",), "--save", ["check", "start", "shop"]),
        (("--quick", "--save", "look"), "--save=look", ["check-look", "start-look", "shop-look"]),
        (
            ("--congestion", "reno", "--save"),
            "--save=reno",
            ["check-reno", "start-reno", "shop-reno"],
        ),
    ],
)
def test_parts_save_as_the_run_does_and_replace_the_whole_only_where_it_does(
    words: tuple[str, ...], told: str | None, names: list[str]
) -> None:
    parts = beside.parts(options(*words))
    assert [part.saved for part in parts] == names
    saves = {next((w for w in part.words if w.startswith("--save")), None) for part in parts}
    assert saves == {told}


def test_the_check_takes_the_length_of_the_run() -> None:
    short, usual = (beside.parts(options(*words))[0] for words in (("--seconds", "2"), ()))
    assert "--seconds=2" in short.words
    assert short.seconds < usual.seconds


@pytest.mark.slow
def test_another_generator_asks_the_same_proxy_and_its_figures_stand_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "OUT", tmp_path)
    part = Part("check", "Check", ("--peers", "remora", "--rounds", "1", "--seconds", "1"), 1)
    (path,), went_well = beside.run(part)
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
