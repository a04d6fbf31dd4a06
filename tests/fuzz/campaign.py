"""One run of one target: seeded damage until the time is over, in a process that may die of it.

The child writes each input where it outlives the child: a crash is a finding like any other.
"""
# ruff: noqa: T201 - a command prints what it did

import mmap
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.fuzz.targets import TARGETS, Target, loaded

LENGTH_BYTES: Final = 4
INPUT_BYTES_MAX: Final = 60_000
EXIT_FINDING: Final = 1
FINDINGS: Final = Path(__file__).resolve().parents[2] / "build" / "fuzz"


@dataclass(frozen=True)
class Budget:
    """How long to go on: whichever comes first."""

    seconds: float
    inputs: int


@dataclass(frozen=True)
class Finding:
    """Bytes that the code under test was wrong about, or died of."""

    text: bytes
    why: str


class LastInput:
    """A file that always holds the input in work: written through memory, without system calls."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(LENGTH_BYTES + INPUT_BYTES_MAX))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def write(self, text: bytes) -> None:
        self._map[LENGTH_BYTES : LENGTH_BYTES + len(text)] = text
        self._map[:LENGTH_BYTES] = len(text).to_bytes(LENGTH_BYTES)

    def read(self) -> bytes:
        length = int.from_bytes(self._map[:LENGTH_BYTES])
        return self._map[LENGTH_BYTES : LENGTH_BYTES + length]


def shrunk(target: Target, text: bytes) -> bytes:
    """Leave out what the fault does not need: halves first, single bytes last."""
    size = len(text) // 2
    while size:
        at = 0
        while at < len(text):
            shorter = text[:at] + text[at + size :]
            if shorter and target.fault(shorter):
                text = shorter
            else:
                at += size
        size //= 2
    return text


def work(name: str, seed: str, budget: Budget, last: LastInput) -> int:
    """Fuzz in this process. Returns the exit code; a finding is left in `last`."""
    target = TARGETS[name]
    seeds = target.seeds()
    dice = random.Random(seed)  # noqa: S311 - a seed must give the same inputs again
    loaded(target.module)  # compiled before the clock runs
    end = time.monotonic() + budget.seconds
    # The seeds themselves first: what is wrong about them needs no damage.
    for number in range(budget.inputs):
        text = seeds[number] if number < len(seeds) else target.damage(seeds, dice)
        last.write(text)
        if target.fault(text):
            last.write(shrunk(target, text))
            return EXIT_FINDING
        if time.monotonic() > end:
            break
    print(f"{name}: seed {seed}, {number + 1} inputs, nothing found")
    return 0


def run(name: str, seed: str, budget: Budget, folder: Path) -> Finding | None:
    """Fuzz in a child."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.last"
    path.unlink(missing_ok=True)
    last = LastInput(path)
    limits = [str(budget.seconds), str(budget.inputs)]
    command = [sys.executable, "-m", "tests.fuzz", "--child", name, seed, *limits, str(path)]
    status = subprocess.run(command, check=False).returncode
    if status == 0:
        return None
    text = last.read()
    if status == EXIT_FINDING:
        return Finding(text, TARGETS[name].fault(text) or "passes when run again")
    return Finding(text, f"the process died: signal {-status}" if status < 0 else f"exit {status}")


def keep(name: str, finding: Finding, folder: Path) -> Path:
    """Write the input to a file that --replay takes."""
    path = folder / f"{name}-{sha256(finding.text).hexdigest()[:12]}"
    path.write_bytes(finding.text)
    return path
