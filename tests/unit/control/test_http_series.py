"""Which services have series of their own, for how long, and where the others are counted."""

import random
from dataclasses import dataclass, field

import pytest

from proxy.engine import DIRECTIONS, FLAGS, STATUS_REST, STATUS_REST_ERROR, Group
from proxy.http_series import SHARED_SERIES, Account, Ending, HttpSeries
from tests.unit.control.goldens import Goldens, golden

WEB, CART, MAIL = (
    ("outbound", f"shop/{name}", False, "unknown") for name in ("web", "cart", "mail")
)
OTHERS = ("outbound", "other", False, "other")
# Series of one group with one method and one ending, and those kept free for it.
ONE = 54
IDLE_S = 600.0


@dataclass
class Rig:
    """Series with a clock that the test moves."""

    series_max: int = 2_000
    now_s: float = 1_000.0
    goldens: Goldens = field(default_factory=Goldens)

    def __post_init__(self) -> None:
        self._series = HttpSeries(self.series_max, IDLE_S, lambda: self.now_s)

    def count(self, group: Group, gets: int, *, in_flight: int = 0) -> None:
        self.goldens.counted[group] = golden(gets, in_flight=in_flight)

    def read(self) -> dict[Group, Account]:
        return self._series.read(self.goldens)

    def gets(self) -> dict[Group, int]:
        return {group: sum(each.requests.values()) for group, each in self.read().items()}


def room_for(groups: int) -> int:
    return SHARED_SERIES + groups * ONE


def shown_series(accounts: dict[Group, Account]) -> int:
    """Count series as Prometheus does: each bucket, the sum and the count of a histogram."""
    return sum(
        len(each.requests) + len(each.endings) + 2 * (len(each.durations) + 2) + 3
        for each in accounts.values()
    )


def test_a_service_with_traffic_has_its_own_series() -> None:
    rig = Rig()
    rig.count(WEB, 3)
    rig.count(CART, 5)
    assert rig.gets() == {WEB: 3, CART: 5}


# --- the cap -------------------------------------------------------------------------------------


def test_who_comes_when_there_is_no_room_is_counted_with_the_others() -> None:
    rig = Rig(room_for(1))
    rig.count(WEB, 3)
    rig.read()
    rig.count(CART, 5)
    rig.count(MAIL, 7)
    assert rig.gets() == {WEB: 3, OTHERS: 12}


def test_the_busiest_get_what_room_there_is() -> None:
    rig = Rig(room_for(2))
    for group, gets in ((WEB, 1), (CART, 50), (MAIL, 9)):
        rig.count(group, gets)
    assert rig.gets() == {CART: 50, MAIL: 9, OTHERS: 1}


def test_the_others_are_told_apart_by_direction() -> None:
    rig = Rig(SHARED_SERIES)
    rig.count(WEB, 3)
    rig.count(("inbound", "shop/web", False, "unknown"), 4)
    assert rig.gets() == {OTHERS: 3, ("inbound", "other", False, "other"): 4}


def test_what_the_data_plane_could_not_tell_apart_is_with_the_others() -> None:
    rig = Rig()
    rig.count(OTHERS, 4)
    assert rig.gets() == {OTHERS: 4}


def test_a_status_that_finds_no_room_is_counted_with_its_classification() -> None:
    rig = Rig(room_for(1))
    rig.goldens.counted[WEB] = golden(6, {(200, "-"): 1, (404, "-"): 2, (503, "UF"): 3})
    (account,) = rig.read().values()
    assert account.endings == {
        Ending("200", "success", "-"): 1,
        Ending("other", "success", "other"): 2,
        Ending("other", "failure", "other"): 3,
    }


def test_a_method_that_finds_no_room_is_one_of_the_others() -> None:
    rig = Rig(room_for(1) - 2)
    rig.count(WEB, 3)
    (account,) = rig.read().values()
    assert account.requests == {"OTHER": 3}


def test_statuses_that_the_data_plane_could_not_tell_apart_keep_their_classification() -> None:
    rig = Rig()
    rig.goldens.counted[WEB] = golden(5, {(STATUS_REST, "-"): 2, (STATUS_REST_ERROR, "-"): 3})
    (account,) = rig.read().values()
    assert {(e.status_code, e.classification): n for e, n in account.endings.items()} == {
        ("other", "success"): 2,
        ("other", "failure"): 3,
    }


def test_no_combination_of_services_and_statuses_exceeds_the_cap() -> None:
    rig = Rig(1_000)
    dice = random.Random(3)  # noqa: S311 - not a secret
    groups = [
        (direction, f"ns/s{n}", False, "unknown") for direction in DIRECTIONS for n in range(100)
    ]
    for _ in range(60):
        group = dice.choice(groups)
        endings = {(dice.randrange(100, 600), dice.choice(FLAGS)): 1 for _ in range(40)}
        before = rig.goldens.counted.get(group, golden(0, {}))
        merged = {key: before.endings.get(key, 0) + n for key, n in endings.items()}
        total = sum(before.requests) + len(endings)
        rig.goldens.counted[group] = golden(total, before.endings | merged)
        rig.now_s += dice.choice((1, IDLE_S / 3))
        assert shown_series(rig.read()) <= 1_000


# --- coming and going ----------------------------------------------------------------------------


def test_a_service_without_traffic_is_put_away_and_comes_back_with_its_full_count() -> None:
    rig = Rig()
    rig.count(WEB, 3)
    assert rig.gets() == {WEB: 3}
    rig.now_s += IDLE_S
    assert rig.gets() == {}
    rig.count(WEB, 4)
    assert rig.gets() == {WEB: 4}


def test_traffic_keeps_a_service() -> None:
    rig = Rig()
    for gets in (1, 2, 3):
        rig.count(WEB, gets)
        assert rig.gets() == {WEB: gets}
        rig.now_s += IDLE_S - 1


def test_a_service_with_a_request_in_flight_is_never_put_away() -> None:
    rig = Rig()
    rig.count(WEB, 1, in_flight=1)
    for _ in range(3):
        assert rig.read()[WEB].in_flight == 1
        rig.now_s += IDLE_S
    rig.count(WEB, 1)
    assert rig.read()[WEB].in_flight == 0
    rig.now_s += IDLE_S
    assert rig.gets() == {}


def test_who_is_put_away_makes_room_for_who_comes() -> None:
    rig = Rig(room_for(1))
    rig.count(WEB, 3)
    rig.read()
    rig.now_s += IDLE_S
    rig.read()
    rig.count(CART, 5)
    assert rig.gets() == {CART: 5}


def test_who_gets_series_late_begins_there_and_the_others_keep_what_they_had() -> None:
    rig = Rig(room_for(1))
    rig.count(WEB, 3)
    rig.read()
    rig.count(CART, 5)
    assert rig.gets() == {WEB: 3, OTHERS: 5}
    rig.now_s += IDLE_S
    rig.read()
    rig.count(CART, 7)
    assert rig.gets() == {CART: 2, OTHERS: 5}


def test_who_comes_back_to_no_room_adds_only_what_is_new_to_the_others() -> None:
    rig = Rig(room_for(1))
    rig.count(WEB, 1_000)
    rig.read()
    rig.now_s += IDLE_S
    rig.read()
    rig.count(CART, 5)
    rig.read()
    rig.count(WEB, 1_001)
    assert rig.gets() == {CART: 5, OTHERS: 1}


def test_requests_in_flight_are_seen_wherever_they_are_counted() -> None:
    rig = Rig(SHARED_SERIES)
    rig.count(WEB, 3, in_flight=2)
    rig.count(CART, 1, in_flight=1)
    assert rig.read()[OTHERS].in_flight == 3


@pytest.mark.parametrize("series_max", [room_for(0), room_for(2), room_for(4)])
def test_no_counter_goes_back_and_no_request_is_lost(series_max: int) -> None:
    rig = Rig(series_max)
    dice = random.Random(7)  # noqa: S311 - not a secret
    groups = [("outbound", f"ns/s{n}", False, "unknown") for n in range(6)]
    begun = dict.fromkeys(groups, 0)
    latest: dict[Group, int] = {}  # of those put away, too
    for _ in range(300):
        group = dice.choice(groups)
        begun[group] += dice.randrange(1, 9)
        rig.count(group, begun[group])
        for shown, gets in rig.gets().items():
            assert gets >= latest.get(shown, 0)
            latest[shown] = gets
        assert sum(latest.values()) == sum(begun.values())
        rig.now_s += dice.choice((1, IDLE_S / 2, IDLE_S))
