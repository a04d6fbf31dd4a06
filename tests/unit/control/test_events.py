"""Where records go: the output, and the rings of what ended last."""

import asyncio
import json
import os
from collections.abc import Callable

from proxy.events import Events
from tests.unit.control.records import connection, request

MakePipe = Callable[[], tuple[int, int]]


def test_a_batch_is_one_line_for_each_connection(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Events("json", 0, fd=writer).on_connections([connection(n) for n in range(5)])
    lines = os.read(reader, 10_000).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 2, 3, 4]


def test_requests_and_connections_share_the_output_in_the_order_they_came(
    make_pipe: MakePipe,
) -> None:
    reader, writer = make_pipe()
    events = Events("json", 0, fd=writer)
    events.on_requests([request(), request()])
    events.on_connections([connection()])
    kinds = [json.loads(line)["kind"] for line in os.read(reader, 10_000).splitlines()]
    assert kinds == ["request", "request", "connection"]


def test_the_combined_format_has_no_line_for_a_connection(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    events = Events("combined", 0, fd=writer)
    events.on_connections([connection()])
    events.on_requests([request()])
    assert os.read(reader, 10_000).count(b"\n") == 1


def test_the_latest_requests_are_kept_latest_first() -> None:
    events = Events("off", 2)
    events.on_requests([request(status=status) for status in (200, 201, 202)])
    assert [each.status for each in events.recent_requests(10)] == [202, 201]
    assert [each.status for each in events.recent_requests(1)] == [202]


def test_lines_of_requests_that_nobody_reads_are_counted(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    os.close(reader)
    events = Events("json", 0, fd=writer)
    events.on_requests([request(), request()])
    assert events.dropped == 2


def test_the_latest_connections_are_kept_latest_first() -> None:
    events = Events("off", 3)
    events.on_connections([connection(n) for n in range(5)])
    assert [each.id for each in events.recent(10)] == [4, 3, 2]
    assert [each.id for each in events.recent(2)] == [4, 3]


def test_switched_off_nobody_wants_records() -> None:
    assert not Events("off", 0).is_wanted
    assert Events("off", 1).is_wanted


def test_a_reader_that_stopped_costs_lines_and_not_time(
    runner: asyncio.Runner, make_pipe: MakePipe
) -> None:
    """More than a pipe and our own queue hold: the rest is dropped and counted."""
    _, writer = make_pipe()
    events = Events("json", 0, fd=writer)

    async def flood() -> None:
        while not events.dropped:
            events.on_connections([connection(n) for n in range(256)])

    runner.run(flood())
    events.close()


def test_a_reader_that_comes_back_is_served_without_a_new_connection(
    runner: asyncio.Runner, make_pipe: MakePipe
) -> None:
    reader, writer = make_pipe()
    events = Events("json", 0, fd=writer)

    async def serve() -> bytes:
        events.on_connections([connection(n) for n in range(1_000)])
        os.set_blocking(reader, False)
        received = b""
        async with asyncio.timeout(10):
            while received.count(b"\n") < 1_000:
                try:
                    received += os.read(reader, 65_536)
                except BlockingIOError:
                    await asyncio.sleep(0.01)
        return received

    lines = runner.run(serve()).splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1_000))


def test_the_time_a_batch_takes_is_remembered_once(make_pipe: MakePipe) -> None:
    _, writer = make_pipe()
    events = Events("json", 0, fd=writer)
    events.on_connections([connection()])
    assert events.take_longest_s() > 0
    assert events.take_longest_s() == 0
