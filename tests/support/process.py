"""A real proxy process: its flags, its log, its ports, its memory, and how it ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Final

from tests.support import control
from tests.support.memory import private_bytes
from tests.support.sockets import Address, parsed
from tests.support.waiting import PATIENCE_S, eventually

# Exit codes that an operator's scripts may rely on (sysexits.h where it has a word).
EXIT_USAGE: Final = 64
EXIT_OS_ERROR: Final = 71

# What a worker owns and has to give back: the log's last words count each kind.
LIVE_KINDS: Final = {
    *("connections", "buffers", "pipes", "listeners", "upstreams", "exchanges", "in_flight")
}

CLOCK_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def environment() -> dict[str, str]:
    """Ours, without a developer's own REMORA_* settings, and with no file of the tree importable.

    What `-m proxy` means is then decided by the installed package, or by PYTHONPATH: so a
    sanitizer build takes the place of the release build for the whole suite.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("REMORA_")}
    return ours | {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


class Process:
    """`python -m proxy` with words: its log, what the kernel says of it, and its end."""

    def __init__(self, words: Sequence[str], directory: Path) -> None:
        self.stderr_lines: list[str] = []
        self.ended_as_planned = False  # a test that ends the process itself says so
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proxy", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environment(),
        )
        self.pid = self._process.pid
        self._reader = Thread(target=self._read_stderr, name="remora-stderr")
        self._reader.start()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self.stderr_lines.append(line.decode(errors="replace").rstrip("\n"))

    # --- the log ---

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stderr_lines if line.startswith("{")]

    def logged(self, event: str) -> dict[str, Any] | None:
        """Return the first log line of that event, if it was written yet."""
        return next((line for line in list(self.log) if line.get("event") == event), None)

    def _has_ended(self) -> bool:
        return self._process.poll() is not None and not self._reader.is_alive()

    # --- what the kernel says of it ---

    def cpu_seconds(self) -> float:
        """User and system time of all threads, in whole clock ticks (10 ms)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S

    def private_bytes(self) -> int:
        """Memory that is this process's alone: what grows when it leaks."""
        return private_bytes(self.pid)

    def fds(self) -> set[int]:
        return {int(name) for name in os.listdir(f"/proc/{self.pid}/fd")}  # noqa: PTH208

    # --- the end ---

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stop the process in the middle of whatever it does, and let it go on at the end."""
        self.signal(signal.SIGSTOP)
        try:
            eventually("the proxy to be stopped", lambda: self._state() == "T")
            yield
        finally:
            self.signal(signal.SIGCONT)

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0]

    def wait_exit(self, *, seconds: float = PATIENCE_S) -> int:
        """Exit code, after the last line of the log has been read too."""
        eventually("the proxy to exit", self._has_ended, seconds=seconds)
        assert self._process.returncode is not None
        return self._process.returncode

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM when it still runs; then it must have ended well: see `check_end`."""
        if self.running():
            self.signal(signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            self.wait_exit()
        if self.running():
            self.kill()
            raise AssertionError("it did not exit after SIGTERM")
        if not self.ended_as_planned:
            assert self._process.returncode == 0, f"exit code {self._process.returncode}"
            self.check_nothing_left()

    def check_nothing_left(self) -> None:
        """Whatever its last words must say; a proxy counts what it holds."""

    def kill(self) -> None:
        """Send SIGKILL: no drain, no last words."""
        self.ended_as_planned = True
        self._process.kill()
        self.wait_exit()

    def take_last_words(self) -> str:
        """Return what a process that failed to start said, once it is gone; see `check_log`."""
        words = "\n".join(self.stderr_lines)
        self.stderr_lines.clear()
        return words

    def check_log(self) -> None:
        """Every line is a log line, and none is an error: no traceback, no sanitizer report."""
        strange = [line for line in self.stderr_lines if not line.startswith("{")]
        assert not strange, "\n".join(strange)
        errors = [line for line in self.log if line.get("level") in {"error", "critical"}]
        assert not errors, errors


class Proxy(Process):
    """`remora proxy` with `flags`; `directory` holds its operator socket."""

    def __init__(self, flags: Sequence[str], directory: Path) -> None:
        self.control_path = directory / "control.sock"
        super().__init__(["proxy", *self._defaults(), *flags], directory)

    def _defaults(self) -> list[str]:
        return [
            *("--control", str(self.control_path), "--control-listen", "off"),
            *("--admin", "127.0.0.1:0", "--log-format", "json"),
        ]

    def wait_ready(self) -> "Proxy":
        eventually("the proxy's ready line", lambda: self.logged("ready") or self._has_ended())
        self._said_ready()
        return self

    def _said_ready(self) -> dict[str, Any]:
        line = self.logged("ready")
        assert line, f"not ready, exit code {self._process.returncode}"
        return line

    # --- what it says of itself ---

    def status(self) -> dict[str, Any]:
        return control.ask(self.control_path, "/status")

    def connections(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = control.ask(self.control_path, "/connections")["connections"]
        return rows

    def metrics(self) -> control.Metrics:
        status, text = control.fetch(self.admin_address(), "/metrics")
        assert status == 200, text
        return control.Metrics(text)

    def readiness(self) -> tuple[int, str]:
        """Status and body of GET /ready."""
        return control.fetch(self.admin_address(), "/ready")

    def live(self) -> dict[str, int]:
        """Objects that the workers hold right now: connections, buffers, pipes, listeners."""
        live: dict[str, int] = self.status()["live"]
        return live

    def admin_address(self) -> Address:
        return parsed(self._said_ready()["admin"])

    def listeners(self, direction: str) -> list[Address]:
        """Effective addresses in the order of the flags."""
        rows = self._said_ready()["listeners"]
        return [parsed(row["address"]) for row in rows if row["direction"] == direction]

    def closed_by_reason(self) -> dict[str, int]:
        """Connections that have ended, by reason, whatever their direction and protocol."""
        samples = self.metrics().samples
        counts: Counter[str] = Counter()
        for sample in samples:
            if sample.name == "tcp_close_total":
                counts[sample.labels["reason"]] += int(sample.value)
        return dict(counts)

    def closed(self, reason: str) -> int:
        return self.closed_by_reason().get(reason, 0)

    def wait_closed(self, reason: str, *, count: int = 1) -> None:
        """Wait until `count` connections have ended; every one must have ended for that reason."""
        eventually(f"{count} closed", lambda: self.metrics()("tcp_close_total") >= count)
        found = self.closed_by_reason()
        assert found == {reason: count}, found

    # --- the end ---

    def check_nothing_left(self) -> None:
        """The last words of the proxy: every live-object counter of the workers is zero."""
        stopped = self.logged("stopped")
        assert stopped, "the log has no event stopped"
        live = stopped["live"]
        assert live.keys() >= LIVE_KINDS, live
        assert not any(live.values()), live


def ctl(proxy: Proxy, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `remora ctl` against a proxy, whatever its exit code."""
    command = [sys.executable, "-m", "proxy", "ctl", *words]
    return subprocess.run(
        [*command, "--control", str(proxy.control_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
