"""The access log and the ring of recent connections."""

import asyncio
import json
import os
from collections.abc import Callable

from proxy.engine import Connection
from proxy.events import Events, describe

MakePipe = Callable[[], tuple[int, int]]


def record(number: int = 1, **changes: object) -> Connection:
    made = Connection(
        id=number,
        worker=0,
        direction="outbound",
        phase="relaying",
        protocol="tls",
        speaker="downstream",
        reason="ok",
        downstream=("10.0.0.1", 40000),
        original_dst=("fd00::1", 443),
        upstream=("fd00::1", 443),
        sni="example.org",
        received_bytes=100,
        sent_bytes=2_000,
        opened_unix_us=1_700_000_000_000_000,
        connect_us=1_500,
        duration_us=20_250,
        spliced=False,
    )
    return made._replace(**changes)  # type: ignore[arg-type]


def test_a_json_line_holds_a_connection_whole(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Events("json", 0, fd=writer).handle([record()])
    line = json.loads(os.read(reader, 10_000))
    assert line["time"] == "2023-11-14T22:13:20.000000Z"
    assert line["original_dst"] == "[fd00::1]:443"
    assert (line["connect_ms"], line["duration_ms"]) == (1.5, 20.25)
    assert (line["received_bytes"], line["sent_bytes"]) == (100, 2_000)


def test_a_batch_is_one_line_for_each_connection(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Events("json", 0, fd=writer).handle([record(n) for n in range(5)])
    lines = os.read(reader, 10_000).splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 2, 3, 4]


def test_a_connection_that_never_reached_its_upstream_has_no_connect_time() -> None:
    described = describe(record(connect_us=-1, upstream=("", 0), reason="connect_refused"))
    assert (described["connect_ms"], described["upstream"]) == (None, None)
    assert described["flag"] == "UF"


def test_a_text_line_leaves_out_what_is_empty(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Events("text", 0, fd=writer).handle([record(sni="", connect_us=-1)])
    line = os.read(reader, 10_000).decode()
    assert "sni" not in line
    assert "connect_ms" not in line
    assert "received_bytes=100 sent_bytes=2000" in line


def test_a_server_name_cannot_forge_a_line(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    hostile = record(sni="a\nreason=ok \x1b[2J")
    Events("text", 0, fd=writer).handle([hostile])
    Events("json", 0, fd=writer).handle([hostile])
    output = os.read(reader, 10_000)
    assert output.count(b"\n") == 2
    assert b"\x1b" not in output


def test_the_latest_connections_are_kept_latest_first() -> None:
    events = Events("off", 3)
    events.handle([record(n) for n in range(5)])
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
            events.handle([record(n) for n in range(256)])

    runner.run(flood())
    events.close()


def test_a_reader_that_comes_back_is_served_without_a_new_record(
    runner: asyncio.Runner, make_pipe: MakePipe
) -> None:
    reader, writer = make_pipe()
    events = Events("json", 0, fd=writer)

    async def serve() -> bytes:
        events.handle([record(n) for n in range(1_000)])
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
    events.handle([record()])
    assert events.take_longest_s() > 0
    assert events.take_longest_s() == 0
