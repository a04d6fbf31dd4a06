"""The ring: first in, first out; a full one refuses; two threads at once."""

import random
from types import ModuleType

import pytest

from tests.probes import build


def test_numbers_come_out_in_the_order_they_went_in(probe: ModuleType) -> None:
    ring = probe.Ring(8)
    for number in range(5):
        assert ring.post(number)
    assert [ring.take() for _ in range(6)] == [0, 1, 2, 3, 4, None]


@pytest.mark.parametrize("item_count", [1, 2, 8, 1024])
def test_a_ring_holds_as_many_as_it_has_places_and_refuses_the_next(
    probe: ModuleType, item_count: int
) -> None:
    ring = probe.Ring(item_count)
    assert all(ring.post(number) for number in range(item_count))
    assert not ring.post(item_count)
    assert ring.take() == 0
    assert ring.post(item_count)
    assert not ring.post(item_count + 1)
    assert [ring.take() for _ in range(item_count)] == list(range(1, item_count + 1))


def test_looking_does_not_take(probe: ModuleType) -> None:
    ring = probe.Ring(2)
    assert ring.peek() is None
    ring.post(7)
    assert ring.peek() == ring.peek() == ring.take() == 7
    assert ring.peek() is None


def test_any_mix_of_posting_and_taking_agrees_with_a_list(probe: ModuleType) -> None:
    dice = random.Random(4)  # noqa: S311 - not a secret
    ring = probe.Ring(16)
    expected: list[int] = []
    for number in range(20_000):
        if dice.random() < 0.5:
            assert ring.post(number) == (len(expected) < 16)
            if len(expected) < 16:
                expected.append(number)
        else:
            assert ring.take() == (expected.pop(0) if expected else None)


@pytest.mark.parametrize(("slots", "items"), [(1, 5_000), (2, 20_000), (1024, 1_000_000)])
def test_between_two_threads_every_item_arrives_whole_and_in_order(slots: int, items: int) -> None:
    race = build.loaded("race")
    wrong, refused = race.carry(items, slots=slots)
    assert wrong == 0
    assert refused >= 0
