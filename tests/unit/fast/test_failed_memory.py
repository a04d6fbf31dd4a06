"""Without memory a structure says so, stays as it was, and works again once there is some."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

# Every allocation that growing to this many items makes: chunks, and three sizes of their table.
ITEMS = 64 * 40


@contextmanager
def failing(probe: ModuleType, name: str, n: int) -> Iterator[Callable[[], bool]]:
    """Let the n-th call fail. Yields what ends it, and tells whether the call was made."""
    ended: list[bool] = []

    def end() -> bool:
        ended.append(probe.disarm())
        return ended[0]

    probe.arm(name, n)
    try:
        yield end
    finally:
        probe.disarm()


@pytest.mark.parametrize("name", ["calloc", "realloc"])
def test_a_slab_that_cannot_grow_keeps_its_items_and_grows_later(
    probe: ModuleType, name: str
) -> None:
    n, has_failed = 0, True
    while has_failed:
        n += 1
        slab = probe.Slab(ITEMS)
        with failing(probe, name, n) as end:
            taken = [slab.take() for _ in range(ITEMS)]
            has_failed = end()
        refused = taken.count(None)
        assert (refused > 0) == has_failed
        assert slab.live_count == ITEMS - refused
        again = [slab.take() for _ in range(refused)]
        slots = {item[0] for item in [*taken, *again] if item is not None}
        assert slots == set(range(ITEMS))
    assert n > 2


def test_a_slab_frees_all_that_it_took(probe: ModuleType) -> None:
    memory = probe.held_memory()
    slab = probe.Slab(ITEMS)
    for _ in range(ITEMS):
        slab.take()
    assert probe.held_memory() > memory
    del slab
    assert probe.held_memory() == memory


def test_a_buffer_that_cannot_be_had_is_not_counted(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    with failing(probe, "malloc", 1) as end:
        assert not bufs.take(0)
        assert end()
    assert bufs.counts == (0, 0)
    assert bufs.take(0)


def test_a_buffer_that_cannot_grow_keeps_what_it_holds(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    bufs.append(0, b"kept")
    with failing(probe, "malloc", 1) as end:
        assert not bufs.append(0, bytes(probe.Bufs.SIZE))
        assert end()
    assert bufs.held(0) == b"kept"
    assert bufs.counts[1] == 1


def test_a_pipe_without_memory_is_not_counted_and_leaves_no_descriptor(probe: ModuleType) -> None:
    pipes = probe.Pipes()
    with failing(probe, "malloc", 1) as end:
        assert not pipes.take(0)
        assert end()
    assert pipes.counts == (0, 0, 0)
    assert pipes.take(0)


def test_a_ring_without_memory_says_so(probe: ModuleType) -> None:
    with failing(probe, "calloc", 1) as end:
        with pytest.raises(MemoryError):
            probe.Ring(8)
        assert end()
