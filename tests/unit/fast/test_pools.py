"""Pools of buffers and pipes: lent clean, counted, and a few kept for the next."""

import os
from pathlib import Path
from types import ModuleType


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_buffer_is_lent_empty_each_time(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    for _ in range(3):
        assert bufs.take(0)
        assert bufs.held(0) == b""
        assert bufs.capacity(0) == probe.Bufs.SIZE
        bufs.append(0, b"left over")
        bufs.give(0)


def test_a_buffer_keeps_what_is_appended_up_to_its_last_byte(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    bufs.take(0)
    bufs.append(0, b"ab")
    bufs.append(0, b"c" * (probe.Bufs.SIZE - 2))
    assert bufs.capacity(0) == probe.Bufs.SIZE
    assert bufs.held(0) == b"ab" + b"c" * (probe.Bufs.SIZE - 2)
    bufs.append(0, b"")


def test_a_buffer_grows_for_what_does_not_fit_and_forgets_what_was_consumed(
    probe: ModuleType,
) -> None:
    bufs = probe.Bufs()
    assert bufs.append(0, b"a" * probe.Bufs.SIZE)
    bufs.consume(0, probe.Bufs.SIZE - 3)
    assert bufs.append(0, b"b" * 10)
    assert bufs.held(0) == b"aaa" + b"b" * 10
    assert bufs.append(0, b"c" * probe.Bufs.SIZE * 3)
    assert bufs.held(0) == b"aaa" + b"b" * 10 + b"c" * probe.Bufs.SIZE * 3
    assert bufs.counts[1] == 1


def test_a_buffer_of_which_everything_was_consumed_goes_back(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    bufs.append(0, b"12345")
    bufs.consume(0, 2)
    assert bufs.held(0) == b"345"
    bufs.consume(0, 3)
    assert bufs.held(0) is None
    assert bufs.counts == (1, 0)


def test_a_large_buffer_is_not_kept(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    memory = probe.held_memory()
    assert bufs.take(0, capacity=probe.Bufs.SIZE + 1)
    bufs.give(0)
    assert bufs.counts == (0, 0)
    assert probe.held_memory() == memory


def test_buffers_lent_are_counted_and_only_a_few_are_kept(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    kept = probe.Bufs.FREE_MAX
    for number in range(kept + 5):
        bufs.take(number)
    assert bufs.counts == (0, kept + 5)
    for number in range(kept + 5):
        bufs.give(number)
    assert bufs.counts == (kept, 0)


def test_a_buffer_given_back_is_lent_again_without_the_allocator(probe: ModuleType) -> None:
    bufs = probe.Bufs()
    bufs.take(0)
    bufs.give(0)
    memory = probe.held_memory()
    bufs.take(1)
    assert probe.held_memory() == memory


def test_no_more_pipes_are_open_than_the_bound(probe: ModuleType) -> None:
    pipes = probe.Pipes()
    taken = [pipes.take(number) for number in range(probe.Pipes.MAX + 1)]
    assert taken == [True] * probe.Pipes.MAX + [False]
    assert pipes.counts == (0, probe.Pipes.MAX, probe.Pipes.MAX)


def test_only_a_few_idle_pipes_stay_open(probe: ModuleType) -> None:
    fds = open_fds()
    pipes = probe.Pipes()
    for number in range(20):
        pipes.take(number)
    for number in range(20):
        pipes.give(number)
    kept = probe.Pipes.FREE_MAX
    assert pipes.counts == (kept, 0, kept)
    assert open_fds() == fds + 2 * kept


def test_a_pipe_that_still_holds_bytes_is_closed_and_not_lent_again(probe: ModuleType) -> None:
    """The next connection would say what this one had to say."""
    pipes = probe.Pipes()
    pipes.take(0)
    _, write_fd = pipes.ends(0)
    os.write(write_fd, b"secret")
    pipes.give(0, held_bytes=6)
    assert pipes.counts == (0, 0, 0)


def test_a_pipe_does_not_block_and_is_not_inherited(probe: ModuleType) -> None:
    pipes = probe.Pipes()
    pipes.take(0)
    for fd in pipes.ends(0):
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)


def test_the_end_of_a_pool_closes_its_pipes(probe: ModuleType) -> None:
    fds = open_fds()
    pipes = probe.Pipes()
    pipes.take(0)
    pipes.take(1)
    pipes.give(0)
    del pipes
    assert open_fds() == fds
