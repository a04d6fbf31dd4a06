"""Quantiles from buckets."""

import pytest

from proxy.latency import quantile_us

BOUNDS = (100, 200, 400)


def test_where_nothing_was_observed_there_is_no_quantile() -> None:
    assert quantile_us([0, 0, 0, 0], BOUNDS, 0.5) is None


@pytest.mark.parametrize(
    ("counts", "quantile", "expected_us"),
    [
        ([10, 0, 0, 0], 0.5, 50),
        ([0, 10, 0, 0], 0.5, 150),
        ([0, 10, 0, 0], 1.0, 200),
        ([50, 40, 10, 0], 0.99, 380),
        ([0, 0, 1, 0], 0.0, 200),
        ([5, 0, 5, 0], 0.5, 100),
    ],
)
def test_a_quantile_lies_where_its_rank_falls_in_the_bucket(
    counts: list[int], quantile: float, expected_us: float
) -> None:
    assert quantile_us(counts, BOUNDS, quantile) == pytest.approx(expected_us)


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    assert quantile_us([1, 0, 0, 99], BOUNDS, 0.5) == 400
