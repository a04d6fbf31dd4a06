"""Reads a proxy's metrics once a second, as Prometheus would: a process of its own.

    python -m bench.scraper PORT PATH

Scrapes once, says "ready", waits for a line, then scrapes every second until stdin is closed, and
prints what it saw as JSON.

It shares the core of generator and upstream, and what keeps these waiting looks like latency of the
proxy. So it is nice, and while the load runs it takes answers in and looks into none of them.
"""

import contextlib
import http.client
import io
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

from bench import ROOT
from bench.running import RunError, opened, pinned, stop

FIRST_SECONDS: Final = 0.5  # after the start, so that the shortest run has one
INTERVAL_SECONDS: Final = 1.0
_ROOM: Final = memoryview(bytearray(1 << 20))  # larger than any answer, so that few reads do
PATIENCE_SECONDS: Final = 10.0
NICENESS: Final = 19
# What Prometheus sends: OpenMetrics where a proxy has it.
ACCEPT: Final = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4"


@dataclass(frozen=True)
class Scrape:
    """What a scraper saw of one proxy."""

    count: int = 0
    series: int = 0  # the most that one of them had
    ms_max: float = 0.0


class Scraper:
    """A scraper that is warm, and idle until `begin`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def begin(self) -> None:
        """Scrape from now on."""
        stdin = opened(self._process.stdin)
        stdin.write("go\n")
        stdin.flush()

    def end(self) -> Scrape:
        """Stop scraping."""
        opened(self._process.stdin).close()
        line = opened(self._process.stdout).readline()
        if not line:
            raise RunError("a scrape failed: see above")
        return Scrape(**json.loads(line))


@contextlib.contextmanager
def scraping(port: int, path: str, core: int) -> Iterator[Scraper]:
    """Start a scraper and warm it; it ends with the block."""
    with pinned(core):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.scraper", str(port), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
    with process:
        try:
            if not opened(process.stdout).readline():
                raise RunError(f"{path} could not be scraped")
            yield Scraper(process)
        finally:
            stop(process)


class Taken(NamedTuple):
    """An answer as it came, head and body, and how long it took from connecting to its end."""

    answer: bytes
    ms: float


def take(port: int, path: str) -> Taken:
    """Read the metrics once, and leave them as they are."""
    head = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Accept: {ACCEPT}")
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as asked:
        asked.sendall("\r\n".join([*head, "", ""]).encode())
        parts = [bytes(_ROOM[:size]) for size in iter(lambda: asked.recv_into(_ROOM), 0)]
    return Taken(b"".join(parts), (time.monotonic() - began) * 1000)


def series_of(answer: bytes) -> int:
    """Count the series of an answer: lines that are no comments. Raises OSError for an error."""
    response = http.client.HTTPResponse(_Bytes(answer))  # type: ignore[arg-type]  # makefile() only
    response.begin()
    if response.status != http.client.OK:
        raise OSError(f"the answer was {response.status}")
    return sum(line[:1] not in {b"", b"#"} for line in response.read().split(b"\n"))


class _Bytes:
    """What an answer is read from, once it is here."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def main(port: int, path: str) -> None:
    """Scrape as the module says."""
    os.nice(NICENESS)
    series_of(take(port, path).answer)
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    due = time.monotonic() + FIRST_SECONDS
    taken: list[Taken] = []
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        taken.append(take(port, path))
        due += INTERVAL_SECONDS
    counts = [series_of(each.answer) for each in taken]
    seen = Scrape(len(taken), max(counts, default=0), max((each.ms for each in taken), default=0.0))
    print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
