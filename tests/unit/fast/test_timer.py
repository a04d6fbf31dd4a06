"""The timer wheel: never early, never more than a tick late, each once, and no idle wake-ups."""

from types import ModuleType

import pytest

TICK_MS = 4
REACH_MS = TICK_MS * 64**4  # 18.6 hours
# Around every border between two levels of the wheel, and beyond its reach.
BORDERS_MS = [TICK_MS * 64**level for level in range(5)]
DISTANCES_MS = [border + off for border in BORDERS_MS for off in (-9, -4, -1, 0, 1, 4, 9)]
DISTANCES_MS += [2 * REACH_MS, 3 * REACH_MS + 5, 7 * 24 * 3_600_000]
# Starts right before, at and behind the moments when each level deals a slot out.
STARTS_MS = [0, 1, 255, 256, 16_383, 16_384, 1_048_575, REACH_MS - 1, REACH_MS, 987_654_321]


def sleep_until_fired(probe: ModuleType, start_ms: int, at_ms: int) -> tuple[int, int]:
    """Sleep as the worker does, by wait_ms. Returns when the timer fired, and the wake-ups."""
    wheel = probe.Wheel(1, start_ms)
    wheel.arm(0, at_ms)
    now_ms = start_ms
    for wakes in range(1, 1_000):
        wait_ms = wheel.wait_ms(now_ms)
        assert wait_ms > 0, "awake, and nothing to do"
        now_ms += wait_ms
        if wheel.advance(now_ms):
            return now_ms, wakes
    raise AssertionError("a thousand wake-ups did not fire the timer")


@pytest.mark.parametrize("start_ms", STARTS_MS)
@pytest.mark.parametrize("distance_ms", [d for d in DISTANCES_MS if d > 0])
def test_a_timer_fires_at_its_time_or_within_a_tick(
    probe: ModuleType, start_ms: int, distance_ms: int
) -> None:
    fired_ms, _ = sleep_until_fired(probe, start_ms, start_ms + distance_ms)
    late_ms = fired_ms - (start_ms + distance_ms)
    # The tick it is armed in is over: a timer of less than a tick waits for the next one.
    assert 0 <= late_ms < TICK_MS or (distance_ms < TICK_MS and late_ms <= TICK_MS)


@pytest.mark.parametrize("distance_ms", [1, 100, 5_000, 300_000, 3_600_000, REACH_MS, 5 * REACH_MS])
def test_a_timer_costs_a_few_wake_ups_however_far_it_is(
    probe: ModuleType, distance_ms: int
) -> None:
    _, wakes = sleep_until_fired(probe, 123_457, 123_457 + distance_ms)
    turns = distance_ms // REACH_MS  # beyond the reach: one more deal for each turn of the wheel
    assert wakes <= 4 + 2 * turns


@pytest.mark.parametrize("start_ms", STARTS_MS)
def test_a_timer_does_not_fire_a_tick_too_early_whoever_else_wakes_the_worker(
    probe: ModuleType, start_ms: int
) -> None:
    for distance_ms in (5, 250, 260, 16_380, 16_390, 70_000):
        wheel = probe.Wheel(1, start_ms)
        wheel.arm(0, start_ms + distance_ms)
        for now_ms in range(start_ms, start_ms + distance_ms, max(1, distance_ms // 500)):
            assert wheel.advance(now_ms) == []
        assert wheel.advance(start_ms + distance_ms - 1) == []
        assert wheel.advance(start_ms + distance_ms + TICK_MS) == [0]


def test_a_time_in_the_past_fires_with_the_next_tick(probe: ModuleType) -> None:
    wheel = probe.Wheel(1, 1000)
    wheel.arm(0, 10)
    assert wheel.advance(1000) == []
    assert wheel.advance(1000 + TICK_MS) == [0]


def test_a_clock_that_stands_still_or_goes_back_fires_nothing(probe: ModuleType) -> None:
    wheel = probe.Wheel(1, 1000)
    wheel.arm(0, 1010)
    assert wheel.advance(1000) == []
    assert wheel.advance(500) == []
    assert wheel.advance(1012) == [0]


def test_arming_again_moves_the_timer(probe: ModuleType) -> None:
    wheel = probe.Wheel(1, 0)
    wheel.arm(0, 100)
    wheel.arm(0, 5000)
    assert wheel.armed_count == 1
    assert wheel.advance(4999) == []
    assert wheel.advance(5008) == [0]


def test_a_cancelled_timer_does_not_fire_and_nothing_waits(probe: ModuleType) -> None:
    wheel = probe.Wheel(2, 0)
    wheel.arm(0, 100)
    wheel.arm(1, 100_000)
    wheel.cancel(0)
    wheel.cancel(1)
    wheel.cancel(1)
    assert wheel.armed_count == 0
    assert wheel.wait_ms(0) == -1
    assert wheel.advance(1_000_000) == []


def test_timers_of_one_tick_fire_in_the_order_they_were_armed(probe: ModuleType) -> None:
    wheel = probe.Wheel(5, 0)
    for number in (3, 1, 4, 0, 2):
        wheel.arm(number, 100)
    assert wheel.advance(100) == [3, 1, 4, 0, 2]


def test_a_long_sleep_fires_everything_that_came_due_in_it(probe: ModuleType) -> None:
    wheel = probe.Wheel(100, 0)
    for number in range(100):
        wheel.arm(number, 1 + number * number * 37)
    assert sorted(wheel.advance(10_000_000)) == list(range(100))
    assert wheel.armed_count == 0


@pytest.mark.parametrize("jump_ms", [REACH_MS, 3 * REACH_MS, 30 * 24 * 3_600_000])
def test_after_a_suspension_the_wheel_is_right_again(probe: ModuleType, jump_ms: int) -> None:
    wheel = probe.Wheel(3, 0)
    wheel.arm(0, 1_000)
    wheel.arm(1, jump_ms - 10)
    wheel.arm(2, jump_ms + 1_000)
    assert wheel.advance(jump_ms) == [0, 1]
    assert 0 < wheel.wait_ms(jump_ms) <= 1_000
    assert wheel.advance(jump_ms + 999) == []
    assert wheel.advance(jump_ms + 1_000) == [2]


def test_what_expired_and_was_not_handed_out_can_still_be_cancelled(probe: ModuleType) -> None:
    """The handler of one timer may close the owner of the next."""
    wheel = probe.Wheel(3, 0)
    for number in range(3):
        wheel.arm(number, 100)
    wheel.gather(100)
    assert wheel.wait_ms(100) == 0
    assert wheel.next_due() == 0
    wheel.cancel(1)
    assert [wheel.next_due(), wheel.next_due()] == [2, None]
    assert wheel.armed_count == 0


def test_what_expired_and_was_not_handed_out_can_be_armed_again(probe: ModuleType) -> None:
    wheel = probe.Wheel(2, 0)
    wheel.arm(0, 100)
    wheel.arm(1, 100)
    wheel.gather(100)
    wheel.arm(1, 200)
    assert [wheel.next_due(), wheel.next_due()] == [0, None]
    assert wheel.armed_count == 1
    assert wheel.advance(200) == [1]


def test_a_handler_that_arms_at_once_does_not_keep_the_tick_from_ending(probe: ModuleType) -> None:
    wheel = probe.Wheel(1, 0)
    wheel.arm(0, 8)
    wheel.gather(8)
    assert wheel.next_due() == 0
    wheel.arm(0, 0)
    assert wheel.next_due() is None
    assert wheel.wait_ms(8) == TICK_MS
