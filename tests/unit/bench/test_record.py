"""What `--save` writes, and what it refuses to replace."""

import argparse
from pathlib import Path

import pytest

from bench import ROOT, record
from bench import __main__ as command
from bench.recorded import load
from bench.table import Table

REPORTS = sorted((ROOT / "bench" / "reports").glob("*.md"))


@pytest.mark.parametrize(
    "words", [["--quick"], ["--workloads", "http-64"], ["--peers", "none,remora"]]
)
def test_a_part_of_the_work_does_not_replace_the_whole(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*words, "--save"]) == 64
    assert "--save NAME" in capsys.readouterr().err


def test_shorter_rounds_and_fewer_are_still_the_whole_work() -> None:
    parser = command._parser()
    words = ["--seconds", "2", "--rounds", "3", "--save"]
    for family in ([], ["--tcp"], ["--http"], ["--mtls"]):
        record.check(parser.parse_args([*family, *words]), parser)


@pytest.mark.parametrize("name", ["../http", "http.smp", "", "-", "Night"])
def test_a_name_that_would_be_no_report_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command._parser().parse_args([f"--save={name}"])
    assert "a name is of a-z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("save", "congestion", "name"),
    [
        (record.WHOLE, None, "http"),
        (record.WHOLE, "reno", "http-reno"),
        ("rates", None, "http-rates"),
    ],
)
def test_what_is_not_as_usual_is_in_the_name(save: str, congestion: str | None, name: str) -> None:
    options = argparse.Namespace(save=save, congestion=congestion)
    assert record.name_of("http", options) == name


@pytest.mark.slow
def test_a_report_shows_its_pictures_and_those_of_the_one_before_are_gone(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "old.svg").touch()
    steps = {"init step": [{"wall_ms": 200.0}]}
    table = Table("A pod starts", ["step"], [["init step"]])
    top = record.Top("Starts", ["bench.start", "--save"])
    files = record.files_of(top, [table], {"steps": steps})
    written = record.save("start", files, tmp_path)
    assert [path.name for path in written] == ["start.md", "start.json", "start.svg"]
    assert [path.name for path in (tmp_path / "start").iterdir()] == ["start.svg"]
    text = (tmp_path / "start.md").read_text()
    assert "- command: `python -m bench.start --save`\n- machine: processor " in text
    assert "![start](start/start.svg)" in text
    assert load(tmp_path / "start.json").document["steps"] == steps


def test_a_picture_that_cannot_be_drawn_does_not_end_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = record.Top("Starts", ["bench.start"])
    files = record.files_of(top, [], {"steps": {"proxy": "no rounds"}})
    written = record.save("start", files, tmp_path)
    assert [path.name for path in written] == ["start.md", "start.json"]
    assert "no pictures of start" in capsys.readouterr().err


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_each_committed_report_has_its_command_and_its_machine(path: Path) -> None:
    lines = path.read_text().splitlines()
    for start in ("- command: `python -m bench", "- machine: processor "):
        assert any(line.startswith(start) for line in lines), start
