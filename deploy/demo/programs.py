"""Running other programs: to their end, or beside us with their output in a file."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from deploy.demo.story import DemoError

Found = TypeVar("Found")

# What takes longer than this on a healthy machine never ends.
PATIENCE_S: Final = 10.0
_POLL_S: Final = 0.02
_GRACE_S: Final = 3.0

# Nothing of the caller's own REMORA_*, PYTHON* or proxy settings reaches what the demo starts.
ENVIRONMENT: Final = {
    "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}

# Ends the program with us, even if we are killed with SIGKILL.
TIED_TO_US: Final = ("setpriv", "--pdeathsig", "KILL")


def eventually(what: str, probe: Callable[[], Found | None]) -> Found:
    """Call `probe` until its result is true, and return that; raise naming `what` after 10 s."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := probe()):
        if time.monotonic() >= deadline:
            raise DemoError(f"waited {PATIENCE_S:g} s for {what}")
        time.sleep(_POLL_S)
    return found


def attempt(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run to the end and return how it went. Raises DemoError if it does not end at all."""
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=ENVIRONMENT,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as fault:
        raise DemoError(f"`{' '.join(words)}` did not end in {PATIENCE_S:g} s") from fault


def run(words: Sequence[str]) -> str:
    """Run to the end and return stdout. Raises DemoError with its last words unless it exits 0."""
    done = attempt(words)
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or "it said nothing"
        raise DemoError(f"`{' '.join(words)}` exited with {done.returncode}: {said}")
    return done.stdout


class Program:
    """A program beside us. It has its own session: Ctrl-C on the terminal reaches only us."""

    def __init__(self, name: str, words: Sequence[str], out: Path, err: Path) -> None:
        self.name = name
        self._err = err
        with out.open("ab") as stdout, err.open("ab") as stderr:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def check_alive(self) -> None:
        """Raise DemoError with its last words if it has ended."""
        code = self._process.poll()
        if code is not None:
            last = self._err.read_text(errors="replace").splitlines()[-1:]
            raise DemoError(f"{self.name} ended with {code}: {last[0] if last else 'no word'}")

    def terminate(self) -> None:
        """Send SIGTERM and do not wait."""
        self._process.send_signal(signal.SIGTERM)

    def wait_exit(self) -> int:
        """Return the exit code; raise DemoError if it does not end."""
        eventually(f"{self.name} to exit", lambda: self._process.poll() is not None)
        return int(self._process.returncode)

    def stop(self) -> None:
        """End it and whatever it has started, politely first."""
        if self._process.poll() is not None:
            return
        self.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
