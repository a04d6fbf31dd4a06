"""One sidecar: a real proxy process, its ready line, what it tells, and its metrics."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.pods import PROXY_ID, Pod
from deploy.demo.programs import Program, attempt, eventually, run
from deploy.demo.story import DemoError

CHECKOUT: Final = Path(__file__).resolve().parents[2]

Told = TypeVar("Told")

_RECENT: Final = 1000

_TRIAL: Final = "import sys, proxy.app, proxy.metrics; sys.exit(sys.version != sys.argv[1])"


@dataclass(frozen=True)
class Request:
    """One HTTP request that has ended, as `remora ctl requests` tells it."""

    direction: str
    method: str
    target: str
    status: int
    flag: str
    response_bytes: int
    duration_ms: float
    upstream_ms: float | None  # from sending it on to the answer's first byte; None: not sent
    request_id: str
    peer_identity: str  # of the other sidecar

    def story(self) -> tuple[str, str, int, str, int, str]:
        """Return what both sidecars must tell alike."""
        words = (self.method, self.target, self.status, self.flag)
        return (*words, self.response_bytes, self.request_id)


@dataclass(frozen=True)
class Connection:
    """One connection, as `remora ctl connections` tells it."""

    id: int
    direction: str
    phase: str
    protocol: str
    speaker: str  # who sent the first byte: "downstream", "upstream" or "none"
    reason: str
    downstream: str
    original_dst: str
    upstream: str
    received_bytes: int  # from the downstream
    sent_bytes: int  # to the downstream
    duration_ms: float
    spliced: bool

    @property
    def is_open(self) -> bool:
        """Tell whether it has not ended yet."""
        return self.reason == "open"


def _taken(kind: type[Told], row: dict[str, Any]) -> Told:
    """Take what the demo tells out of a row of JSON."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})  # type: ignore[arg-type]


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
            *("--access-log", "json", "--recent", str(_RECENT)),
            *("--control", str(self.control), "--drain-deadline", "10s"),
            *flags,
        ]
        self._program: Program | None = None
        self._told_before = 0
        self._may_open_files = False
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

    def requests(self) -> list[Request]:
        """Return the requests that have ended, the first one first."""
        return [_taken(Request, row) for row in self._ask("requests")][::-1]

    def wait_requests(self, count: int) -> list[Request]:
        """Wait until that many have ended, and return all there are."""

        def ended() -> list[Request]:
            requests = self.requests()
            return requests if len(requests) >= count else []

        return eventually(f"{self.name} to tell of {count} requests", ended)

    def connections(self) -> list[Connection]:
        """Return the connections there were and are, the first one first."""
        # The closed ones last: what ends between the two questions is told twice, never lost.
        rows = [*self._ask("connections"), *self._ask("connections", "--closed")]
        found = {row["id"]: _taken(Connection, row) for row in rows}
        return [found[number] for number in sorted(found)]

    def wait_closed(self, protocol: str) -> Connection:
        """Wait until a connection of that protocol has ended, and return it."""

        def closed() -> Connection | None:
            ended = (_taken(Connection, row) for row in self._ask("connections", "--closed"))
            return next((one for one in ended if one.protocol == protocol), None)

        return eventually(f"{self.name} to tell of a connection's end", closed)

    def _ask(self, *words: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.page(*words, "--json"))[words[0]]
        return rows

    def page(self, *words: str) -> str:
        """Ask it as an operator does, by `remora ctl`; return what that prints."""
        self.program.check_alive()
        command = [sys.executable, "-m", "proxy", "ctl", *words]
        return run([*command, "--control", str(self.control)])

    def access_log(self) -> list[dict[str, Any]]:
        """Return the lines of its access log so far. Those of connections have a protocol, too."""
        lines = self._access_log.read_text(errors="replace").splitlines()
        return [{"protocol": "http1", **json.loads(line)} for line in lines]

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
