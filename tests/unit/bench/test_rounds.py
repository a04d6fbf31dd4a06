"""The order of a run."""

from collections.abc import Sequence

from bench.measure import Sample
from bench.peer import ENVOY, HAPROXY, NGINX_BULK, NONE, Peer
from bench.proc import Cpu
from bench.rounds import Plan, half_rate, rotated
from bench.workloads import BULK_DOWN, IDLE, SMALL, Workload


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


def test_half_load_is_half_of_what_the_slowest_proxy_did() -> None:
    samples = [
        saturated("none", 1_000, 0),
        saturated("haproxy", 60_000, 10**9),
        saturated("envoy", 30_000, 10**9),
    ]
    assert half_rate(samples) == 15_000
