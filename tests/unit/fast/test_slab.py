"""Slabs: bounded, zeroed, never moved, and a name that is never used for two lives."""

import random
from types import ModuleType

CHUNK_ITEMS = 64


def test_the_bound_is_kept_and_a_place_given_back_is_free_again(probe: ModuleType) -> None:
    slab = probe.Slab(100)
    slots = [slab.take()[0] for _ in range(100)]
    assert len(set(slots)) == 100
    assert slab.take() is None
    slab.give(slots[50])
    assert slab.take()[0] == slots[50]
    assert slab.live_count == 100


def test_a_bound_of_nothing_gives_nothing(probe: ModuleType) -> None:
    slab = probe.Slab(0)
    assert slab.take() is None
    assert slab.slot_count == 0


def test_slots_are_given_out_from_the_lowest(probe: ModuleType) -> None:
    slab = probe.Slab(1000)
    assert [slab.take()[0] for _ in range(200)] == list(range(200))


def test_the_place_given_back_last_is_used_first(probe: ModuleType) -> None:
    """It is the one that the processor's caches still hold."""
    slab = probe.Slab(100)
    for _ in range(10):
        slab.take()
    for slot in (3, 7, 5):
        slab.give(slot)
    assert [slab.take()[0] for _ in range(4)] == [5, 7, 3, 10]


def test_memory_grows_by_chunks_and_only_when_needed(probe: ModuleType) -> None:
    slab = probe.Slab(10_000)
    for count in range(1, 20 * CHUNK_ITEMS):
        slab.take()
        assert slab.slot_count == -(-count // CHUNK_ITEMS) * CHUNK_ITEMS


def test_an_item_never_moves_while_the_slab_grows(probe: ModuleType) -> None:
    slab = probe.Slab(10_000)
    places = {}
    for _ in range(40 * CHUNK_ITEMS):  # beyond the first two sizes of the table of chunks
        slot = slab.take()[0]
        places[slot] = slab.address(slot)
    assert {slot: slab.address(slot) for slot in places} == places
    assert len(set(places.values())) == len(places)


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


def test_the_next_name_of_a_free_place_finds_nothing_either(probe: ModuleType) -> None:
    slab = probe.Slab(10)
    slot, generation, _ = slab.take()
    slab.give(slot)
    assert not slab.finds(slot, generation + 1)


def test_names_never_given_find_nothing(probe: ModuleType) -> None:
    slab = probe.Slab(1000)
    assert not slab.finds(0, 1)  # there is no chunk yet
    slab.take()
    assert not slab.finds(0, 0)
    assert not slab.finds(5, 1)
    assert not slab.finds(CHUNK_ITEMS, 1)
    assert not slab.finds((1 << 32) - 1, 1)


def test_any_order_of_taking_and_giving_keeps_the_count(probe: ModuleType) -> None:
    dice = random.Random(3)  # noqa: S311 - not a secret
    slab = probe.Slab(500)
    live: dict[int, int] = {}
    ended: list[tuple[int, int]] = []
    for _ in range(20_000):
        if live and dice.random() < 0.5:
            slot = dice.choice(list(live))
            ended.append((slot, live.pop(slot)))
            slab.give(slot)
        elif (taken := slab.take()) is not None:
            assert taken[0] not in live
            assert taken[2]
            live[taken[0]] = taken[1]
        assert slab.live_count == len(live)
    assert all(slab.finds(slot, generation) for slot, generation in live.items())
    assert not any(slab.finds(slot, generation) for slot, generation in ended)
    assert slab.slot_count <= -(-500 // CHUNK_ITEMS) * CHUNK_ITEMS
