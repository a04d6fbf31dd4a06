"""Slabs against a table of lives: each byte takes an item or gives one back."""

from types import ModuleType
from typing import Final

LIVE_MAX: Final = 100
ENDED_KEPT: Final = 50


def check_slab(probe: ModuleType, text: bytes) -> None:
    slab = probe.Slab(LIVE_MAX)
    live: dict[int, int] = {}
    ended: list[tuple[int, int]] = []
    for byte in text:
        if byte % 2 and live:
            slot = list(live)[byte // 2 % len(live)]
            ended = [*ended[-ENDED_KEPT:], (slot, live.pop(slot))]
            slab.give(slot)
        else:
            taken = slab.take()
            assert (taken is None) == (len(live) == LIVE_MAX)
            if taken is not None:
                slot, generation, is_zeroed = taken
                assert slot not in live
                assert is_zeroed
                live[slot] = generation
        assert slab.live_count == len(live)
    assert all(slab.finds(slot, generation) for slot, generation in live.items())
    assert not any(slab.finds(slot, generation) for slot, generation in ended)
