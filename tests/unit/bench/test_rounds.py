"""The order of a run."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench import rounds
from bench.generator import Timing
from bench.measure import Bench, Sample
from bench.peer import ENVOY, HAPROXY, NGINX, NGINX_BULK, NONE, REMORA, Peer
from bench.proc import Cpu
from bench.rounds import PROBES_MAX, Plan, fitted, half_rate, rotated
from bench.running import Cores, RunError
from bench.workloads import (
    BULK_DOWN,
    HTTP_64,
    HTTP_5000,
    HTTP_CHANGES,
    HTTP_DRAIN,
    HTTP_HALF,
    HTTP_QUARTER,
    HTTP_RELOAD,
    HTTP_SCRAPE,
    HTTP_SERVICES,
    HTTP_SERVICES_HALF,
    HTTP_THREE_QUARTERS,
    IDLE,
    MTLS_64,
    MTLS_NEW,
    SMALL,
    Workload,
)


def plan(peers: Sequence[Peer], *workloads: Workload) -> Plan:
    return Plan(peers, workloads, rounds=3, seconds=1, warmup_seconds=0.1, idle_rounds=1)


def saturated(peer: str, requests: int, proxy_ns: int) -> Sample:
    return Sample(SMALL.name, peer, 1, proxy=Cpu(proxy_ns), requests=requests, elapsed_seconds=1.0)


def test_each_round_begins_with_another_peer() -> None:
    first = [steps[0].name for steps in (rotated([NONE, HAPROXY, ENVOY], n) for n in range(3))]
    assert first == ["none", "haproxy", "envoy"]


def test_peers_take_turns_within_a_workload() -> None:
    steps = [(n, w.name, p.name) for n, w, p in plan([HAPROXY, ENVOY], SMALL, BULK_DOWN).steps()]
    assert steps[:4] == [
        (1, "small", "haproxy"),
        (1, "small", "envoy"),
        (1, "bulk-down", "haproxy"),
        (1, "bulk-down", "envoy"),
    ]


def test_a_peer_tuned_for_one_kind_of_work_does_no_other() -> None:
    steps = list(plan([NGINX_BULK], SMALL, BULK_DOWN).steps())
    assert [w for _, w, _ in steps] == [BULK_DOWN] * 3


def test_idle_connections_are_held_in_fewer_rounds_and_by_proxies_only() -> None:
    steps = [(n, p.name) for n, _, p in plan([NONE, HAPROXY], IDLE).steps()]
    assert steps == [(1, "haproxy")]


def test_services_are_measured_beside_one_yardstick_and_changed_where_they_are_read() -> None:
    every = [NONE, HAPROXY, NGINX, ENVOY, REMORA]
    assert {peer.name for _, _, peer in plan(every, HTTP_SERVICES).steps()} == {"haproxy", "remora"}
    assert {peer.name for _, _, peer in plan(every, HTTP_CHANGES).steps()} == {"remora"}


def test_only_proxies_with_metrics_are_scraped() -> None:
    steps = plan([NONE, HAPROXY, NGINX, ENVOY, REMORA], HTTP_SCRAPE).steps()
    assert {peer.name for _, _, peer in steps} == {"haproxy", "envoy", "remora"}


def test_without_a_proxy_nobody_answers_a_generator_that_speaks_tls() -> None:
    steps = plan([NONE, HAPROXY], MTLS_64, MTLS_NEW).steps()
    assert {(w.name, p.name) for _, w, p in steps} == {
        ("mtls-64", "none"),
        ("mtls-64", "haproxy"),
        ("mtls-new", "haproxy"),
    }


def test_half_load_is_half_of_what_the_slowest_proxy_did() -> None:
    samples = [
        saturated("none", 1_000, 0),
        saturated("haproxy", 60_000, 10**9),
        saturated("envoy", 30_000, 10**9),
    ]
    assert half_rate(samples, SMALL.name) == 15_000


def test_each_half_load_goes_by_the_work_that_it_is_half_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    can_do = {"http-64": 60_000, "http-services": 20_000}
    offered = {}

    def taken(_: Bench, peer: Peer, workload: Workload, timing: Timing) -> Sample:
        offered[workload.name] = timing.rate
        done = can_do.get(workload.name, 0)
        return replace(saturated(peer.name, done, 10**9), workload=workload.name)

    monkeypatch.setattr(rounds, "measure", taken)
    works = (HTTP_64, HTTP_HALF, HTTP_SERVICES, HTTP_SERVICES_HALF)
    bench = Bench(Cores(0, 1), connections_allowed=1000)
    one = replace(plan([HAPROXY], *works), rounds=1)
    rounds.run(bench, one, lambda _: None)
    assert (offered["http-half"], offered["http-services-half"]) == (30_000, 10_000)


def test_a_peer_that_fails_twice_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Sample:
        raise RunError("no")

    monkeypatch.setattr(rounds, "measure", refused)
    bench = Bench(Cores(0, 1), connections_allowed=1000)
    samples, faults = rounds.run(bench, plan([ENVOY], SMALL), lambda _: None)
    assert (samples, [fault.round for fault in faults]) == ([], [1, 2])


def test_drains_and_reloads_are_done_by_those_that_know_how() -> None:
    every = [NONE, HAPROXY, NGINX, NGINX_BULK, ENVOY, REMORA]
    proxies = ["haproxy", "nginx", "envoy", "remora"]
    steps = [(w.name, p.name) for n, w, p in plan(every, HTTP_RELOAD, HTTP_DRAIN).steps() if n == 1]
    assert steps == [
        *(("http-reload", name) for name in proxies if name != "envoy"),
        *(("http-drain", name) for name in proxies),
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "1 min"), (3000, "50 min"), (6900, "1 h 55 min")]
)
def test_a_length_of_time_is_said_as_one_waits_for_it(seconds: float, words: str) -> None:
    assert rounds.minutes(seconds) == words


def test_other_open_loops_go_by_the_half_load_of_the_same_run() -> None:
    bench = Bench(Cores(0, 1), connections_allowed=1000)
    works = (HTTP_QUARTER, HTTP_HALF, HTTP_THREE_QUARTERS)
    rates = [fitted(bench, plan([ENVOY], work), work, 1, 500)[1].rate for work in works]
    assert rates == [250, 500, 750]


def test_no_workload_opens_more_connections_than_files_allow() -> None:
    bench = Bench(Cores(0, 1), connections_allowed=1000)
    work, _ = fitted(bench, plan([ENVOY], HTTP_5000), HTTP_5000, 1, 0)
    assert work.connections == 1000 - PROBES_MAX


def test_half_loads_take_longer_for_a_percentile_that_means_something() -> None:
    bench = Bench(Cores(0, 1), connections_allowed=1000)
    _, timing = fitted(bench, plan([ENVOY], HTTP_HALF), HTTP_HALF, 1, 500)
    assert (timing.seconds, timing.rate) == (2, 500)
