"""`make demo`: what it claims it has checked itself; here, that it ends well and cleans up."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.harness import ROOT
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

COLUMNS_MAX = 100
EXIT_UNAVAILABLE = 69


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the demo puts its files; other users go through it."""
    made = Path(tempfile.mkdtemp(prefix="remora-test-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def demo(directory: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start it; at the end it is gone, and its output has been printed for the report."""
    names = ("REMORA_REQUIRE_ROOT", "PYTHONSAFEPATH")
    ours = {name: text for name, text in os.environ.items() if name not in names}
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.demo", *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=ours | {"TMPDIR": str(directory)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def told_until(process: subprocess.Popen[str], words: str) -> str:
    """Read what it tells, up to a line with these words; to the end if no line has them."""
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if words and words in line:
            break
    print("".join(told))  # noqa: T201 - for the report of a failed test
    return "".join(told)


def namespaces() -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if line.startswith("remora-demo-")]


def expect_success(process: subprocess.Popen[str], directory: Path) -> str:
    """It has told its story in the columns that it may use, and left nothing behind."""
    told = told_until(process, "")
    code = process.wait(PATIENCE_S)
    if code == EXIT_UNAVAILABLE and os.environ.get("CI") != "true":
        pytest.skip(told.strip())
    assert code == 0
    assert "All of this was so" in told
    for name in ("shop", "stock"):
        assert re.search(rf"{name} +GET /hello +200 +40 B ", told)
    assert "who has no identity is reset" in told
    assert max(map(len, told.splitlines())) <= COLUMNS_MAX
    assert not list(directory.iterdir())
    return told


def test_without_root_it_says_what_it_leaves_out_and_does_the_rest(directory: Path) -> None:
    with demo(directory, "--no-root") as process:
        told = expect_success(process, directory)
    assert "Left out" in told.replace("\n   ", " ")


@pytest.mark.root
def test_after_a_run_that_was_killed_it_cleans_up_and_succeeds(directory: Path) -> None:
    with demo(directory) as process:
        told_until(process, "Real traffic")
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    assert namespaces()
    with demo(directory) as process:
        told = expect_success(process, directory)
    assert "removed what a killed run has left behind" in told
    assert not namespaces()


@pytest.mark.root
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("remora init in each", signal.SIGINT),
        ("A sidecar in each", signal.SIGTERM),
        ("SIGTERM to", signal.SIGINT),
    ],
)
def test_interrupted_it_leaves_nothing_behind(
    directory: Path, moment: str, number: signal.Signals
) -> None:
    with demo(directory) as process:
        told_until(process, moment)
        process.send_signal(number)
        assert "cleaned up" in told_until(process, "")
        assert process.wait(PATIENCE_S) == 128 + number
    assert not namespaces()
    assert not list(directory.iterdir())


@pytest.mark.root
def test_a_second_one_at_the_same_time_is_told_so(directory: Path) -> None:
    with demo(directory) as first:
        told_until(first, "Two pods")
        with demo(directory) as second:
            assert "another demo" in told_until(second, "")
            assert second.wait(PATIENCE_S) == 1
        first.send_signal(signal.SIGTERM)
        assert "cleaned up" in told_until(first, "")
    assert not namespaces()
