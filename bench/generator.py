"""Drives bench/c/load.c: warm up, stand still, read the clocks, run, read the clocks again."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.build import program
from bench.histogram import Histogram
from bench.identities import CLIENT
from bench.running import RunError, opened, pinned, stop
from bench.workloads import TO_SERVER, Workload


@dataclass(frozen=True)
class Timing:
    """Seconds of a measurement, and what the open loop needs to know."""

    seconds: float
    warmup_seconds: float
    rate: float = 0.0  # requests a second; 0 is the closed loop
    seed: int = 0  # of lengths and gaps: the same for all peers of a round


@dataclass(frozen=True)
class Outcome:
    """What the generator saw in the measured time."""

    requests: int
    unsent: int  # arrivals that were due and could not be sent in twice the time
    bytes: int  # both directions
    elapsed_seconds: float
    latency: Histogram
    lag: Histogram  # how late the generator itself was with requests that had a free connection


class Generator:
    """A generator that is warm, and idle until `measure`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def measure(self) -> Outcome:
        """Run the measured time and return when the last answer is in."""
        stdin = opened(self._process.stdin)
        stdin.write("go\n")
        stdin.flush()
        seen = json.loads(self.read_line())
        return Outcome(
            requests=seen["requests"],
            unsent=seen["unsent"],
            bytes=seen["bytes_sent"] + seen["bytes_received"],
            elapsed_seconds=seen["elapsed_ns"] / 1e9,
            latency=Histogram(seen["latency_ns"]),
            lag=Histogram(seen["lag_ns"]),
        )

    def read_line(self) -> str:
        """Return the next line of the generator; RunError with its own words if it gave up."""
        line = opened(self._process.stdout).readline()
        if not line:
            raise RunError(f"the run failed: {opened(self._process.stderr).read().strip()}")
        return line


@contextlib.contextmanager
def generator(
    port: int, workload: Workload, timing: Timing, core: int, identities: Path = Path()
) -> Iterator[Generator]:
    """Start a generator and warm it; its connections stay open until the block is left."""
    words: dict[str, str | float] = {
        "port": port,
        "connections": workload.connections,
        "request": workload.request,
        "response": workload.response,
        "warmup": timing.warmup_seconds,
        "seconds": timing.seconds,
        "rate": timing.rate,
        "seed": timing.seed,
    }
    if workload.head:
        words["http"] = workload.head
    name = "load"
    if workload.mtls == TO_SERVER:
        name, words["tls"] = "load-tls", str(identities / CLIENT)
    command = [str(program(name)), *(["--each-new"] if workload.each_new else [])]
    for word, value in words.items():
        command += [f"--{word}", str(value)]
    with pinned(core):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            warm = Generator(process)
            warm.read_line()
            yield warm
        finally:
            stop(process)
