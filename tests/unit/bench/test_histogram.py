"""Percentiles of latency histograms."""

import random

from bench.histogram import Buckets, Histogram, merged

WIDTH = 64  # ns; the generator's own buckets are finer for small values and wider for large ones


def counted(values: list[int]) -> Histogram:
    buckets: Buckets = []
    for low in range(0, max(values) + 1, WIDTH):
        count = sum(low <= value < low + WIDTH for value in values)
        if count:
            buckets.append([low, low + WIDTH, count])
    return Histogram(buckets)


def test_a_percentile_is_that_of_the_sorted_values_within_one_bucket() -> None:
    source = random.Random(7)  # noqa: S311 - nothing secret about latencies
    values = sorted(int(source.expovariate(1 / 3000)) for _ in range(2000))
    histogram = counted(values)
    for percent in (1, 10, 50, 90, 99, 99.9):
        exact = values[max(0, -(-len(values) * percent // 100).__int__() - 1)]
        assert 0 <= histogram.percentile(percent) - exact < WIDTH


def test_the_hundredth_percentile_is_the_bucket_of_the_largest_value() -> None:
    assert Histogram([[0, 8, 999], [1000, 1016, 1]]).percentile(100) == 1015


def test_one_slow_answer_in_a_hundred_is_not_in_the_median() -> None:
    assert Histogram([[10, 11, 99], [1000, 1016, 1]]).percentile(50) == 10


def test_no_values_have_no_percentile() -> None:
    assert Histogram([]).percentile(99) == 0


def test_rounds_are_merged_by_value_not_by_percentile() -> None:
    quick = Histogram([[10, 11, 98]])
    slow = Histogram([[10, 11, 1], [500, 504, 1]])
    together = merged([quick, slow])
    assert together.buckets == [[10, 11, 99], [500, 504, 1]]
    assert together.percentile(99) == 10
