"""Counting instructions with valgrind's callgrind: switch it on, off, and read what it wrote."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

# Callgrind's format: a function has a number and, the first time, its name, whether as the one that
# runs or as one that is called. A line of costs begins with a position. After `calls=` comes the
# cost of the callee and all below it, which is counted where it runs.
_FUNCTION: Final = re.compile(r"(c?)fn=\((\d+)\)(?: (.*))?")
_COSTS: Final = re.compile(r"[-+*\d]\S* (\d+)")
_OURS: Final = re.compile(r"__pyx_f_5proxy_4fast_(\d+)(.*)")  # Cython's: length, module_function


def is_there() -> bool:
    """Tell whether valgrind is installed."""
    return shutil.which("valgrind") is not None and shutil.which("callgrind_control") is not None


def command(directory: Path) -> list[str]:
    """Return what runs a program under callgrind, which counts nothing until it is switched on."""
    out = f"--callgrind-out-file={directory}/callgrind.%p"
    return ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", out]


def switch(pids: Sequence[int], *, on: bool) -> None:
    """Start or stop to count."""
    for pid in pids:
        words = ["callgrind_control", "-i", "on" if on else "off", str(pid)]
        subprocess.run(words, check=True, capture_output=True)


def read(directory: Path) -> Counter[str]:
    """Return the instructions of each function, by all processes that wrote into the directory."""
    found: Counter[str] = Counter()
    for file in sorted(directory.glob("callgrind.*")):
        with file.open() as lines:
            found += counts(lines)
    return found


def counts(lines: Iterable[str]) -> Counter[str]:
    """Return the instructions of each function by itself, from the lines of one file."""
    names, found = dict[str, str](), Counter[str]()
    running, is_callee = "", False
    for line in lines:
        if function := _FUNCTION.match(line):
            if function[3]:
                names[function[2]] = named(function[3].rstrip())
            if not function[1]:
                running = names[function[2]]
        elif line.startswith("calls="):
            is_callee = True
        elif costs := _COSTS.match(line):
            if not is_callee:
                found[running] += int(costs[1])
            is_callee = False
    return found


def named(name: str) -> str:
    """Return `module.function` for what is of the data plane, else the name as it is."""
    ours = _OURS.match(name)
    if ours is None:
        return name
    length, text = int(ours[1]), ours[2]
    return f"{text[:length]}.{text[length + 1 :]}"
