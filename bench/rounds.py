"""Interleaved rounds: each gives every workload to every peer, and begins with another peer.

What drifts on a machine (clock, temperature, neighbours) then meets all peers alike, and ratios
are taken within a round.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.generator import Timing
from bench.limits import DISTURBED, doubts
from bench.measure import Bench, Sample, measure
from bench.peer import Peer
from bench.restless import measure_restless
from bench.running import RunError
from bench.workloads import TO_SERVER, Family, Workload

RETRIES_MAX: Final = 2  # of one measurement that something else disturbed
RETRY_SHARE: Final = 1.1  # of the expected length of a run, up to which these are repeated
FAULTS_MAX: Final = 2  # of a peer at a workload, after which it is not asked to do it again
# Seconds that a measurement takes besides its own: starting, settling, closing, ending.
AROUND: Final = 1.6
AROUND_IDLE: Final = 5.0
AROUND_HANDSHAKES: Final = 12.0  # of thousands of idle connections
AROUND_SERVICES: Final = 20.0  # thousands of them are read before the first answer
PROBES_MAX: Final = 64  # connections that a proxy may hold beside the measured ones


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    peers: Sequence[Peer]
    workloads: Sequence[Workload]
    rounds: int
    seconds: float
    warmup_seconds: float
    idle_rounds: int
    rate: float = 0.0  # for half load; 0: half of the slowest peer's capacity in the first round

    @property
    def family(self) -> Family:
        """Tell which one all its workloads are of."""
        return self.workloads[0].family

    def steps(self) -> Iterator[tuple[int, Workload, Peer]]:
        """Round, workload, peer, in the order of the run. Rounds count from 1."""
        for number in range(1, self.rounds + 1):
            for workload in self.workloads:
                if workload.idle and number > self.idle_rounds:
                    continue
                for peer in rotated(self.peers, number - 1):
                    if _suits(peer, workload):
                        yield number, workload, peer

    def expected(self, workload: Workload, peer: Peer) -> float:
        """Seconds that a measurement is expected to take."""
        reads = peer.reads_manifests and workload.services > 1
        around = AROUND_SERVICES if reads else AROUND
        if workload.idle:
            return AROUND_HANDSHAKES if workload.mtls else AROUND_IDLE
        return self.seconds * workload.times + self.warmup_seconds + around

    @property
    def expected_seconds(self) -> float:
        """How long the run is expected to take."""
        return sum(self.expected(workload, peer) for _, workload, peer in self.steps())


@dataclass(frozen=True)
class Fault:
    """A measurement that failed: the peer or the harness did not do its part."""

    workload: str
    peer: str
    round: int
    text: str


def _suits(peer: Peer, workload: Workload) -> bool:
    if workload.scraped and peer.metrics_path is None:
        return False
    if workload.changed and not peer.reads_manifests:
        return False
    if workload.reloaded and not (peer.reload_signal or peer.reads_manifests):
        return False
    needs_proxy = workload.idle or workload.restless or workload.mtls == TO_SERVER
    return workload in peer.only and not (needs_proxy and peer.command is None)


def rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    """Keep the order, but begin with another one."""
    by %= len(peers)
    return [*peers[by:], *peers[:by]]


def half_rate(samples: Sequence[Sample], workload: str) -> float:
    """Half of what the slowest peer did at that workload; without any proxy does not count."""
    rates = [s.rate for s in samples if s.workload == workload and s.proxy.total_ns]
    return min(rates, default=0.0) / 2


def run(bench: Bench, plan: Plan, say: Callable[[str], None]) -> tuple[list[Sample], list[Fault]]:
    """Take all samples of a run, in order. What fails is told and does not end the run."""
    samples: list[Sample] = []
    faults: list[Fault] = []
    rates: dict[str, float] = {}
    progress = Progress([plan.expected(work, peer) for _, work, peer in plan.steps()])
    for number, workload, peer in plan.steps():
        what = f"round {number} of {plan.rounds}: {workload.name}, {peer.name}"
        progress.step()
        failed = [f for f in faults if (f.workload, f.peer) == (workload.name, peer.name)]
        if len(failed) >= FAULTS_MAX:
            continue
        say(f"{progress.line} {what}")
        try:
            if workload.half_of and not rates.get(workload.half_of):
                rates[workload.half_of] = plan.rate or half_rate(samples, workload.half_of)
            rate = rates.get(workload.half_of, 0.0)
            sample = _taken(bench, plan, (number, workload, peer, rate), progress, say)
        except RunError as error:
            faults.append(Fault(workload.name, peer.name, number, str(error)))
            say(f"{progress.line} FAILED {what}: {error}")
        else:
            samples.append(sample)
    return samples, faults


def _taken(
    bench: Bench,
    plan: Plan,
    step: tuple[int, Workload, Peer, float],
    progress: "Progress",
    say: Callable[[str], None],
) -> Sample:
    """Take one sample, again if something else disturbed it and there is time."""
    number, workload, peer, rate = step
    if workload.half_of and not rate:
        raise RunError(f"no rate, because no proxy did {workload.half_of}")
    work, timing = fitted(bench, plan, workload, number, rate)
    take = measure_restless if workload.restless else measure
    sample = take(bench, peer, work, timing)
    for _ in range(RETRIES_MAX):
        if DISTURBED not in doubts(sample) or progress.share > RETRY_SHARE:
            break
        say(f"{progress.line} disturbed, again: {workload.name}, {peer.name}")
        sample = take(bench, peer, work, timing)
    return sample


class Progress:
    """Where a run stands, and how long the rest will take if it goes on as so far."""

    def __init__(self, expected: Sequence[float]) -> None:
        self._expected = expected
        self._begun = 0
        self._began = time.monotonic()

    def step(self) -> None:
        """Begin the next one."""
        self._begun += 1

    @property
    def share(self) -> float:
        """How long the steps before this one took, against what was expected."""
        expected = sum(self._expected[: self._begun - 1])
        return (time.monotonic() - self._began) / expected if expected else 1.0

    @property
    def line(self) -> str:
        """Number of the step, and the time left."""
        left = sum(self._expected[self._begun - 1 :]) * self.share
        return f"[{self._begun}/{len(self._expected)}, {minutes(left)} left]"


def minutes(seconds: float) -> str:
    """Say a length of time in the words of a person who waits for it."""
    whole = max(1, round(seconds / 60))
    return f"{whole // 60} h {whole % 60:02} min" if whole >= 60 else f"{whole} min"  # noqa: PLR2004


def fitted(
    bench: Bench, plan: Plan, workload: Workload, number: int, rate: float
) -> tuple[Workload, Timing]:
    """Fit the workload to this machine and this round; `rate` is that of a half load."""
    timing = Timing(plan.seconds * workload.times, plan.warmup_seconds, seed=number)
    room = min(workload.connections, bench.connections_allowed - PROBES_MAX)
    workload = replace(workload, connections=room)
    if workload.half_of:
        return workload, replace(timing, rate=rate * workload.halves)
    if workload.idle:
        return workload, replace(timing, seconds=0, warmup_seconds=0)
    return workload, timing


def say_on_stderr(line: str) -> None:
    """Progress: one line that overwrites itself on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
