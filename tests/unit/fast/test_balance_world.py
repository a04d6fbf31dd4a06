"""Balancing in a simulated world: a proxy, five endpoints, minutes of requests, seeded dice."""

from itertools import pairwise
from types import ModuleType

import pytest

from proxy.traffic.rows import (
    BALANCES,
    EWMA,
    LEAST_REQUEST,
    RANDOM,
    ROUND_ROBIN,
    Endpoint,
    Outlier,
)
from tests.support.world import (
    NEVER,
    SECOND_US,
    Behaviour,
    World,
    backend,
    endpoints,
    even,
)

SEEDS = (1, 2, 3)


def world_with_a_slow_one(decisions: ModuleType, balance: str, seed: int) -> World:
    """Return a world after a minute in which one endpoint of five was twenty times as slow."""
    world = World(decisions, backend(balance=balance, outlier=NEVER), seed=seed)
    world.behaviours = even(5)
    world.behaviours[3] = Behaviour(200)
    world.ask(60, 200)
    return world


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("balance", [EWMA, LEAST_REQUEST])
def test_one_slow_endpoint_of_five_hurts_less_than_with_round_robin(
    decisions: ModuleType, balance: str, seed: int
) -> None:
    blind = world_with_a_slow_one(decisions, ROUND_ROBIN, seed)
    seeing = world_with_a_slow_one(decisions, balance, seed)
    assert seeing.counts()[3] < blind.counts()[3] / 2
    assert seeing.percentile_us(90) < blind.percentile_us(90) / 2
    assert seeing.percentile_us(99) <= blind.percentile_us(99)


@pytest.mark.parametrize("seed", SEEDS)
def test_by_latency_hardly_anybody_meets_the_slow_endpoint(
    decisions: ModuleType, seed: int
) -> None:
    blind = world_with_a_slow_one(decisions, ROUND_ROBIN, seed)
    seeing = world_with_a_slow_one(decisions, EWMA, seed)
    assert seeing.percentile_us(99) < blind.percentile_us(99) / 5
    assert seeing.counts()[3] < seeing.counts().total() / 100


@pytest.mark.parametrize("seed", SEEDS)
def test_an_endpoint_that_is_short_of_workers_gets_what_it_can_carry(
    decisions: ModuleType, seed: int
) -> None:
    worlds = {}
    for balance in (ROUND_ROBIN, EWMA):
        worlds[balance] = World(decisions, backend(balance=balance, outlier=NEVER), seed=seed)
        worlds[balance].behaviours = even(5, workers=8)
        worlds[balance].behaviours[0].workers = 1  # 100 a second, and 160 come to each
        worlds[balance].ask(30, 800)
    assert worlds[EWMA].percentile_us(99) < worlds[ROUND_ROBIN].percentile_us(99) / 10
    assert 0 < worlds[EWMA].counts()[0] < 100 * 30


@pytest.mark.parametrize("balance", BALANCES[:4])
def test_no_endpoint_starves_however_slow_it_is(decisions: ModuleType, balance: str) -> None:
    world = World(decisions, backend(balance=balance, outlier=NEVER))
    world.behaviours = {slot: Behaviour(5 * 3**slot) for slot in range(5)}  # 5 ms to 405 ms
    world.ask(60, 100)
    begun_us = world.now_us
    world.ask(120, 100)
    assert min(world.counts(begun_us)[slot] for slot in range(5)) > 0


@pytest.mark.parametrize("balance", BALANCES[:4])
def test_equal_endpoints_get_equal_shares(decisions: ModuleType, balance: str) -> None:
    world = World(decisions, backend(balance=balance))
    world.behaviours = even(5)
    world.ask(30, 500)
    counts = world.counts()
    assert all(0.9 < counts[slot] * 5 / counts.total() < 1.1 for slot in range(5))


def test_an_endpoint_that_recovers_gets_its_share_again(decisions: ModuleType) -> None:
    world = world_with_a_slow_one(decisions, EWMA, 1)
    world.behaviours[3].mean_ms = 10
    world.ask(60, 200)  # it is forgotten how slow it was
    begun_us = world.now_us
    world.ask(30, 200)
    counts = world.counts(begun_us)
    assert counts[3] * 5 / counts.total() > 0.7


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("balance", [EWMA, LEAST_REQUEST])
def test_a_newcomer_is_tried_but_not_flooded(
    decisions: ModuleType, balance: str, seed: int
) -> None:
    world = World(decisions, backend(20, balance=balance), seed=seed)
    world.behaviours = even(21)
    world.ask(10, 1000)
    world.publish(backend(21, balance=balance))
    begun_us = world.now_us
    world.ask(1, 1000)
    assert 10 < world.counts(begun_us)[20] < 3 * 1000 / 21


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("balance", BALANCES[:4])
def test_slow_start_gives_a_newcomer_a_share_that_grows_with_its_age(
    decisions: ModuleType, balance: str, seed: int
) -> None:
    row = backend(9, balance=balance, slow_start_ms=30_000)
    world = World(decisions, row, seed=seed)
    world.behaviours = even(10)
    world.ask(5, 1000)
    world.publish(row._replace(endpoints=endpoints(10)))
    shares = []  # of what everybody gets, every 3 seconds
    for _ in range(12):
        begun_us = world.now_us
        world.ask(3, 1000)
        counts = world.counts(begun_us)
        shares.append(counts[9] * 10 / counts.total())
    for step, share in enumerate(shares[:10]):
        due = max(0.1, (step + 0.5) / 10)
        assert due * 0.6 - 0.05 < share < due * 1.5 + 0.1, (step, shares)
    assert min(shares[10:]) > 0.7


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("balance", BALANCES[:4])
def test_slow_start_holds_between_two_endpoints_that_have_little_to_do(
    decisions: ModuleType, balance: str, seed: int
) -> None:
    row = backend(1, balance=balance, slow_start_ms=30_000)
    world = World(decisions, row, seed=seed)
    world.behaviours = even(2)
    world.ask(5, 30)
    world.publish(row._replace(endpoints=endpoints(2)))
    begun_us = world.now_us
    world.ask(6, 30)
    counts = world.counts(begun_us)
    assert 0 < counts[1] / counts.total() < 0.25, counts


def test_whoever_is_there_at_the_first_request_is_not_new(decisions: ModuleType) -> None:
    world = World(decisions, backend(5, balance=ROUND_ROBIN, slow_start_ms=30_000))
    world.behaviours = even(5)
    world.ask(1, 100)
    counts = world.counts()
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("balance", BALANCES[:4])
def test_to_fail_fast_attracts_nobody(decisions: ModuleType, balance: str) -> None:
    world = World(decisions, backend(balance=balance, outlier=NEVER))
    world.behaviours = even(5)
    world.ask(10, 200)
    world.behaviours[2] = Behaviour(0.1, outcome="local")
    begun_us = world.now_us
    world.ask(30, 200)
    counts = world.counts(begun_us)
    assert counts[2] * 5 / counts.total() < 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("load", [20, 100, 500])
def test_a_dead_service_gets_its_load_a_fifth_more_and_the_minimum(
    decisions: ModuleType, load: int, seed: int
) -> None:
    world = World(decisions, backend(outlier=NEVER), seed=seed)
    world.behaviours = even(5)
    world.attempts = 3
    world.ask(10, load)
    assert not any(answer.is_retry for answer in world.answers)
    for behaviour in world.behaviours.values():
        behaviour.mean_ms, behaviour.outcome = 1, "gateway"
    died_us = world.now_us
    world.ask(30, load)
    tries = [answer for answer in world.answers if answer.begun_us >= died_us]
    for second in range(30):
        start_us = died_us + second * SECOND_US
        seen = [a for a in tries if start_us <= a.begun_us < start_us + SECOND_US]
        firsts = sum(not answer.is_retry for answer in seen)
        # A second's worth was kept from before; later, what the second before did not use.
        assert len(seen) <= firsts + 2 * (0.2 * max(firsts, load) + 10) + 1
    firsts = sum(not answer.is_retry for answer in tries)
    kept = 0.2 * load + 10
    assert len(tries) <= 1.2 * firsts + 10 * 30 + kept + 1
    assert len(tries) > 1.1 * firsts  # the budget is for use


def test_a_service_that_was_quiet_has_saved_up_no_retries(decisions: ModuleType) -> None:
    world = World(decisions, backend(outlier=NEVER))
    world.behaviours = even(5)
    world.attempts = 3
    world.ask(20, 1000)
    world.advance(600)
    for behaviour in world.behaviours.values():
        behaviour.outcome = "gateway"
    begun_us = world.now_us
    world.ask(1, 100)
    world.advance(1)
    tries = [answer for answer in world.answers if answer.begun_us >= begun_us]
    retries = sum(answer.is_retry for answer in tries)
    assert retries <= 0.2 * (len(tries) - retries) + 10 * 2 + 10


def test_retries_go_to_endpoints_that_were_not_tried(decisions: ModuleType) -> None:
    row = backend(3, outlier=NEVER, budget_percent=100, budget_min_per_s=1000)
    world = World(decisions, row)
    world.behaviours = even(3, outcome="gateway")
    world.attempts = 2
    for _ in range(50):
        seen = len(world.answers)
        world.request()
        world.advance(2)
        assert {answer.slot for answer in world.answers[seen:]} == {0, 1, 2}
        assert len(world.answers) == seen + 3


def test_with_outliers_taken_out_nearly_all_requests_are_answered(decisions: ModuleType) -> None:
    row = backend(10, outlier=Outlier(ejected_percent_max=50))
    world = World(decisions, row)
    world.behaviours = even(10)
    for slot in (1, 4, 6):
        world.behaviours[slot].outcome = "error"
    world.ask(300, 100)
    failed = sum(answer.outcome != "ok" for answer in world.answers)
    # Five each before they go, then one probe each at every return.
    assert 15 <= failed <= 15 + 3 * 10
    assert world.fleet.backend(7)["ejected_count"] == 3


def test_round_robin_is_even_while_snapshots_come_in_every_order(decisions: ModuleType) -> None:
    rows: list[Endpoint] = list(endpoints(7))
    world = World(decisions, backend(rows, balance=ROUND_ROBIN))
    world.behaviours = even(7)
    for _ in range(700):
        world.request()
        world.dice.shuffle(rows)
        world.publish(backend(rows, balance=ROUND_ROBIN))
        world.advance(0.001)
    world.advance(1)
    assert set(world.counts().values()) == {100}


def test_random_is_not_round_robin(decisions: ModuleType) -> None:
    world = World(decisions, backend(5, balance=RANDOM))
    world.behaviours = even(5)
    world.ask(10, 100)
    in_order = [answer.slot for answer in sorted(world.answers, key=lambda each: each.begun_us)]
    repeats = sum(a == b for a, b in pairwise(in_order))
    assert 0.1 < repeats / len(in_order) < 0.3
