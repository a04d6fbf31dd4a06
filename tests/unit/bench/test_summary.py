"""From samples to figures: medians, spreads, ratios within a round."""

from dataclasses import replace

import pytest

from bench.measure import Sample
from bench.proc import Cpu, Memory
from bench.summary import Results
from bench.workloads import BULK_DOWN, IDLE, MIB, MTLS_NEW, SMALL


def sample(peer: str, number: int, us: float, workload: str = SMALL.name) -> Sample:
    """One round in which 1,000 requests, or 1,000 MiB, cost `us` each."""
    return Sample(
        workload,
        peer,
        number,
        proxy=Cpu(int(us * 1_000_000)),
        requests=1000,
        bytes=1000 * MIB,
        elapsed_seconds=1.0,
    )


def test_cost_is_the_median_of_the_rounds_and_the_spread_is_kept() -> None:
    figure = Results([sample("haproxy", n, us) for n, us in enumerate((30, 10, 20))]).cpu_us(
        SMALL, "haproxy"
    )
    assert figure is not None
    assert (figure.median, figure.low, figure.high) == (20, 10, 30)


def test_a_ratio_is_taken_within_a_round_so_that_a_slow_round_cancels_out() -> None:
    rounds = [(10, 8), (40, 32), (10, 8)]
    samples = [sample("haproxy", n, peer) for n, (peer, _) in enumerate(rounds)]
    samples += [sample("remora", n, ours) for n, (_, ours) in enumerate(rounds)]
    ratio = Results(samples).cpu_ratio(SMALL, "remora", "haproxy")
    assert ratio is not None
    assert ratio.low == pytest.approx(0.8)
    assert ratio.high == pytest.approx(0.8)


def test_the_whole_path_is_held_against_the_same_round_without_a_proxy() -> None:
    samples = []
    for number, slowness in enumerate((1, 2)):
        none = replace(sample("none", number, 0), load_ns=slowness * 20_000_000)
        ours = replace(sample("remora", number, slowness * 24), load_ns=slowness * 26_000_000)
        samples += [none, ours]
    results = Results(samples)
    load, ratio = results.load_us(SMALL, "remora"), results.whole_ratio(SMALL, "remora")
    assert load is not None
    assert (load.low, load.high) == (26, 52)
    assert ratio is not None
    assert ratio.low == ratio.high == pytest.approx(2.5)


def test_bulk_is_divided_by_mebibytes() -> None:
    moved = Sample(BULK_DOWN.name, "nginx", 1, proxy=Cpu(4_000_000), requests=2, bytes=8 * MIB)
    figure = Results([moved]).cpu_us(BULK_DOWN, "nginx")
    assert figure is not None
    assert figure.median == 500


def test_a_handshake_is_an_exchange_whatever_its_bytes() -> None:
    made = Sample(MTLS_NEW.name, "nginx", 1, proxy=Cpu(4_000_000), requests=2, bytes=8 * MIB)
    figure = Results([made]).cpu_us(MTLS_NEW, "nginx")
    assert figure is not None
    assert figure.median == 2000


def test_the_best_peer_is_the_one_that_spends_least() -> None:
    results = Results([sample("haproxy", 1, 20), sample("nginx", 1, 15), sample("envoy", 1, 40)])
    assert results.best(SMALL, ["haproxy", "nginx", "envoy"]) == "nginx"


def test_a_peer_that_was_not_measured_is_not_the_best() -> None:
    assert Results([sample("haproxy", 1, 20)]).best(SMALL, ["nginx", "haproxy"]) == "haproxy"


def test_an_idle_connection_costs_what_the_proxy_grew_by() -> None:
    held = Sample(
        IDLE.name,
        "nginx",
        1,
        memory=Memory(pss=1_000_000),
        memory_loaded=Memory(pss=11_000_000),
        connections=1000,
    )
    figure = Results([held]).connection_bytes(IDLE.name, "nginx")
    assert figure is not None
    assert figure.median == 10_000


def test_waiting_is_told_for_a_second_of_the_run() -> None:
    ran = Sample(SMALL.name, "remora", 1, proxy=Cpu(1), waited_ns=3_000_000, elapsed_seconds=2.0)
    figure = Results([ran]).waited_us(SMALL.name, "remora")
    assert figure is not None
    assert figure.median == 1500


def test_a_way_without_a_proxy_has_no_thread_that_waits() -> None:
    assert Results([Sample(SMALL.name, "none", 1)]).waited_us(SMALL.name, "none") is None


def test_a_doubt_stands_when_most_rounds_raise_it() -> None:
    disturbed = Sample("small", "nginx", 1, requests=1, elapsed_seconds=1.0, others_ns=10**9)
    calm = Sample("small", "nginx", 2, requests=1, elapsed_seconds=1.0)
    assert Results([disturbed, disturbed, calm]).doubts("small", "nginx") == ["disturbed"]
    assert Results([disturbed, calm, calm]).doubts("small", "nginx") == []
