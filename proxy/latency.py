"""Quantiles out of a histogram's buckets, as Prometheus' histogram_quantile estimates them."""

from collections.abc import Sequence
from itertools import accumulate


def quantile_us(counts: Sequence[int], bounds_us: Sequence[int], quantile: float) -> float | None:
    """Estimate a quantile (0 to 1) in microseconds; None if nothing was observed.

    `counts` are those of each bucket, not cumulative; one more than there are bounds, and the last
    one has no upper bound: a quantile in there is told as the highest bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank = quantile * total
    for index, reached in enumerate(accumulate(counts[:-1])):
        if reached >= rank and counts[index]:
            lower = bounds_us[index - 1] if index else 0
            share = (rank - (reached - counts[index])) / counts[index]
            return lower + (bounds_us[index] - lower) * share
    return float(bounds_us[-1])
