"""A real proxy that ends, or takes another configuration, while requests come."""

import pytest

from bench.generator import Timing
from bench.measure import Bench
from bench.peer import REMORA
from bench.restless import measure_restless
from bench.running import Cores
from bench.workloads import HTTP_DRAIN, HTTP_RELOAD

BENCH = Bench(Cores.allowed(), 500)
PACED = Timing(seconds=0.6, warmup_seconds=0.05, rate=300.0, seed=1)


@pytest.mark.slow
def test_a_proxy_is_drained_while_another_one_takes_over_and_its_end_is_timed() -> None:
    seen = measure_restless(BENCH, REMORA, HTTP_DRAIN, PACED)
    assert seen.exit_ms is not None
    assert seen.exit_ms > 0
    assert 0 < seen.ends.by_first < seen.requests
    assert seen.ends.lost == 0


@pytest.mark.slow
def test_a_proxy_takes_another_configuration_and_requests_go_on() -> None:
    seen = measure_restless(BENCH, REMORA, HTTP_RELOAD, PACED)
    assert seen.requests > 0
    assert seen.exit_ms is None
    assert seen.ends.lost == 0
