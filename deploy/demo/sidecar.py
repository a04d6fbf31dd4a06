"""One sidecar: a real proxy process, its ready line, its access log and its metrics."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.pods import PROXY_ID, Pod
from deploy.demo.programs import Program, attempt, eventually, run
from deploy.demo.story import DemoError

CHECKOUT: Final = Path(__file__).resolve().parents[2]

_RECENT: Final = 1000

_TRIAL: Final = "import sys, proxy.app, proxy.metrics; sys.exit(sys.version != sys.argv[1])"


@dataclass(frozen=True)
class Record:
    """One closed connection, as the access log tells it."""

    direction: str
    protocol: str
    speaker: str  # who sent the first byte: "downstream", "upstream" or "none"
    reason: str
    downstream: str
    original_dst: str
    upstream: str
    received_bytes: int  # from the downstream
    sent_bytes: int  # to the downstream
    connect_ms: float | None  # None: never connected
    duration_ms: float
    spliced: bool

    @classmethod
    def from_line(cls, line: str) -> "Record":
        """Read one line of the JSON access log."""
        told = json.loads(line)
        return cls(**{field.name: told[field.name] for field in fields(cls)})


class Metrics:
    """One scrape: call it with a sample's name and labels for the sum over the other labels."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of what fits."""
        wanted = labels.items()
        fitting = (s for s in self._samples if s.name == name and wanted <= s.labels.items())
        return sum(sample.value for sample in fitting)


class Sidecar:
    """The proxy of one pod. `flags` come on top of what every sidecar of the demo is given."""

    def __init__(self, pod: Pod, directory: Path, flags: Sequence[str]) -> None:
        self.pod = pod
        self.name = f"{pod.name}'s sidecar"
        self.control = directory / "control.sock"
        self._access_log = directory / "access.log"
        self._log = directory / "remora.log"
        self._mountpoint = directory / "image"
        self._flags = [
            # The story is of connections, told alike by both sidecars: pools would share them.
            "--no-http",
            *("--access-log", "json", "--recent", str(_RECENT)),
            *("--control", str(self.control), "--drain-deadline", "10s"),
            *flags,
        ]
        self._program: Program | None = None
        self._told_before = 0
        self._may_open_files = False
        self._records_read = 0
        self._mountpoint.mkdir(parents=True)
        for path in (self._access_log, self._log):
            path.touch()
        if pod.namespace:
            os.chown(directory, PROXY_ID, PROXY_ID)  # the only place that it may write to

    def start(self) -> None:
        """Start the process and wait until it is ready; after it has ended, start it again."""
        self._told_before = len(self.log_lines())
        self._program = Program(
            self.name,
            self._command("-m", "proxy", "proxy", *self._flags),
            self._access_log,
            self._log,
        )
        self.ready = eventually(f"{self.name} to be ready", self._ready_line)

    def settle_powers(self) -> bool:
        """Find out whether its user may read this Python; return whether it needs help with that.

        A trial, because nothing else tells: a Python without its own library may find another's.
        """
        trial = self._command("-c", _TRIAL, sys.version)
        self._may_open_files = attempt(trial).returncode != 0
        return self._may_open_files

    def _command(self, *arguments: str) -> list[str]:
        """Give the command that runs our Python as the sidecar, on its own copy of the code."""
        python = Path(sys.executable)
        in_image = self.pod.namespace and python.is_relative_to(CHECKOUT)
        words = [str(python.relative_to(CHECKOUT)) if in_image else str(python), *arguments]
        return self.pod.as_sidecar(
            CHECKOUT, self._mountpoint, *words, may_open_files=self._may_open_files
        )

    @property
    def program(self) -> Program:
        """The process. Raises DemoError before `start`."""
        if self._program is None:
            raise DemoError(f"{self.name} was never started")
        return self._program

    def stop(self) -> None:
        """End it, if it runs."""
        if self._program is not None:
            self._program.stop()

    def log_lines(self) -> list[str]:
        """Return what it has written to stderr so far."""
        return self._log.read_text(errors="replace").splitlines()

    def _ready_line(self) -> dict[str, Any] | None:
        self.program.check_alive()
        for line in self.log_lines()[self._told_before :]:
            if line.startswith("{"):
                told: dict[str, Any] = json.loads(line)
                if told["event"] == "ready":
                    return told
        return None

    def explicit_listeners(self) -> list[str]:
        """Effective addresses of the explicit listeners, in the order of the flags."""
        return [
            str(listener["address"])
            for listener in self.ready["listeners"]
            if listener["direction"] == "explicit"
        ]

    def next_record(self) -> Record:
        """Wait for the next connection to end, and return what the sidecar says of it."""
        record = eventually(f"{self.name} to log a connection", self._next_record)
        self._records_read += 1
        return record

    def _next_record(self) -> Record | None:
        self.program.check_alive()
        lines = self._access_log.read_text().split("\n")[self._records_read : -1]
        return Record.from_line(lines[0]) if lines else None

    def has_no_further_record(self) -> bool:
        """Tell whether every connection that was logged has been read."""
        return self._next_record() is None

    def metrics(self) -> Metrics:
        """Scrape it, from inside the pod."""
        return Metrics(
            run(self.pod.as_app("curl", "-sS", f"http://{self.admin_address()}/metrics"))
        )

    def readiness(self) -> int:
        """Return the status of GET /ready; 0 without an answer."""
        report = ["-sS", "-o", "/dev/null", "-w", "%{http_code}"]
        done = attempt(self.pod.as_app("curl", *report, f"http://{self.admin_address()}/ready"))
        return int(done.stdout or 0)

    def admin_address(self) -> str:
        """Where to ask for /live, /ready and /metrics from inside the pod."""
        _, _, port = str(self.ready["admin"]).rpartition(":")
        return f"127.0.0.1:{port}"

    def ctl_words(self, *words: str) -> list[str]:
        """Give a command line that asks this sidecar, for people to type."""
        remora = Path(sys.executable).with_name("remora")
        if remora.is_relative_to(Path.cwd()):
            remora = remora.relative_to(Path.cwd())
        return [str(remora), "ctl", *words, "--control", str(self.control)]

    def check_drained_well(self) -> None:
        """Raise DemoError unless its last words are that it holds nothing any more."""
        last = json.loads(self.log_lines()[-1])
        held = {kind: count for kind, count in last.get("live", {}).items() if count}
        if last["event"] != "stopped" or held:
            raise DemoError(f"{self.name} stopped with {held or last}")
