"""Latency histograms as the generator prints them: [lowest, first beyond, count] in nanoseconds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

Buckets = list[list[int]]


@dataclass(frozen=True)
class Histogram:
    """Counts in buckets that are ordered and never overlap."""

    buckets: Buckets

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(count for _, _, count in self.buckets)

    @property
    def lowest(self) -> float:
        """Smallest value, in ns, of the first bucket; 0 if there are none."""
        return float(self.buckets[0][0]) if self.buckets else 0.0

    @property
    def mean(self) -> float:
        """Mean, in ns, of values that are taken to be in the middle of their buckets."""
        total = sum((low + beyond) / 2 * count for low, beyond, count in self.buckets)
        return total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Largest value, in ns, of the bucket that holds this percentile; 0 if there are none."""
        wanted = self.count * percent / 100
        seen = 0
        for _, beyond, count in self.buckets:
            seen += count
            if seen >= wanted:
                return float(beyond - 1)
        return 0.0


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All values of all rounds in one: percentiles of percentiles would mean nothing."""
    counts: Counter[tuple[int, int]] = Counter()
    for histogram in histograms:
        for low, beyond, count in histogram.buckets:
            counts[low, beyond] += count
    return Histogram([[low, beyond, count] for (low, beyond), count in sorted(counts.items())])
