"""What a run of everything starts after the families."""

import sys
from pathlib import Path

import pytest

from bench import beside
from bench.beside import Part


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
