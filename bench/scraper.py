"""Reads a proxy's metrics once a second, as Prometheus would: a process of its own.

    python -m bench.scraper PORT PATH

Scrapes once, says "ready", waits for a line, then scrapes every second until stdin is closed, and
prints what it saw as JSON.
"""

import contextlib
import http.client
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from bench import ROOT
from bench.running import RunError, opened, pinned, stop

FIRST_SECONDS: Final = 0.5  # after the start, so that the shortest run has one
INTERVAL_SECONDS: Final = 1.0
NICENESS: Final = 19
# What Prometheus sends: OpenMetrics where a proxy has it.
ACCEPT: Final = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4"


@dataclass(frozen=True)
class Scrape:
    """What a scraper saw of one proxy."""

    count: int = 0
    series: int = 0  # of the last one
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


def scrape(port: int, path: str) -> Scrape:
    """Read the metrics once."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Accept": ACCEPT})
        answer = connection.getresponse()
        body = answer.read()
    ms = (time.monotonic() - began) * 1000
    if answer.status != http.client.OK:
        raise OSError(f"{path} answered {answer.status}")
    lines = body.split(b"\n")
    return Scrape(1, sum(line[:1] not in {b"", b"#"} for line in lines), ms)


def main(port: int, path: str) -> None:
    """Scrape as the module says.

    Nice, because it shares the core of generator and upstream: what it makes of an answer must not
    keep them waiting and so look like latency of the proxy.
    """
    os.nice(NICENESS)
    scrape(port, path)
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    due = time.monotonic() + FIRST_SECONDS
    seen = Scrape()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        now = scrape(port, path)
        seen = Scrape(seen.count + 1, now.series, max(seen.ms_max, now.ms_max))
        due += INTERVAL_SECONDS
    print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
