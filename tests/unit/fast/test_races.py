"""What two threads share is shared by the rules of C11: ThreadSanitizer watches the real code.

The interpreter is not instrumented; its locks are, through the C library. A race that the sanitizer
sees is one between our own lines.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.probes import build
from tests.support.stepper import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.soak]

EXIT_RACE = 66
TRAFFIC = Path(build.HERE) / "traffic.py"
CARRY = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("race", sys.argv[1])
race = module_from_spec(spec)
spec.loader.exec_module(race)
race.carry(20_000, slots=8, is_careless=sys.argv[2] == "careless")
"""


def run_watched(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with ThreadSanitizer loaded: exit code 66 tells of a race."""
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True
    )
    hidden = {"LD_PRELOAD", "PYTHONMALLOC", "ASAN_OPTIONS"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["LD_PRELOAD"] = runtime.stdout.strip()
    environment["TSAN_OPTIONS"] = f"exitcode={EXIT_RACE}"
    # The shadow memory has fixed places, which random addresses may take.
    fixed = [shutil.which("setarch") or "", "--addr-no-randomize"]
    if not fixed[0] or subprocess.run([*fixed, "true"], check=False).returncode:
        fixed = []
    return subprocess.run(
        [*fixed, sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run_traffic(*options: str) -> subprocess.CompletedProcess[str]:
    extension = str(build.built("engine_tsan"))
    return run_watched(str(TRAFFIC), extension, json.dumps(SETTINGS), *options)


def test_a_ring_between_two_threads_has_no_race() -> None:
    done = run_watched("-c", CARRY, str(build.built("race_tsan")), "careful")
    assert done.returncode == 0, done.stderr


def test_a_race_would_be_found() -> None:
    """The canary: the same ring with a plain store where a release belongs."""
    done = run_watched("-c", CARRY, str(build.built("race_tsan")), "careless")
    assert done.returncode == EXIT_RACE, done.stderr
    assert "data race" in done.stderr


def test_workers_and_python_have_no_race_over_snapshots_commands_records_and_dumps() -> None:
    done = run_traffic()
    assert done.returncode == 0, done.stderr


def test_workers_and_python_have_no_race_over_the_counters() -> None:
    done = run_traffic("--count")
    assert done.returncode == 0, done.stderr
