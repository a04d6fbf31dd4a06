"""Figures that do not mean what they seem to are flagged."""

from dataclasses import replace

from bench.histogram import Histogram
from bench.limits import doubts
from bench.measure import Sample
from bench.proc import Cpu

SECOND_NS = 1_000_000_000
FULL = Cpu(total_ns=int(0.98 * SECOND_NS))
HALF_FULL = Cpu(total_ns=SECOND_NS // 2)

SATURATED = Sample(
    "small", "haproxy", 1, proxy=FULL, load_ns=FULL.total_ns, requests=50_000, elapsed_seconds=1.0
)
OPEN_LOOP = Sample(
    "half-load",
    "haproxy",
    1,
    proxy=HALF_FULL,
    load_ns=HALF_FULL.total_ns,
    requests=10_000,
    offered_rate=10_000,
    elapsed_seconds=1.0,
    latency=Histogram([[100_000, 101_000, 10_000]]),
    lag=Histogram([[20_000, 20_100, 10_000]]),
)


def test_a_peer_that_fills_its_core_is_at_its_own_limit() -> None:
    assert doubts(SATURATED) == []


def test_a_generator_at_its_limit_is_flagged_and_not_taken_for_the_limit_of_the_peer() -> None:
    assert doubts(replace(SATURATED, proxy=HALF_FULL)) == ["generator"]


def test_a_single_connection_that_leaves_both_cores_idle_is_not_flagged() -> None:
    assert doubts(replace(SATURATED, proxy=HALF_FULL, load_ns=SECOND_NS // 2)) == []


def test_without_a_proxy_the_generator_is_always_at_its_limit_and_nothing_is_to_be_said() -> None:
    assert doubts(replace(SATURATED, peer="none", proxy=Cpu())) == []


def test_an_offered_rate_that_was_served_is_not_flagged() -> None:
    assert doubts(OPEN_LOOP) == []


def test_a_peer_that_falls_behind_the_offered_rate_is_overloaded() -> None:
    assert doubts(replace(OPEN_LOOP, requests=9_000)) == ["overload"]


def test_requests_that_could_not_be_sent_at_all_are_an_overload() -> None:
    assert doubts(replace(OPEN_LOOP, unsent=1)) == ["overload"]


def test_falling_behind_with_the_core_of_the_generator_full_is_the_generators_fault() -> None:
    assert doubts(replace(OPEN_LOOP, requests=9_000, load_ns=FULL.total_ns)) == ["generator"]


def test_a_generator_that_is_late_by_half_of_the_latency_is_flagged() -> None:
    assert doubts(replace(OPEN_LOOP, lag=Histogram([[60_000, 61_000, 10_000]]))) == ["late"]


def test_a_latency_of_waiting_for_the_hypervisor_is_flagged_and_cpu_of_such_a_run_stands() -> None:
    stolen_ns = SECOND_NS // 10
    assert doubts(replace(OPEN_LOOP, stolen_ns=stolen_ns)) == ["stolen"]
    assert doubts(replace(SATURATED, stolen_ns=stolen_ns)) == []


def test_work_of_others_on_our_cores_is_flagged() -> None:
    assert doubts(replace(SATURATED, others_ns=SECOND_NS // 10)) == ["disturbed"]
