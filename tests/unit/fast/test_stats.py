"""Histograms and gauges."""

import random
from bisect import bisect_left
from types import ModuleType

import pytest

from proxy._fastpath import BUCKETS_US


def test_python_shows_the_bounds_that_the_workers_use(probe: ModuleType) -> None:
    assert probe.BUCKETS_US == BUCKETS_US
    assert list(BUCKETS_US) == sorted(set(BUCKETS_US))


@pytest.mark.parametrize("index", range(len(BUCKETS_US)))
def test_a_value_on_a_bound_counts_below_it_and_the_next_above(
    probe: ModuleType, index: int
) -> None:
    """As Prometheus reads a bucket: less than or equal to its bound."""
    bound_us = BUCKETS_US[index]
    buckets, _ = probe.observed([bound_us, bound_us + 1])
    assert buckets[index] == 1
    assert buckets[index + 1] == 1
    assert sum(buckets) == 2


def test_nothing_is_too_short_or_too_long_to_be_counted(probe: ModuleType) -> None:
    buckets, sum_us = probe.observed([0, (1 << 63) - 1])
    assert (buckets[0], buckets[-1]) == (1, 1)
    assert sum_us == (1 << 63) - 1


def test_values_fall_where_a_search_of_the_bounds_puts_them(probe: ModuleType) -> None:
    dice = random.Random(5)  # noqa: S311 - not a secret
    values_us = [int(10 ** dice.uniform(0, 11)) for _ in range(5_000)]
    expected = [0] * (len(BUCKETS_US) + 1)
    for value_us in values_us:
        expected[bisect_left(BUCKETS_US, value_us)] += 1
    assert probe.observed(values_us) == (expected, sum(values_us))


def test_a_gauge_goes_up_and_down(probe: ModuleType) -> None:
    assert probe.gauged(5, 3) == 2
    assert probe.gauged(5, 5) == 0
