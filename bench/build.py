"""Compiles the generator and the upstream: C, because Python could not keep a proxy busy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench import BENCH, OUT

# Programs made of another one's source: its name, and more words for the compiler.
VARIANTS: Final = {"load-tls": ("load", ("-DWITH_TLS", "-lssl", "-lcrypto"))}
FLAGS: Final = ("-O2", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")


class BuildError(Exception):
    """The C programs cannot be built; the text says what to do."""


def program(name: str) -> Path:
    """Path of `bench/c/NAME.c` or of a variant as a program, made again if a source is newer."""
    sources = BENCH / "c"
    binary = OUT / "bin" / name
    newest = max(file.stat().st_mtime for file in sources.iterdir())
    if binary.exists() and binary.stat().st_mtime >= newest:
        return binary
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BuildError("no C compiler: apt-get install gcc libc6-dev")
    binary.parent.mkdir(parents=True, exist_ok=True)
    source, more = VARIANTS.get(name, (name, ()))
    command = [compiler, *FLAGS, "-o", str(binary), str(sources / f"{source}.c"), "-lm", *more]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if "openssl/ssl.h: No such file" in result.stderr:
        raise BuildError("no headers of OpenSSL: apt-get install libssl-dev")
    if result.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{result.stderr}")
    return binary


def vegeta(*, downloads: bool = False) -> Path:
    """Path of the constant-rate generator of the cross-check, built by Go from its module, once.

    Nothing leaves this machine without `downloads`: Go then takes what it has of the sources.
    """
    found = shutil.which("vegeta")
    if found:
        return Path(found)
    sources, binary = BENCH / "vegeta", OUT / "bin" / "vegeta"
    if binary.exists() and binary.stat().st_mtime >= (sources / "go.sum").stat().st_mtime:
        return binary
    if shutil.which("go") is None:
        raise BuildError("no vegeta, and no Go to build it with: https://go.dev/doc/install")
    command = ["go", "build", "-trimpath", "-o", str(binary), "github.com/tsenart/vegeta/v12"]
    said = "" if downloads else ", without downloading anything"
    sys.stderr.write(f"Go builds vegeta, once{said}\n")
    kept = {"GOTOOLCHAIN": "local", **({} if downloads else {"GOPROXY": "off"})}
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=sources, env=os.environ | kept
    )
    if result.returncode and not downloads:
        raise BuildError("no vegeta, and no sources of it here: --download lets Go fetch them")
    if result.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return binary
