"""From samples to figures: medians over rounds with their spread, ratios within a round."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.histogram import Histogram, merged
from bench.limits import DISTURBED, doubts
from bench.measure import Sample
from bench.workloads import WORKLOADS, Workload

REMORA = "remora"
NONE = "none"
_WITH_SERVICES = frozenset(work.name for work in WORKLOADS if work.services)


@dataclass(frozen=True)
class Figure:
    """Median over the rounds, lowest, highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure | None":
        """None if there are no values."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found)) if found else None


class Results:
    """All samples of a run, asked by workload and peer."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def of(self, workload: str, peer: str) -> list[Sample]:
        """Pick the samples of one peer at one workload, by round."""
        return [s for s in self.samples if s.workload == workload and s.peer == peer]

    def peers(self, workload: str) -> list[str]:
        """Names of the peers that did this workload, in the order of the first round."""
        return list(dict.fromkeys(s.peer for s in self.samples if s.workload == workload))

    def cpu_us(self, workload: Workload, peer: str) -> Figure | None:
        """CPU of the proxy for one unit of work."""
        return Figure.of(_cpu_us(s, workload) for s in self._proxied(workload, peer))

    def user_share(self, workload: Workload, peer: str) -> float:
        """Part of the CPU that was not the kernel's."""
        samples = self._proxied(workload, peer)
        user = sum(s.proxy.user_ns for s in samples)
        ticked = user + sum(s.proxy.system_ns for s in samples)
        return user / ticked if ticked else 0.0

    def cpu_ratio(self, workload: Workload, peer: str, to: str) -> Figure | None:
        """CPU against that of peer `to` in the same round."""
        return self._ratio(workload.name, peer, to, lambda s: _cpu_us(s, workload))

    def load_us(self, workload: Workload, peer: str) -> Figure | None:
        """CPU of generator and upstream for one unit of work: the price of the harness."""
        return Figure.of(_load_us(s, workload) for s in self.of(workload.name, peer) if s.requests)

    def whole_ratio(self, workload: Workload, peer: str) -> Figure | None:
        """CPU of everybody (proxy, generator, upstream) against that without a proxy."""
        return self._ratio(
            workload.name, peer, NONE, lambda s: _cpu_us(s, workload) + _load_us(s, workload)
        )

    def best(self, workload: Workload, among: Iterable[str]) -> str | None:
        """Which of these peers spends the least CPU on a unit of this work."""
        figures = {name: self.cpu_us(workload, name) for name in among}
        known = {name: figure.median for name, figure in figures.items() if figure}
        return min(known, key=lambda name: known[name], default=None)

    def latency(self, workload: str, peer: str) -> Histogram:
        """Latencies of all rounds together."""
        return merged(s.latency for s in self.of(workload, peer))

    def latency_ratio(self, workload: str, peer: str, to: str, percent: float) -> Figure | None:
        """Compare a percentile with that of peer `to` in the same round."""
        return self._ratio(workload, peer, to, lambda s: s.latency.percentile(percent))

    def latency_moved(self, peer: str, work: str, to: str, percent: float) -> Figure | None:
        """Compare a percentile of one workload with that of another one.

        It is that of all rounds together, with the spread of single ones: a few wake-ups that the
        machine delays decide what one round of seconds has for its p99.
        """
        base = {s.round: s.latency.percentile(percent) for s in self.of(to, peer)}
        rounds = Figure.of(
            s.latency.percentile(percent) / base[s.round]
            for s in self.of(work, peer)
            if base.get(s.round)
        )
        before = self.latency(to, peer).percentile(percent)
        if rounds is None or not before:
            return None
        together = self.latency(work, peer).percentile(percent) / before
        return Figure(together, rounds.low, rounds.high)

    def cpu_moved(self, peer: str, work: Workload, to: Workload) -> Figure | None:
        """CPU for one unit against that of another workload in the same round."""
        base = {s.round: _cpu_us(s, to) for s in self._proxied(to, peer)}
        return Figure.of(
            _cpu_us(s, work) / base[s.round] for s in self._proxied(work, peer) if base.get(s.round)
        )

    def waited_us(self, workload: str, peer: str) -> Figure | None:
        """Microseconds a second that the proxy's busiest thread waited for its core."""
        samples = self.of(workload, peer)
        return Figure.of(s.waited_us for s in samples if s.proxy.total_ns and s.elapsed_seconds)

    def stolen_ms(self, workload: str, peer: str) -> Figure | None:
        """Milliseconds a second that the hypervisor took from both cores."""
        return Figure.of(s.stolen_ms for s in self.of(workload, peer) if s.elapsed_seconds)

    def connection_bytes(self, workload: str, peer: str) -> Figure | None:
        """Memory of the proxy for one idle connection (PSS; the kernel's sockets not counted)."""
        return Figure.of(
            (s.memory_loaded.pss - s.memory.pss) / s.connections
            for s in self.of(workload, peer)
            if s.memory.pss
        )

    def starts(self, peer: str, value: Callable[[Sample], float | None]) -> Figure | None:
        """Make a figure of the starts of a peer: each sample began with one.

        Not of those with thousands of Services to read, nor of proxies that end under way.
        """
        values = (
            value(s)
            for s in self.samples
            if s.peer == peer and s.memory.pss and s.workload not in _WITH_SERVICES
        )
        return Figure.of(v for v in values if v is not None)

    def doubts(self, workload: str, peer: str) -> list[str]:
        """Doubts that more than half of the rounds raise."""
        samples = self.of(workload, peer)
        found = [name for sample in samples for name in doubts(sample)]
        return [name for name in dict.fromkeys(found) if 2 * found.count(name) > len(samples)]

    def disturbed_share(self) -> float:
        """Tell which part of the measurements something else disturbed."""
        found = sum(DISTURBED in doubts(sample) for sample in self.samples)
        return found / len(self.samples) if self.samples else 0.0

    def _proxied(self, workload: Workload, peer: str) -> list[Sample]:
        return [s for s in self.of(workload.name, peer) if s.proxy.total_ns and s.requests]

    def _ratio(
        self, workload: str, peer: str, to: str, value: Callable[[Sample], float]
    ) -> Figure | None:
        base = {s.round: value(s) for s in self.of(workload, to)}
        return Figure.of(
            value(s) / base[s.round]
            for s in self.of(workload, peer)
            if base.get(s.round) and value(s)
        )


def _cpu_us(sample: Sample, workload: Workload) -> float:
    return _each_us(sample.proxy.total_ns, sample, workload)


def _load_us(sample: Sample, workload: Workload) -> float:
    return _each_us(sample.load_ns, sample, workload)


def _each_us(spent_ns: int, sample: Sample, workload: Workload) -> float:
    """Return microseconds for one unit of work."""
    units = sample.units(workload.unit)
    return spent_ns / 1000 / units if units else 0.0
