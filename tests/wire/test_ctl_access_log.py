"""The access log on stdout: one line for each connection, and never in the way of one."""

import json
import os
import socket
from pathlib import Path

from tests.support import control
from tests.support.logging_proxy import Logging, Start
from tests.support.rig import Rig
from tests.support.sockets import Address, address_of, connected, parsed, written
from tests.support.waiting import eventually

# Lines have about 330 bytes; a pipe holds 64 KiB and the proxy's own queue 1 MiB.
MORE_THAN_FITS = 4_000

JSON = ("--access-log", "json")


def talk(proxy: Logging, upstream: socket.socket) -> None:
    """One whole connection through the proxy."""
    with connected(proxy.address) as downstream:
        downstream.sendall(b"hello, it is me\n")
        app, _ = upstream.accept()
        with app:
            assert app.recv(3) == b"hel"
        # The app closed with unread bytes: a reset, which is an end like any other.


def test_a_closed_connection_is_one_line_of_json(start: Start, upstream: socket.socket) -> None:
    proxy = start(*JSON)
    talk(proxy, upstream)
    line = json.loads(proxy.line())
    assert (line["direction"], line["protocol"]) == ("explicit", "opaque")
    assert line["upstream"] == written(address_of(upstream))
    assert line["received_bytes"] == 16
    assert line["duration_ms"] >= line["connect_ms"] > 0


def test_it_may_be_text_instead(start: Start, upstream: socket.socket) -> None:
    proxy = start("--access-log", "text")
    talk(proxy, upstream)
    assert " direction=explicit service=unknown protocol=opaque " in proxy.line()


def test_lines_of_connections_that_were_open_at_the_end_are_written_too(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start(*JSON, "--drain-deadline", "0")
    with connected(proxy.address):
        app, _ = upstream.accept()
        with app:
            proxy.process.terminate()
            assert json.loads(proxy.line())["reason"] == "drain_deadline"


def test_a_reader_that_stopped_holds_up_no_connection_and_no_probe(
    start: Start, upstream: socket.socket
) -> None:
    reader, writer = os.pipe()
    try:
        proxy = start(*JSON, stdout=writer)
        for _ in range(MORE_THAN_FITS):
            _open_and_close(proxy.address, upstream)
        eventually("every connection to end", lambda: proxy.closed_count() == MORE_THAN_FITS)
        eventually("lines to be dropped", lambda: proxy.status()["log_lines_dropped"] > 0)
        assert control.fetch(parsed(proxy.status()["admin"]), "/live")[0] == 200
    finally:
        os.close(reader)
        os.close(writer)


def _open_and_close(address: Address, upstream: socket.socket) -> None:
    with connected(address):
        upstream.accept()[0].close()


def test_a_reader_that_left_costs_lines_and_nothing_else(
    start: Start, upstream: socket.socket
) -> None:
    reader, writer = os.pipe()
    proxy = start(*JSON, stdout=writer)
    os.close(writer)
    os.close(reader)
    talk(proxy, upstream)
    eventually("the line to be dropped", lambda: proxy.status()["log_lines_dropped"] == 1)
    talk(proxy, upstream)


def test_without_an_access_log_stdout_stays_empty(rig: Rig, tmp_path: Path) -> None:
    upstream = rig.listen()
    output = tmp_path / "stdout"
    with output.open("wb") as stdout:
        proxy = Logging(tmp_path, address_of(upstream), "--access-log", "off", stdout=stdout)
        talk(proxy, upstream)
        eventually("the connection to end", lambda: proxy.closed_count() == 1)
        proxy.close()
    assert output.read_bytes() == b""
