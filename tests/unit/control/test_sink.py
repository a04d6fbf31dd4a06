"""Output that nobody may be reading never holds the process up."""

import os
import select
from collections.abc import Callable

from proxy.sink import Sink

MakePipe = Callable[[], tuple[int, int]]
LINE = b"x" * 999 + b"\n"


def fill(fd: int) -> int:
    """Fill a pipe to the last byte; return how many went in."""
    os.set_blocking(fd, False)
    count = 0
    try:
        while True:
            count += os.write(fd, LINE)
    except BlockingIOError:
        return count
    finally:
        os.set_blocking(fd, True)


def drain(fd: int, count: int) -> bytes:
    parts = []
    while count:
        parts.append(os.read(fd, count))
        count -= len(parts[-1])
    return b"".join(parts)


def test_lines_reach_a_reader_at_once(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Sink(writer, 10_000).write(b"hello\n")
    assert os.read(reader, 100) == b"hello\n"


def test_a_reader_that_stopped_does_not_block_us(make_pipe: MakePipe) -> None:
    _, writer = make_pipe()
    fill(writer)
    sink = Sink(writer, 10_000)
    sink.write(LINE)
    assert sink.has_backlog
    assert sink.dropped == 0


def test_lines_that_waited_are_read_in_order_and_whole(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    held = fill(writer)
    sink = Sink(writer, 10_000)
    lines = [b"%d" % n * 700 + b"\n" for n in range(10)]
    for line in lines:
        sink.write(line)
    drain(reader, held)
    sink.flush()
    assert drain(reader, 7_010) == b"".join(lines)
    assert not sink.has_backlog


def test_lines_beyond_the_bound_are_dropped_and_counted(make_pipe: MakePipe) -> None:
    _, writer = make_pipe()
    fill(writer)
    sink = Sink(writer, 2_500)
    for _ in range(5):
        sink.write(LINE)
    assert sink.dropped == 3


def test_a_batch_that_is_dropped_counts_with_all_its_lines(make_pipe: MakePipe) -> None:
    _, writer = make_pipe()
    fill(writer)
    sink = Sink(writer, 2_500)
    sink.write(LINE * 7, line_count=7)
    assert sink.dropped == 7


def test_a_reader_that_left_costs_lines_and_nothing_else(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    os.close(reader)
    sink = Sink(writer, 10_000)
    sink.write(LINE)
    sink.write(LINE)
    assert sink.dropped == 2
    assert not sink.has_backlog


def test_a_descriptor_that_is_closed_costs_lines_and_nothing_else(make_pipe: MakePipe) -> None:
    _, writer = make_pipe()
    sink = Sink(writer, 10_000)
    os.close(writer)
    sink.write(LINE)
    assert sink.dropped == 1


def test_the_descriptor_stays_blocking_for_those_who_share_it(make_pipe: MakePipe) -> None:
    _, writer = make_pipe()
    Sink(writer, 10_000).write(LINE)
    assert os.get_blocking(writer)


def test_a_chunk_is_what_a_pipe_with_room_takes_without_blocking(make_pipe: MakePipe) -> None:
    """The rule the sink stands on: poll says writable, so PIPE_BUF bytes fit."""
    reader, writer = make_pipe()
    fill(writer)
    poll = select.poll()
    poll.register(writer, select.POLLOUT)
    while not poll.poll(0):
        os.read(reader, 1)
    os.set_blocking(writer, False)
    assert os.write(writer, b"x" * select.PIPE_BUF) == select.PIPE_BUF
