"""What a run of everything measures after the families, each a command of its own.

A part that cannot be had here (no root, no Go) is left out and said so; one that fails is told, and
the others go on. Where the run saves, each part saves its own report; else what it prints becomes
one.
"""

import argparse
import contextlib
import datetime as dt
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench import OUT, ROOT, record, report
from bench.recorded import REPORTS

EXIT_UNAVAILABLE: Final = 69
CLEANING_SECONDS_MAX: Final = 30.0
CHECK_RUNS: Final = 16  # of a round: four proxies, ours and another generator, full and at a rate
CHECK_AROUND: Final = 2.0  # seconds that each of them takes besides


@dataclass(frozen=True)
class Part:
    """One command, `python -m bench.NAME`, and how long it takes."""

    name: str
    title: str
    words: tuple[str, ...]
    seconds: float
    saved: str = ""  # the name of the report that it saves itself, if it does


def parts(options: argparse.Namespace) -> list[Part]:
    """In the order in which they are run, with what was asked for."""
    rounds, seconds = (1, 1) if options.quick else (3, 5)
    check = [f"--peers={options.peers}", *(["--quick"] if options.quick else [])]
    if options.seconds:
        seconds = max(1, round(options.seconds))
        check.append(f"--seconds={seconds}")
    found = [
        Part(
            "check",
            "The generator against others",
            tuple(check),
            rounds * CHECK_RUNS * (seconds + CHECK_AROUND),
        ),
        Part("start", "What a pod waits for", ("--rounds=3",) if options.quick else (), 50),
        Part(
            "shop",
            "A shop behind sidecars",
            ("--seconds=5",) if options.quick else (),
            30 if options.quick else 105,
        ),
    ]
    if not options.save:
        return found
    words = record.words(options)
    return [
        replace(part, words=part.words + words, saved=record.name_of(part.name, options))
        for part in found
    ]


def run(part: Part) -> tuple[list[Path], bool]:
    """Run it; return the files that it made, and whether it went well or was left out."""
    words = [sys.executable, "-m", f"bench.{part.name}", *part.words]
    code, said = _output(words)
    if code:
        word = "left out" if code == EXIT_UNAVAILABLE else f"FAILED with status {code}"
        print(f"{part.title}: {word}: `{shlex.join(words[1:])}`", file=sys.stderr)
        return [], code == EXIT_UNAVAILABLE
    print("\n" + said)
    if part.saved:
        return [REPORTS / f"{part.saved}.{suffix}" for suffix in ("md", "json")], True
    date = dt.datetime.now(dt.UTC).date().isoformat()
    top = f"# {part.title}, {date}\n\n- command: `{shlex.join(['python', *words[1:]])}`\n- "
    return report.write(OUT, f"{part.name}-{date}", {"md": top + said}), True


def _output(words: Sequence[str]) -> tuple[int, str]:
    """Exit status and output. Whatever ends us, the command gets time to clean up.

    It has a session of its own, so that Ctrl-C reaches it once: through us.
    """
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(CLEANING_SECONDS_MAX)
            process.kill()
            raise
    return process.returncode, said
