"""The record: what `--save` writes into bench/reports/, to commit.

One report of each kind, with its pictures in a folder beside it. A later run replaces it, so that
whatever names a report names the newest one; git has the history. A part of the work does not
replace the whole: it is kept beside it under a name.
"""

import argparse
import datetime as dt
import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import charts, machine, report
from bench.recorded import REPORTS, Report
from bench.table import Table

WHOLE: Final = "whole"  # what --save means without a name
PARTS: Final = ("quick", "workloads", "peers")  # options that make a run a part of the work
NAME: Final = re.compile("[a-z0-9]+(-[a-z0-9]+)*")  # of a file: a second suffix is another form


class PartialError(Exception):
    """A part of the work would replace the report of the whole."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a command be told to save."""
    parser.add_argument(
        "--save",
        nargs="?",
        const=WHOLE,
        type=_named,
        metavar="NAME",
        help="also into bench/reports/, to commit; NAME: beside the report of the whole work",
    )


def _named(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: a name is of a-z, 0-9 and single hyphens")
    return text


def check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse, before anything is measured, to replace the whole by a part of it."""
    given = [name for name in PARTS if getattr(options, name) != parser.get_default(name)]
    if options.save == WHOLE and given:
        raise PartialError(
            f"--{given[0]} measures a part of the work, and --save would replace the report of "
            "the whole: --save NAME keeps it beside that"
        )


def name_of(stem: str, options: argparse.Namespace) -> str:
    """Name a report: what is not as usual is told."""
    named = None if options.save == WHOLE else options.save
    congestion = getattr(options, "congestion", None)  # an option of families only
    return "-".join(part for part in (stem, congestion, named) if part)


def words(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the words that let another command save as this one does."""
    if not options.save:
        return ()
    beside = name_of("", options)
    return (f"--save={beside}",) if beside else ("--save",)


def save(name: str, files: dict[str, str], directory: Path = REPORTS) -> list[Path]:
    """Write Markdown and JSON, draw what the JSON has, and show that in the Markdown."""
    paths = report.write(directory, name, files)
    folder = directory / name
    shutil.rmtree(folder, ignore_errors=True)  # pictures of the run before
    try:
        drawn = charts.draw(Report(name, json.loads(files["json"])), folder)
    except ImportError:
        sys.stderr.write("no pictures: matplotlib is missing\n")
        return paths
    except Exception as fault:  # noqa: BLE001 - what is measured after this is not to be lost for it
        sys.stderr.write(f"no pictures of {name}: {fault!r}; `make figures` draws them again\n")
        return paths
    if drawn:
        shown = "".join(f"\n![{path.stem}]({name}/{path.name})\n" for path in drawn)
        report.write(directory, name, {"md": f"{files['md']}\n## Pictures\n{shown}"})
    return paths + drawn


@dataclass(frozen=True)
class Top:
    """What makes a report repeatable. Made before anything is measured: it tells the load."""

    title: str
    argv: Sequence[str]  # the command
    note: str = ""
    machine: dict[str, str] = field(default_factory=machine.describe)


def files_of(top: Top, tables: Sequence[Table], data: dict[str, Any]) -> dict[str, str]:
    """Make the files of a report that is not one of a family of workloads."""
    date = dt.datetime.now(dt.UTC).date().isoformat()
    command = shlex.join(["python", "-m", *top.argv])
    head = [
        *(f"# {top.title}, {date}", "", f"- command: `{command}`"),
        f"- machine: {machine.line(top.machine)}",
        *(["", top.note] if top.note else []),
    ]
    text = "\n\n".join(["\n".join(head), *(table.markdown() for table in tables)]) + "\n"
    known = {"title": top.title, "date": date, "command": command, "machine": top.machine}
    return {"md": text, "json": json.dumps({**known, **data}, indent=1) + "\n"}
