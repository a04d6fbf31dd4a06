"""Connections that end under way: what the generator repeats, what it counts as lost."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from bench.generator import Ends, Outcome, Timing, generator
from bench.running import Cores, RunError, free_ports, upstream
from bench.workloads import HTTP, HTTP_1
from tests.unit.bench.fakes import Alter, Mischief, relay

CORE = Cores.allowed().load
PACED = Timing(seconds=0.6, warmup_seconds=0.05, rate=200.0)
AFTER = 40  # answers, of which the warm-up has ten or so


@pytest.fixture
def upstream_port() -> Iterator[int]:
    with upstream(CORE, HTTP) as (port, _):
        yield port


def late(alter: Alter) -> Callable[[bytes], bytes | None]:
    """Alter one message, after so many that were passed on as they came."""
    seen = 0

    def one(message: bytes) -> bytes | None:
        nonlocal seen
        seen += 1
        return alter(message) if seen == AFTER else message

    return one


def outcome(first: int, following: int) -> Outcome:
    work = replace(HTTP_1, connections=1)
    with generator(first, work, PACED, CORE, next_port=following) as warm:
        return warm.measure()


def moving(upstream_port: int, answer: Alter = bytes, request: Alter = bytes) -> Outcome:
    """Ask through a relay, and directly once that has ended."""
    with relay(upstream_port, Mischief(late(answer), late(request))) as port:
        return outcome(port, upstream_port)


def says_close(answer: bytes) -> bytes:
    return answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def test_an_answer_that_says_close_moves_the_client_on_and_nothing_is_lost(
    upstream_port: int,
) -> None:
    seen = moving(upstream_port, says_close)
    assert seen.ends == Ends()
    assert seen.requests > AFTER


def test_a_kept_connection_that_ends_without_an_answer_is_asked_again_elsewhere(
    upstream_port: int,
) -> None:
    seen = moving(upstream_port, request=lambda _: None)
    assert seen.ends == Ends(resent=1)


def test_an_answer_that_ends_in_the_middle_is_lost(upstream_port: int) -> None:
    mischief = Mischief(late(lambda answer: answer[:300]), limit=AFTER)
    with relay(upstream_port, mischief) as port:
        assert outcome(port, upstream_port).ends == Ends(cut=1)


def test_another_status_is_lost(upstream_port: int) -> None:
    seen = moving(upstream_port, lambda answer: answer.replace(b" 200 OK", b" 503 No", 1))
    assert seen.ends == Ends(status=1)


def test_requests_that_nobody_takes_are_lost(upstream_port: int) -> None:
    (nobody,) = free_ports(1)
    with relay(upstream_port, Mischief(late(says_close))) as port:
        seen = outcome(port, nobody)
    assert seen.ends.refused > 0
    assert seen.ends.lost == seen.ends.refused


def test_answers_of_a_proxy_that_was_told_to_end_are_counted(upstream_port: int) -> None:
    with generator(upstream_port, HTTP_1, PACED, CORE, next_port=upstream_port) as warm:
        warm.begin()
        warm.tell()
        seen = warm.end()
    assert 0 < seen.ends.by_first <= seen.requests


def test_where_nothing_may_end_an_end_still_fails_the_run(upstream_port: int) -> None:
    with (
        relay(upstream_port, Mischief(late(lambda _: None))) as port,
        pytest.raises(RunError, match="ended before its answer"),
    ):
        outcome(port, 0)
