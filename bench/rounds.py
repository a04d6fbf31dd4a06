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
from bench.workloads import TO_SERVER, Family, Workload

RETRIES_MAX: Final = 2  # of one measurement that something else disturbed
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
    retry_seconds: float = 0.0  # length of the run below which disturbed measurements are repeated
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


def _suits(peer: Peer, workload: Workload) -> bool:
    if workload.scraped and peer.metrics_path is None:
        return False
    if workload.changed and not peer.reads_manifests:
        return False
    needs_proxy = workload.idle or workload.mtls == TO_SERVER
    return workload in peer.only and not (needs_proxy and peer.command is None)


def rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    """Keep the order, but begin with another one."""
    by %= len(peers)
    return [*peers[by:], *peers[:by]]


def half_rate(samples: Sequence[Sample], workload: str) -> float:
    """Half of what the slowest peer did at that workload; without any proxy does not count."""
    rates = [s.rate for s in samples if s.workload == workload and s.proxy.total_ns]
    return min(rates, default=0.0) / 2


def run(bench: Bench, plan: Plan, say: Callable[[str], None]) -> list[Sample]:
    """Take all samples of a run, in order."""
    began = time.monotonic()
    samples: list[Sample] = []
    steps = list(plan.steps())
    rate = plan.rate
    for done, (number, workload, peer) in enumerate(steps, 1):
        say(f"[{done}/{len(steps)}] round {number} of {plan.rounds}: {workload.name}, {peer.name}")
        if workload.half_of:
            rate = rate or half_rate(samples, workload.half_of)
        work, timing = fitted(bench, plan, workload, number, rate)
        sample = measure(bench, peer, work, timing)
        for _ in range(RETRIES_MAX):
            spent = time.monotonic() - began
            if DISTURBED not in doubts(sample) or spent / done * len(steps) > plan.retry_seconds:
                break
            say(f"[{done}/{len(steps)}] disturbed, again: {workload.name}, {peer.name}")
            sample = measure(bench, peer, work, timing)
        samples.append(sample)
    return samples


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
