"""The generator and the upstream, run for real."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.generator import Outcome, Timing, generator
from bench.running import Cores, RunError, upstream
from bench.workloads import MIB, NEW, SINGLE, SMALL, Workload
from tests.unit.bench.fakes import Alter, Mischief, relay

CORE = Cores.allowed().load
BRIEF = Timing(seconds=0.1, warmup_seconds=0.02)
STALL_SECONDS = 0.2


@pytest.fixture
def upstream_port() -> Iterator[int]:
    with upstream(CORE) as (port, _):
        yield port


def outcome(port: int, workload: Workload, timing: Timing = BRIEF) -> Outcome:
    with generator(port, workload, timing, CORE) as warm:
        return warm.measure()


def behind(upstream_port: int, alter: Alter, timing: Timing = BRIEF) -> Outcome:
    with relay(upstream_port, Mischief(alter)) as port:
        return outcome(port, SINGLE, timing)


def test_every_answer_is_in_the_histogram(upstream_port: int) -> None:
    seen = outcome(upstream_port, SMALL)
    assert seen.latency.count == seen.requests > 0


def test_buckets_are_narrow_and_do_not_overlap(upstream_port: int) -> None:
    buckets = outcome(upstream_port, SMALL).latency.buckets
    assert all(beyond - low <= max(1, low / 64) for low, beyond, _ in buckets)
    assert all(one[1] <= following[0] for one, following in itertools.pairwise(buckets))


def test_messages_have_the_lengths_that_were_asked_for(upstream_port: int) -> None:
    seen = outcome(upstream_port, replace(SMALL, request="100", response="300"))
    assert seen.bytes == 400 * seen.requests


def test_the_largest_body_arrives_whole(upstream_port: int) -> None:
    seen = outcome(upstream_port, replace(SINGLE, request=str(MIB), response=str(MIB)))
    assert seen.bytes == 2 * MIB * seen.requests > 0


def test_a_new_connection_for_each_request_works(upstream_port: int) -> None:
    assert outcome(upstream_port, NEW).requests > 0


def test_an_open_loop_keeps_its_rate_whatever_it_could_do(upstream_port: int) -> None:
    seen = outcome(upstream_port, SMALL, replace(BRIEF, seconds=0.5, rate=2000.0))
    assert 800 < seen.requests < 1200
    assert seen.unsent == 0


def test_the_same_seed_offers_the_same_work(upstream_port: int) -> None:
    timing = replace(BRIEF, rate=1000.0, seed=3)
    one, other = (outcome(upstream_port, SMALL, timing) for _ in range(2))
    assert (one.requests, one.bytes) == (other.requests, other.bytes)


def test_a_wrong_byte_ends_the_run(upstream_port: int) -> None:
    with pytest.raises(RunError, match="damaged"):
        behind(upstream_port, lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]))


def test_an_answer_that_ends_early_ends_the_run(upstream_port: int) -> None:
    with pytest.raises(RunError, match="ended before its answer was complete"):
        behind(upstream_port, lambda _: None)


def test_bytes_beyond_the_answer_end_the_run(upstream_port: int) -> None:
    with pytest.raises(RunError, match="more bytes came back"):
        behind(upstream_port, lambda answer: answer + b"x")


def test_a_slow_peer_comes_out_slow(upstream_port: int) -> None:
    pause = threading.Event()

    def slowly(answer: bytes) -> bytes:
        pause.wait(0.01)
        return answer

    assert behind(upstream_port, slowly).latency.percentile(50) > 10_000_000


def test_one_stall_is_felt_by_every_request_that_was_due_during_it(upstream_port: int) -> None:
    """A closed loop would show one slow answer of many: that is coordinated omission."""
    answers = 0
    pause = threading.Event()

    def stalls_once(answer: bytes) -> bytes:
        nonlocal answers
        answers += 1
        if answers == 60:
            pause.wait(STALL_SECONDS)
        return answer

    timing = Timing(seconds=0.8, warmup_seconds=0.02, rate=200.0)
    seen = behind(upstream_port, stalls_once, timing)
    assert seen.latency.percentile(90) > STALL_SECONDS / 4 * 1e9
