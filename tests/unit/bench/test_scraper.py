"""Reading metrics while a proxy works."""

import http.server
import os
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from bench import scraper
from bench.running import Cores, RunError
from bench.scraper import scraping, series_of, take
from tests.support.waiting import eventually

CORE = Cores.allowed().load
TEXT = b'# HELP a Something.\n# TYPE a counter\na{b="1"} 1\na{b="2"} 1\n\n# EOF\n'


class Metrics(http.server.BaseHTTPRequestHandler):
    """Two series under /metrics, nothing elsewhere."""

    asked: ClassVar[list[str]] = []
    status = 200

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status if self.path == "/metrics" else 404)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        self.wfile.write(TEXT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Metrics.asked.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_series_are_the_lines_that_are_no_comments(port: int) -> None:
    assert series_of(take(port, "/metrics").answer) == 2


def test_a_scraper_that_is_warm_waits_for_its_start(port: int) -> None:
    with scraping(port, "/metrics", CORE) as warm:
        assert len(Metrics.asked) == 1
        warm.begin()
        eventually("the first scrape that counts", lambda: len(Metrics.asked) == 2)
        seen = warm.end()
    assert (seen.count, seen.series) == (1, 2)
    assert seen.ms_max > 0


def test_an_answer_in_chunks_is_counted_like_any_other() -> None:
    chunk = b"%x\r\n%b\r\n" % (len(TEXT), TEXT)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert series_of(head + chunk * 2 + b"0\r\n\r\n") == 4


def test_an_error_while_the_load_runs_ends_the_run(
    port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scraping(port, "/metrics", CORE) as warm:
        monkeypatch.setattr(Metrics, "status", 503)
        warm.begin()
        eventually("the first scrape that counts", lambda: len(Metrics.asked) == 2)
        with pytest.raises(RunError, match="a scrape failed"):
            warm.end()
    assert "the answer was 503" in capfd.readouterr().err


def test_a_scraper_gives_way_to_everybody_else(port: int) -> None:
    with scraping(port, "/metrics", CORE) as warm:
        assert os.getpriority(os.PRIO_PROCESS, warm.pid) == 19


def test_metrics_that_are_not_there_end_the_run(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="/stats could not be scraped"):
        scraping(port, "/stats", CORE).__enter__()
    assert "404" in capfd.readouterr().err
    assert scraper.FIRST_SECONDS < scraper.INTERVAL_SECONDS
