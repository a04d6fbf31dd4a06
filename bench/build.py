"""Compiles the generator and the upstream: C, because Python could not keep a proxy busy."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench import BENCH, OUT

FLAGS: Final = ("-O2", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")


class BuildError(Exception):
    """The C programs cannot be built; the text says what to do."""


def program(name: str) -> Path:
    """Path of `bench/c/NAME.c` as a program, compiled again if a source is newer."""
    sources = BENCH / "c"
    binary = OUT / "bin" / name
    newest = max(file.stat().st_mtime for file in sources.iterdir())
    if binary.exists() and binary.stat().st_mtime >= newest:
        return binary
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BuildError("no C compiler: apt-get install gcc libc6-dev")
    binary.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, *FLAGS, "-o", str(binary), str(sources / f"{name}.c"), "-lm"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{result.stderr}")
    return binary
