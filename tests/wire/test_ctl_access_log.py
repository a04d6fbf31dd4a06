"""The access log on stdout: one line for each connection, and never in the way of one."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support import control
from tests.support.rig import Rig
from tests.support.sockets import Address, address_of, connected, parsed, written
from tests.support.waiting import PATIENCE_S, eventually

# Lines have about 330 bytes; a pipe holds 64 KiB and the proxy's own queue 1 MiB.
MORE_THAN_FITS = 4_000

Start = Callable[..., "Logging"]


class Logging:
    """A proxy with an access log, whose stdout the test holds."""

    def __init__(
        self, directory: Path, upstream: Address, stdout: int | IO[bytes], *flags: str
    ) -> None:
        self.path = directory / "control.sock"
        listen = f"127.0.0.1:0={written(upstream)}"
        self._stderr = (directory / "stderr").open("wb")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "proxy", "proxy", "--no-interception", "--listen", listen),
                *("--admin", "127.0.0.1:0", "--control-listen", "off"),
                *("--control", str(self.path), *(flags or ("--access-log", "json"))),
            ],
            stdout=stdout,
            stderr=self._stderr,
        )
        eventually("the proxy to be ready", self._is_ready)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None
        return self.path.exists() and bool(self.status()["ready"])

    def status(self) -> dict[str, Any]:
        return control.ask(self.path, "/status")

    def talk(self, upstream: socket.socket) -> None:
        """One whole connection through the proxy."""
        with connected(parsed(self.status()["listeners"][0]["address"])) as downstream:
            downstream.sendall(b"hello, it is me\n")
            app, _ = upstream.accept()
            with app:
                assert app.recv(3) == b"hel"
            # The app closed with unread bytes: a reset, which is an end like any other.

    def closed_count(self) -> int:
        return int(self.status()["connections"]["explicit"]["closed"])

    def close(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(PATIENCE_S) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self._stderr.close()
            if self.process.stdout:
                self.process.stdout.close()


@pytest.fixture
def upstream(rig: Rig) -> socket.socket:
    return rig.listen()


@pytest.fixture
def start(tmp_path: Path, upstream: socket.socket) -> Iterator[Start]:
    started: list[Logging] = []

    def build(stdout: int | IO[bytes] = subprocess.PIPE, *flags: str) -> Logging:
        started.append(Logging(tmp_path, address_of(upstream), stdout, *flags))
        return started[-1]

    yield build
    for each in started:
        each.close()


def next_line(proxy: Logging) -> str:
    assert proxy.process.stdout is not None
    return proxy.process.stdout.readline().decode()


def test_a_closed_connection_is_one_line_of_json(start: Start, upstream: socket.socket) -> None:
    proxy = start()
    proxy.talk(upstream)
    line = json.loads(next_line(proxy))
    assert (line["direction"], line["protocol"]) == ("explicit", "opaque")
    assert line["upstream"] == written(address_of(upstream))
    assert line["received_bytes"] == 16
    assert line["duration_ms"] >= line["connect_ms"] > 0


def test_it_may_be_text_instead(start: Start, upstream: socket.socket) -> None:
    proxy = start(subprocess.PIPE, "--access-log", "text")
    proxy.talk(upstream)
    assert " direction=explicit service=unknown protocol=opaque " in next_line(proxy)


def test_lines_of_connections_that_were_open_at_the_end_are_written_too(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start(subprocess.PIPE, "--access-log", "json", "--drain-deadline", "0")
    with connected(parsed(proxy.status()["listeners"][0]["address"])):
        app, _ = upstream.accept()
        with app:
            proxy.process.terminate()
            assert json.loads(next_line(proxy))["reason"] == "drain_deadline"


def test_a_reader_that_stopped_holds_up_no_connection_and_no_probe(
    start: Start, upstream: socket.socket
) -> None:
    reader, writer = os.pipe()
    try:
        proxy = start(writer)
        address = parsed(proxy.status()["listeners"][0]["address"])
        for _ in range(MORE_THAN_FITS):
            _open_and_close(address, upstream)
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
    proxy = start(writer)
    os.close(writer)
    os.close(reader)
    proxy.talk(upstream)
    eventually("the line to be dropped", lambda: proxy.status()["log_lines_dropped"] == 1)
    proxy.talk(upstream)


def test_without_an_access_log_stdout_stays_empty(rig: Rig, tmp_path: Path) -> None:
    upstream = rig.listen()
    output = tmp_path / "stdout"
    with output.open("wb") as stdout:
        proxy = Logging(tmp_path, address_of(upstream), stdout, "--access-log", "off")
        proxy.talk(upstream)
        eventually("the connection to end", lambda: proxy.closed_count() == 1)
        proxy.close()
    assert output.read_bytes() == b""
