"""`make asan` is worth its name: a bug of each kind, in a child process, fails the run.

Without this canary a wrong compiler flag or a lost LD_PRELOAD would turn the whole run into a pass.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sources import ROOT

BUGS = """
#include <stdlib.h>
int none(void)     { return 0; }
int overflow(void) { volatile char *p = malloc(8); return p[8]; }
int freed(void)    { volatile char *p = malloc(8); free((void *)p); return p[0]; }
int wraps(void)    { volatile int x = 0x7fffffff; return x + 1; }
int broken(void)   { abort(); }
"""

# What fails is a grandchild whose exit code nobody looks at: the report alone must count.
CHILD = """
import subprocess, sys
library, function = sys.argv[1:]
code = f"import ctypes, faulthandler; faulthandler.enable(); ctypes.CDLL({library!r}).{function}()"
subprocess.run([sys.executable, "-c", code], check=False)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("canary")
    source, made = folder / "bugs.c", folder / "bugs.so"
    source.write_text(BUGS)
    compiler = ROOT / ".ci" / "cc-sanitize"
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", made], check=True)
    return made


def run_sanitized(library: Path, function: str) -> subprocess.CompletedProcess[str]:
    reports = library.parent / function
    runner = [str(ROOT / ".ci" / "sanitized"), str(reports), sys.executable, "-c", CHILD]
    command = [*runner, str(library), function]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("function", "finding"),
    [
        ("overflow", "heap-buffer-overflow"),
        ("freed", "heap-use-after-free"),
        ("wraps", "ILL"),
        ("broken", "ABRT"),
    ],
)
def test_a_bug_in_a_forgotten_process_fails_the_run(
    library: Path, function: str, finding: str
) -> None:
    done = run_sanitized(library, function)
    assert done.returncode == 1
    assert f"AddressSanitizer: {finding}" in done.stderr


def test_code_without_a_bug_passes(library: Path) -> None:
    done = run_sanitized(library, "none")
    assert done.returncode == 0, done.stderr
