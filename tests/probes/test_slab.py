"""Slabs: bounded, zeroed, and a name that is never used for two lives."""

import random
from types import ModuleType


def test_the_bound_is_kept_and_a_place_given_back_is_free_again(probe: ModuleType) -> None:
    slab = probe.Slab(100)
    slots = [slab.take()[0] for _ in range(100)]
    assert len(set(slots)) == 100
    assert slab.take() is None
    slab.give(slots[50])
    assert slab.take()[0] == slots[50]
    assert slab.live_count == 100


def test_an_item_is_zeroed_each_time_it_is_taken(probe: ModuleType) -> None:
    slab = probe.Slab(10)
    for _ in range(5):
        slot, _, is_zeroed = slab.take()
        assert is_zeroed
        slab.give(slot)


def test_the_name_of_an_ended_life_finds_nothing(probe: ModuleType) -> None:
    slab = probe.Slab(10)
    slot, generation, _ = slab.take()
    assert slab.finds(slot, generation)
    slab.give(slot)
    assert not slab.finds(slot, generation)
    again, newer, _ = slab.take()
    assert again == slot
    assert not slab.finds(slot, generation)
    assert slab.finds(slot, newer)


def test_names_never_given_find_nothing(probe: ModuleType) -> None:
    slab = probe.Slab(1000)
    slab.take()
    assert not slab.finds(0, 0)
    assert not slab.finds(5, 1)
    assert not slab.finds(1 << 27, 1)


def test_any_order_of_taking_and_giving_keeps_the_count(probe: ModuleType) -> None:
    dice = random.Random(3)  # noqa: S311 - not a secret
    slab = probe.Slab(500)
    live: dict[int, int] = {}
    for _ in range(20_000):
        if live and dice.random() < 0.5:
            slot = dice.choice(list(live))
            generation = live.pop(slot)
            slab.give(slot)
            assert not slab.finds(slot, generation)
        elif (taken := slab.take()) is not None:
            assert taken[0] not in live
            live[taken[0]] = taken[1]
        assert slab.live_count == len(live)
    assert all(slab.finds(slot, generation) for slot, generation in live.items())
