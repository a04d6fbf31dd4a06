"""What a run of everything measures after the families, each a command of its own.

A part that cannot be had here (no root, no Go) is left out and said so; one that fails is told, and
the others go on. What a part prints becomes a report.
"""

import contextlib
import datetime as dt
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import ROOT, report

EXIT_UNAVAILABLE: Final = 69
CLEANING_SECONDS_MAX: Final = 30.0


@dataclass(frozen=True)
class Part:
    """One command, `python -m bench.NAME`, and how long it takes."""

    name: str
    title: str
    words: tuple[str, ...]
    seconds: float
    draws: bool = False  # it prints the paths of files that it wrote, and no report


def parts(*, quick: bool, peers: str) -> list[Part]:
    """In the order in which they are run."""
    return [
        Part(
            "check",
            "The generator against others",
            (f"--peers={peers}", *(["--quick"] if quick else [])),
            60 if quick else 300,
        ),
        Part("start", "What a pod waits for", ("--rounds", "3") if quick else (), 50),
        Part(
            "shop",
            "A shop behind sidecars",
            ("--seconds", "5") if quick else (),
            30 if quick else 105,
        ),
    ]


def charts(reports: Sequence[Path]) -> Part:
    """Draw these reports."""
    return Part("charts", "Charts", tuple(map(str, reports)), 20, draws=True)


def run(part: Part, folder: Path) -> tuple[list[Path], bool]:
    """Run it; return the files that it made, and whether it went well or was left out."""
    words = [sys.executable, "-m", f"bench.{part.name}", *part.words]
    code, said = _output(words)
    if code:
        word = "left out" if code == EXIT_UNAVAILABLE else f"FAILED with status {code}"
        print(f"{part.title}: {word}: `{shlex.join(words[1:])}`", file=sys.stderr)
        return [], code == EXIT_UNAVAILABLE
    if part.draws:
        return [ROOT / line for line in said.splitlines()], True
    print("\n" + said)
    date = dt.datetime.now(dt.UTC).date().isoformat()
    top = f"# {part.title}, {date}\n\n- command: `{shlex.join(['python', *words[1:]])}`\n- "
    return report.write(folder, f"{part.name}-{date}", {"md": top + said}), True


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
