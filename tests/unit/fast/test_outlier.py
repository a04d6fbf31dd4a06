"""Sick endpoints: when they go, how long they stay out, and how they come back."""

from types import ModuleType

import pytest

from proxy.traffic.rows import EWMA, RING, ROUND_ROBIN, Outlier
from tests.support.world import NUMBER, START_US, backend, traffic_of

MS = 1000
SECOND_MS = 1000
ONE_ERROR = Outlier(errors_max=1, local_errors_max=0, ejected_percent_max=100)


class Pool:
    """A backend whose endpoints do as a test says, request by request."""

    def __init__(
        self, decisions: ModuleType, count: int, outlier: Outlier, balance: str = ROUND_ROBIN
    ) -> None:
        self.decisions = decisions
        self.fleet = decisions.Fleet(5)
        self.outlier = outlier
        self.now_ms = START_US // MS
        self.balance = balance
        self.publish(count)
        self.pick()  # the interval of outliers begins

    def publish(self, count: int) -> None:
        row = backend(count, outlier=self.outlier, balance=self.balance)
        self.policy = self.decisions.Policy(traffic_of(row))

    def pick(self, tried: tuple[int, ...] = ()) -> int | None:
        found = self.fleet.pick(self.policy, NUMBER, self.now_ms * MS, 1, tried)
        return None if found is None else int(found[0])

    def begin(self, slot: int) -> None:
        self.fleet.begin(self.policy, NUMBER, slot, self.now_ms * MS)

    def end(self, slot: int, outcome: str) -> None:
        self.fleet.end(self.policy, NUMBER, slot, 1, outcome, 0, self.now_ms * MS)

    def do(self, slot: int, *outcomes: str) -> None:
        for outcome in outcomes:
            self.begin(slot)
            self.end(slot, outcome)

    def is_in(self, slot: int) -> bool:
        return self.state(slot)["ejected_until_ms"] == 0

    def out_ms(self, slot: int) -> int:
        return max(0, int(self.state(slot)["ejected_until_ms"]) - self.now_ms)

    def state(self, slot: int) -> dict[str, int]:
        return dict(self.fleet.endpoint(slot, 1))

    def picked(self) -> set[int | None]:
        return {self.pick() for _ in range(50)}

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.fleet.backend(NUMBER))


@pytest.mark.parametrize("outcome", ["error", "gateway", "local"])
def test_five_errors_in_a_row_take_an_endpoint_out(decisions: ModuleType, outcome: str) -> None:
    pool = Pool(decisions, 5, Outlier())
    pool.do(2, *[outcome] * 4, "ok", *[outcome] * 4)
    assert pool.is_in(2)
    pool.do(2, outcome)
    assert not pool.is_in(2)
    assert pool.picked() == {0, 1, 3, 4}
    assert pool.counts["ejected"] == 1


def test_only_gateway_errors_in_a_row_count_as_such(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, Outlier(errors_max=0, gateway_errors_max=3, local_errors_max=0))
    pool.do(1, "gateway", "gateway", "error", "gateway", "gateway", "ok", "gateway", "gateway")
    assert pool.is_in(1)
    pool.do(1, "gateway")
    assert not pool.is_in(1)


def test_split_local_errors_count_apart(decisions: ModuleType) -> None:
    split = Outlier(errors_max=3, local_errors_max=4, is_split=True)
    pool = Pool(decisions, 5, split)
    pool.do(0, "error", "error", "local", "local", "local")
    assert pool.is_in(0)
    pool.do(0, "local")
    assert not pool.is_in(0)
    pool.do(1, "error", "local", "error", "local", "error")
    assert not pool.is_in(1) or pool.counts["ejected_count"] == 1  # one of five may go


def test_split_local_errors_do_not_break_a_row_of_errors(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, Outlier(errors_max=3, local_errors_max=0, is_split=True))
    pool.do(1, "error", "local", "error", "local", "error")
    assert not pool.is_in(1)


def test_what_was_broken_off_says_nothing(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, Outlier())
    pool.do(2, "error", "none", "error", "none", "error", "error")
    assert pool.is_in(2)
    pool.do(2, "error")
    assert not pool.is_in(2)


def test_without_detection_nobody_goes(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, Outlier(errors_max=0, gateway_errors_max=0, local_errors_max=0))
    pool.do(2, *["gateway"] * 100, *["local"] * 100)
    assert pool.is_in(2)


def test_ejections_grow_are_capped_and_end_with_one_probe(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, ONE_ERROR)
    lasted = []
    pool.do(3, "error")
    for _ in range(12):
        lasted.append(pool.out_ms(3) // SECOND_MS)
        pool.now_ms += pool.out_ms(3) - 1
        assert 3 not in pool.picked()
        pool.now_ms += 1
        assert 3 in pool.picked()
        pool.begin(3)
        assert 3 not in pool.picked(), "a second request while the first one shows"
        pool.end(3, "error")
    assert lasted == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
    pool.now_ms += pool.out_ms(3)
    pool.do(3, "ok")
    assert pool.is_in(3)
    pool.begin(3)
    assert 3 in pool.picked()
    assert pool.counts == {"ejected": 13, "returned": 1, "ejected_count": 0}


def test_a_probe_that_was_broken_off_is_followed_by_another(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, ONE_ERROR)
    pool.do(3, "error")
    pool.now_ms += pool.out_ms(3)
    pool.begin(3)
    pool.end(3, "none")
    assert not pool.is_in(3)
    assert 3 in pool.picked()
    pool.do(3, "ok")
    assert pool.is_in(3)


def test_requests_of_before_count_for_nothing_while_an_endpoint_is_out(
    decisions: ModuleType,
) -> None:
    pool = Pool(decisions, 5, ONE_ERROR)
    for _ in range(10):
        pool.begin(3)
    pool.end(3, "error")
    out_ms = pool.out_ms(3)
    for outcome in ("error", "ok", "local", "none"):
        pool.end(3, outcome)
    assert pool.out_ms(3) == out_ms
    pool.now_ms += out_ms
    pool.end(3, "ok")  # returning, and this is not its probe
    assert not pool.is_in(3)
    assert pool.counts["ejected"] == 1
    assert pool.state(3)["in_flight"] == 4


def test_good_intervals_make_up_for_ejections(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, ONE_ERROR)
    pool.do(3, "error")
    pool.now_ms += pool.out_ms(3)
    pool.do(3, "error")
    assert pool.out_ms(3) == 60 * SECOND_MS
    pool.now_ms += pool.out_ms(3)
    pool.pick()  # an interval ends while it is out
    pool.do(3, "ok")
    assert pool.state(3)["ejections"] == 2
    pool.now_ms += 10 * SECOND_MS
    pool.pick()
    assert pool.state(3)["ejections"] == 1
    pool.now_ms += 60 * SECOND_MS
    pool.pick()
    assert pool.state(3)["ejections"] == 0
    pool.do(3, "error")
    assert pool.out_ms(3) == 30 * SECOND_MS


@pytest.mark.parametrize(
    ("count", "percent", "gone"),
    [
        (1, 100, 0),
        (2, 100, 1),
        (2, 10, 1),
        (5, 10, 1),
        (5, 50, 2),
        (5, 100, 4),
        (10, 39, 3),
        (20, 10, 2),
        (3, 0, 1),
    ],
)
def test_so_many_may_be_out_and_never_the_last(
    decisions: ModuleType, count: int, percent: int, gone: int
) -> None:
    pool = Pool(decisions, count, ONE_ERROR._replace(ejected_percent_max=percent))
    for _ in range(3):
        for slot in range(count):
            pool.do(slot, "error")
    assert sum(not pool.is_in(slot) for slot in range(count)) == gone
    assert pool.counts["ejected_count"] == pool.counts["ejected"] == gone


def test_one_that_left_makes_room_for_another_to_go(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, ONE_ERROR._replace(ejected_percent_max=20))
    pool.do(4, "error")
    pool.do(0, "error")
    assert pool.is_in(0)
    pool.publish(4)
    pool.do(0, "error")
    assert not pool.is_in(0)
    assert pool.counts["ejected_count"] == 1


def test_below_the_share_of_healthy_ones_all_are_used(decisions: ModuleType) -> None:
    pool = Pool(decisions, 10, ONE_ERROR._replace(healthy_percent_min=70))
    for slot in range(10):
        pool.do(slot, "error")
    assert pool.counts["ejected_count"] == 4  # with six in of ten there is no more ejection
    assert pool.picked() == set(range(10))
    pool.now_ms += pool.out_ms(0)
    for slot in range(4):
        pool.do(slot, "ok")
    assert pool.counts["ejected_count"] == 0


def test_too_little_success_in_an_interval_takes_out(decisions: ModuleType) -> None:
    rate = Outlier(errors_max=0, local_errors_max=0, success_percent_min=80, requests_min=5)
    pool = Pool(decisions, 5, rate)
    pool.do(0, *["ok"] * 79, *["error"] * 21)
    pool.do(1, *["ok"] * 80, *["error"] * 20)
    pool.do(2, *["error"] * 4)  # too few to judge by
    pool.now_ms += 9_999
    pool.pick()
    assert pool.is_in(0)
    pool.now_ms += 1
    pool.pick()
    assert [pool.is_in(slot) for slot in range(3)] == [False, True, True]
    pool.now_ms += 10_000
    pool.pick()
    assert pool.is_in(1), "what was in the interval before counts no more"


def test_a_restart_forgets_what_its_predecessor_did(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, ONE_ERROR)
    pool.do(2, "error")
    assert pool.fleet.meet(2, 2, pool.now_ms)
    assert pool.fleet.endpoint(2, 1) is None
    assert pool.fleet.endpoint(2, 2)["ejected_until_ms"] == 0
    pool.end(2, "error")  # of the one before
    assert pool.fleet.endpoint(2, 2)["errors"] == 0


def test_when_all_of_them_are_out_all_of_them_count(decisions: ModuleType) -> None:
    pool = Pool(decisions, 3, ONE_ERROR)
    pool.do(0, "error")
    pool.do(1, "error")
    pool.publish(2)  # the one that was in left
    assert pool.picked() == {0, 1}
    assert pool.pick((0,)) == 1


@pytest.mark.parametrize("balance", [EWMA, RING])
def test_every_way_of_balancing_avoids_who_is_out(decisions: ModuleType, balance: str) -> None:
    pool = Pool(decisions, 5, ONE_ERROR, balance)
    first = pool.pick()
    assert first is not None
    pool.do(first, "error")
    assert first not in pool.picked()


def test_learning_that_a_connection_came_to_be_ends_a_probe(decisions: ModuleType) -> None:
    pool = Pool(decisions, 5, ONE_ERROR)
    pool.do(3, "local", "error")
    pool.now_ms += pool.out_ms(3)
    pool.begin(3)
    pool.fleet.learn(pool.policy, NUMBER, 3, 1, "ok", 500, pool.now_ms * MS)
    assert pool.is_in(3)
    assert pool.state(3)["in_flight"] == 1
    pool.end(3, "none")
    assert pool.is_in(3)
