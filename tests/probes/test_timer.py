"""The timer wheel against a list: never early, never more than a tick late, each once."""

import random
from types import ModuleType

import pytest

TICK_MS = 4
# Around every border between two levels of the wheel, and beyond its reach.
BORDERS_MS = [TICK_MS * 64**level for level in range(5)]
DISTANCES_MS = [border + off for border in BORDERS_MS for off in (-9, -4, -1, 0, 1, 4, 9)]


def advance_to_firing(wheel: object, now_ms: int, until_ms: int) -> tuple[int, list[int]]:
    """Sleep as the worker does, by wait_ms; returns when something fired, and what."""
    while now_ms < until_ms:
        wait_ms = wheel.wait_ms(now_ms)  # type: ignore[attr-defined]
        now_ms += max(1, wait_ms)
        fired = wheel.advance(now_ms)  # type: ignore[attr-defined]
        if fired:
            return now_ms, fired
    return now_ms, []


@pytest.mark.parametrize("start_ms", [0, 1, 255, 1_048_575, 987_654_321])
@pytest.mark.parametrize("distance_ms", [d for d in DISTANCES_MS if d > 0])
def test_a_timer_fires_at_its_time_or_within_a_tick(
    probe: ModuleType, start_ms: int, distance_ms: int
) -> None:
    wheel = probe.Wheel(1, start_ms)
    wheel.arm(0, start_ms + distance_ms)
    now_ms, fired = advance_to_firing(wheel, start_ms, start_ms + distance_ms + 100)
    assert fired == [0]
    assert 0 <= now_ms - (start_ms + distance_ms) <= 2 * TICK_MS


def test_a_time_in_the_past_fires_with_the_next_tick(probe: ModuleType) -> None:
    wheel = probe.Wheel(1, 1000)
    wheel.arm(0, 10)
    assert wheel.advance(1000) == []
    assert wheel.advance(1000 + TICK_MS) == [0]


def test_arming_again_moves_the_timer(probe: ModuleType) -> None:
    wheel = probe.Wheel(1, 0)
    wheel.arm(0, 100)
    wheel.arm(0, 5000)
    assert wheel.advance(4999) == []
    assert wheel.advance(5008) == [0]


def test_a_cancelled_timer_does_not_fire_and_nothing_waits(probe: ModuleType) -> None:
    wheel = probe.Wheel(2, 0)
    wheel.arm(0, 100)
    wheel.arm(1, 100_000)
    wheel.cancel(0)
    wheel.cancel(1)
    assert wheel.wait_ms(0) == -1
    assert wheel.advance(1_000_000) == []


def test_a_long_sleep_fires_everything_that_came_due_in_it(probe: ModuleType) -> None:
    wheel = probe.Wheel(100, 0)
    for number in range(100):
        wheel.arm(number, 1 + number * number * 37)
    assert sorted(wheel.advance(10_000_000)) == list(range(100))


@pytest.mark.parametrize("seed", range(8))
def test_any_mix_of_arming_and_cancelling_agrees_with_a_list(probe: ModuleType, seed: int) -> None:
    """`due` holds what must still fire; a step is a random action or a random sleep."""
    dice = random.Random(seed)  # noqa: S311 - not a secret
    now_ms = dice.randrange(1 << 40)
    wheel = probe.Wheel(50, now_ms)
    due: dict[int, int] = {}
    for _ in range(4000):
        number = dice.randrange(50)
        action = dice.random()
        if action < 0.4:
            due[number] = now_ms + int(10 ** dice.uniform(0, 8))
            wheel.arm(number, due[number])
        elif action < 0.5:
            due.pop(number, None)
            wheel.cancel(number)
        else:
            now_ms = sleep(wheel, due, now_ms, int(10 ** dice.uniform(0, 6)))
            for fired in wheel.advance(now_ms):
                assert due.pop(fired) <= now_ms
            late = [at for at in due.values() if at + 2 * TICK_MS <= now_ms]
            assert not late
        assert [wheel.is_armed(n) for n in range(50)] == [n in due for n in range(50)]


def sleep(wheel: object, due: dict[int, int], now_ms: int, at_most_ms: int) -> int:
    """Sleep as long as the wheel allows: never past the earliest timer."""
    wait_ms = wheel.wait_ms(now_ms)  # type: ignore[attr-defined]
    assert (wait_ms == -1) == (not due)
    if due:
        assert wait_ms <= max(0, min(due.values()) - now_ms) + 2 * TICK_MS
    return now_ms + (at_most_ms if wait_ms < 0 else min(wait_ms, at_most_ms))
