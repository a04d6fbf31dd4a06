"""Fixtures of the control side's unit tests: a loop, a log that can be read, a real engine."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.logs import Log


class ReadableLog:
    """A log that writes to a file, and its lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.log = Log("debug", "json", fd=self._fd)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def readable_log(tmp_path: Path) -> Iterator[ReadableLog]:
    made = ReadableLog(tmp_path / "log")
    yield made
    made.close()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The loop that the proxy runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as made:
        yield made


@pytest.fixture
def make_pipe() -> Iterator[Callable[[], tuple[int, int]]]:
    """Makes pipes, as (read end, write end), and closes what is left of them."""
    ends: list[int] = []

    def make() -> tuple[int, int]:
        pair = os.pipe()
        ends.extend(pair)
        return pair

    yield make
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue  # the test has closed it, which was its point
