"""System calls of a proxy for each unit of work, counted by strace in short runs of their own.

Tracing slows a proxy down many times over, so nothing else is measured here. A slow proxy finds
more to do at each turn of its loop: calls to wait are fewer than in life, those that move bytes are
as many.
"""

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.generator import Timing, generator
from bench.measure import Bench
from bench.peer import Peer
from bench.proc import session
from bench.rounds import Plan, fitted
from bench.running import RunError, deployed, opened, upstream
from bench.workloads import (
    BULK_DOWN,
    BULK_UP,
    HTTP_64,
    HTTP_DOWN,
    HTTP_NEW,
    HTTP_POST,
    HTTP_UP,
    MIB,
    MTLS_64,
    MTLS_DOWN,
    MTLS_UP,
    NEW,
    SMALL,
    Workload,
)

TIMING: Final = Timing(seconds=0.5, warmup_seconds=0.1)
SECONDS: Final = 2.5  # that one of these runs takes, start and end included
TOTAL: Final = "total"
# What a whole run counts: one of each kind of work. How many connections or Services there are
# changes no call.
PLAIN: Final = (
    *(SMALL, NEW, BULK_DOWN, BULK_UP),
    *(HTTP_64, HTTP_POST, HTTP_NEW, HTTP_DOWN, HTTP_UP),
    *(MTLS_64, MTLS_DOWN, MTLS_UP),
)

Step = tuple[Workload, Peer]


@dataclass(frozen=True)
class Calls:
    """What one peer called in one run, by name; `units` of work were done meanwhile."""

    workload: str
    unit: str
    peer: str
    units: float
    counts: dict[str, int]

    def each(self) -> dict[str, float]:
        """Tell the calls for one unit of work, the frequent ones first."""
        ordered = sorted(self.counts.items(), key=lambda item: -item[1])
        return {name: count / self.units for name, count in ordered}


def is_there() -> bool:
    """Whether strace is installed."""
    return shutil.which("strace") is not None


def steps(plan: Plan, *, every: bool) -> list[Step]:
    """List what is traced: every peer at what is PLAIN of a plan, or at all that saturates."""
    works = [w for w in plan.workloads if not w.half_of and not w.idle]
    chosen = works if every else [w for w in works if w in PLAIN]
    return [(w, p) for w in chosen for p in plan.peers if p.command and w in p.only]


def count_all(
    bench: Bench, plan: Plan, steps: Sequence[Step], say: Callable[[str], None]
) -> list[Calls]:
    """Trace each peer at its work."""
    counted = []
    for workload, peer in steps:
        say(f"system calls: {workload.name}, {peer.name}")
        counted.append(count(bench, peer, fitted(bench, plan, workload, 1, 0)[0]))
    return counted


def count(bench: Bench, peer: Peer, workload: Workload) -> Calls:
    """Trace `peer` while it does `workload`."""
    load = bench.cores.load
    with (
        TemporaryDirectory(prefix="remora-bench-") as name,
        upstream(load, workload.family) as (upstream_port, _),
        deployed(peer, workload, bench.place(upstream_port, workload)) as proxy,
        generator(proxy.port, workload, TIMING, load, bench.identities) as warm,
    ):
        summary = Path(name) / "summary"
        with _traced(session(*proxy.pids), summary):
            seen = warm.measure()
        return Calls(
            workload.name,
            workload.unit,
            peer.name,
            seen.bytes / MIB if workload.unit == "MiB" else seen.requests,
            parse(summary.read_text()),
        )


def parse(summary: str) -> dict[str, int]:
    """Read the table that `strace -c -U name,calls` writes."""
    rows = re.findall(r"^(\w+) +(\d+)$", summary, re.MULTILINE)
    return {name: int(calls) for name, calls in rows if name != TOTAL}


@contextlib.contextmanager
def _traced(pids: Sequence[int], summary: Path) -> Iterator[None]:
    """Trace these processes with all their threads."""
    command = ["strace", "-f", "-c", "-U", "name,calls", "-o", str(summary)]
    for pid in pids:
        command += ["-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            for _ in pids:  # one line for each process that it has attached to
                if "attached" not in opened(tracer.stderr).readline():
                    raise RunError("strace may not trace: it needs root, or ptrace_scope 0")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            opened(tracer.stderr).read()
