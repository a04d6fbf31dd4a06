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
class Ends:
    """What became of requests whose connection ended, as the proxy was told to end it."""

    resent: int = 0  # asked again elsewhere: a kept connection ended without a byte of an answer
    refused: int = 0  # lost: nobody took the new connection
    cut: int = 0  # lost: reset or ended on a new connection, or in the middle of an answer
    status: int = 0  # lost: another status than 200
    by_first: int = 0  # answered by the proxy that ends, after it was told

    @property
    def lost(self) -> int:
        """Requests that a client would have seen fail."""
        return self.refused + self.cut + self.status


@dataclass(frozen=True)
class Outcome:
    """What the generator saw in the measured time."""

    requests: int
    unsent: int  # arrivals that were due and could not be sent in twice the time
    bytes: int  # both directions
    elapsed_seconds: float
    latency: Histogram
    lag: Histogram  # how late the generator itself was with requests that had a free connection
    ends: Ends = Ends()


class Generator:
    """A generator that is warm, and idle until `measure`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def measure(self) -> Outcome:
        """Run the measured time and return when the last answer is in."""
        self.begin()
        return self.end()

    def begin(self) -> None:
        """Begin the measured time."""
        self._say("go\n")

    def tell(self) -> None:
        """Tell, once in the measured time, that the proxy is about to be told to end."""
        self._say("ends\n")

    def _say(self, line: str) -> None:
        stdin = opened(self._process.stdin)
        stdin.write(line)
        stdin.flush()

    def end(self) -> Outcome:
        """Return when the last answer is in."""
        seen = json.loads(self.read_line())
        return Outcome(
            requests=seen["requests"],
            unsent=seen["unsent"],
            bytes=seen["bytes_sent"] + seen["bytes_received"],
            elapsed_seconds=seen["elapsed_ns"] / 1e9,
            latency=Histogram(seen["latency_ns"]),
            lag=Histogram(seen["lag_ns"]),
            ends=Ends(**seen["ends"]),
        )

    def read_line(self) -> str:
        """Return the next line of the generator; RunError with its own words if it gave up."""
        line = opened(self._process.stdout).readline()
        if not line:
            raise RunError(f"the run failed: {opened(self._process.stderr).read().strip()}")
        return line


@contextlib.contextmanager
def generator(
    port: int,
    workload: Workload,
    timing: Timing,
    core: int,
    identities: Path = Path(),
    next_port: int = 0,
) -> Iterator[Generator]:
    """Start a generator and warm it; its connections stay open until the block is left.

    With `next_port` they may end in the measured time: Outcome.ends.
    """
    words: dict[str, str | float] = {
        "port": port,
        "next-port": next_port,
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
