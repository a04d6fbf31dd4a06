"""Families of metrics from rows of labels and values."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from proxy import engine

Row: TypeAlias = tuple[tuple[str, ...], float]  # values of the labels, value

_BOUNDS: Final = [*(repr(bound / 1e6) for bound in engine.BUCKETS_US), "+Inf"]


def counter(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    """Return a counter; its samples are called `name`_total."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in rows:
        family.add_metric(label_values, value)
    return family


def gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    """Return a gauge."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in rows:
        family.add_metric(label_values, value)
    return family


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    rows: Iterable[tuple[tuple[str, ...], Sequence[int], int]],
) -> Metric:
    """Return a histogram in seconds, of (labels, counts of each bucket, sum in microseconds)."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for label_values, counts, sum_us in rows:
        buckets = list(zip(_BOUNDS, accumulate(counts), strict=True))
        family.add_metric(label_values, buckets, sum_us / 1e6)
    return family
