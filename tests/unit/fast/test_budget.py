"""Token buckets, and what retries are paid with."""

import random
from types import ModuleType

import pytest

from tests.support.world import NUMBER, SECOND_US, START_US, backend, traffic_of


def test_a_bucket_is_full_at_first_and_fills_at_its_rate(decisions: ModuleType) -> None:
    bucket = decisions.Bucket()
    now_us = START_US
    assert [bucket.take(100_000, 3, now_us)[0] for _ in range(4)] == [True, True, True, False]
    assert bucket.take(100_000, 3, now_us) == (False, 10)
    assert bucket.take(100_000, 3, now_us + 9_999) == (False, 1)
    assert bucket.take(100_000, 3, now_us + 10_000) == (True, 0)
    assert not bucket.take(100_000, 3, now_us + 19_999)[0]
    later_us = now_us + 3600 * SECOND_US
    assert [bucket.take(100_000, 3, later_us)[0] for _ in range(4)] == [True, True, True, False]


def test_no_rate_is_no_limit(decisions: ModuleType) -> None:
    bucket = decisions.Bucket()
    assert all(bucket.take(0, 0, START_US) == (True, 0) for _ in range(1000))


def test_a_wait_is_as_long_as_it_says(decisions: ModuleType) -> None:
    bucket = decisions.Bucket()
    assert bucket.take(500, 1, START_US)[0]  # one in two seconds
    taken, wait_ms = bucket.take(500, 1, START_US + 1)
    assert (taken, wait_ms) == (False, 2000)
    assert not bucket.take(500, 1, START_US + 2000 * 1000 - 1)[0]
    assert bucket.take(500, 1, START_US + 2000 * 1000)[0]


@pytest.mark.parametrize("rate_per_ks", [1, 7, 999, 1000, 12_345, 1_000_000, 999_999_999])
@pytest.mark.parametrize("burst", [2, 10, 1_000_000_000])
def test_however_often_it_is_asked_a_bucket_gives_its_rate(
    decisions: ModuleType, rate_per_ks: int, burst: int
) -> None:
    dice = random.Random(rate_per_ks)  # noqa: S311 - no secret
    bucket = decisions.Bucket()
    step_us = max(1, 10**9 // rate_per_ks // 50)  # fifty times a token
    now_us, taken = START_US, 0
    while bucket.take(rate_per_ks, min(burst, 10), now_us)[0]:
        pass
    begun_us = now_us
    for _ in range(20_000):
        now_us += dice.randrange(2 * step_us) if step_us > 1 else 1
        while bucket.take(rate_per_ks, min(burst, 10), now_us)[0]:
            taken += 1
            if taken > 200_000:
                break
    due = (now_us - begun_us) * rate_per_ks / 10**9
    assert due * 0.98 - 1 <= taken <= due + 1


def test_the_extremes_of_a_limit_do_not_overflow(decisions: ModuleType) -> None:
    bucket = decisions.Bucket()
    assert bucket.take(10**12, 10**9, START_US)[0]
    assert bucket.take(10**12, 10**9, 2**62)[0]
    slow = decisions.Bucket()
    assert slow.take(1, 10**9, 1)[0]
    assert slow.take(1, 10**9, 2**62)[0]


def test_time_that_stands_still_or_goes_back_fills_nothing(decisions: ModuleType) -> None:
    bucket = decisions.Bucket()
    assert bucket.take(1000, 1, START_US)[0]
    assert not bucket.take(1000, 1, START_US - SECOND_US)[0]
    assert not bucket.take(1000, 1, START_US)[0]


class Account:
    """The budget of a backend."""

    def __init__(self, decisions: ModuleType, percent: int, min_per_s: int) -> None:
        row = backend(1, budget_percent=percent, budget_min_per_s=min_per_s)
        self.policy = decisions.Policy(traffic_of(row))
        self.fleet = decisions.Fleet(1)
        self.now_us = START_US

    def deposit(self, count: int) -> None:
        for _ in range(count):
            self.fleet.deposit(self.policy, NUMBER, self.now_us)

    def withdraw_all(self) -> int:
        count = 0
        while self.fleet.withdraw(self.policy, NUMBER, self.now_us):
            count += 1
        return count


def test_a_budget_is_its_share_of_first_tries_and_a_minimum(decisions: ModuleType) -> None:
    account = Account(decisions, 20, 10)
    account.deposit(100)
    assert account.withdraw_all() == 10 + 20
    account.now_us += SECOND_US // 2
    assert account.withdraw_all() == 5
    account.deposit(4)
    assert account.withdraw_all() == 0
    account.deposit(1)
    assert account.withdraw_all() == 1


def test_a_budget_of_nothing_gives_nothing(decisions: ModuleType) -> None:
    account = Account(decisions, 0, 0)
    for _ in range(100):
        account.deposit(100)
        assert account.withdraw_all() == 0
        account.now_us += SECOND_US


def test_what_was_paid_in_a_second_ago_is_gone(decisions: ModuleType) -> None:
    account = Account(decisions, 20, 10)
    account.deposit(1000)
    account.now_us += SECOND_US
    assert account.withdraw_all() == 10


def test_a_busy_service_keeps_about_a_seconds_worth(decisions: ModuleType) -> None:
    account = Account(decisions, 20, 0)
    for _ in range(10_000):  # 1,000 a second
        account.deposit(1)
        account.now_us += 1000
    assert 190 <= account.withdraw_all() <= 201


def test_a_flood_of_first_tries_does_not_overflow_a_budget(decisions: ModuleType) -> None:
    account = Account(decisions, 100, 1_000_000)
    account.deposit(10)
    account.now_us += SECOND_US - 1
    account.deposit(10)
    assert account.fleet.withdraw(account.policy, NUMBER, account.now_us)


def test_rules_have_limits_of_their_own(decisions: ModuleType) -> None:
    fleet = decisions.Fleet(1)
    assert [fleet.limit(1, 1000, 2, START_US) for _ in range(3)] == [True, True, False]
    assert fleet.limit(2, 1000, 2, START_US)
    assert not fleet.limit(1, 1000, 2, START_US)
