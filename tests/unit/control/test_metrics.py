"""The text of /metrics, from the counters of real workers."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from itertools import product

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.config import read_config
from proxy.drain import Drain
from proxy.engine import DIRECTIONS, FLAGS, PROTOCOLS, Engine, Stats
from proxy.events import Events
from proxy.listeners import bound_address, close_all, open_listeners
from proxy.metrics import Exposition
from proxy.readiness import Readiness
from proxy.snapshot import draft
from proxy.state import Running
from tests.unit.control.conftest import ReadableLog
from tests.unit.control.goldens import Goldens, golden

PATIENCE_S = 10
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def running(runner: asyncio.Runner, readable_log: ReadableLog) -> Iterator[Running]:
    """A proxy that has relayed one connection: 5 bytes there, 7 bytes back."""
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        listen = f"--listen=127.0.0.1:0={bound_address(upstream)}"
        settings = read_config(["--no-interception", listen, "--workers=2"], {})
        log = readable_log.log
        listeners = open_listeners(settings, log)
        engine = Engine(2, 100)
        engine.publish(draft(settings, listeners))
        engine.listen(listeners)
        readiness = Readiness(log, ())
        drain = Drain(settings, engine, readiness, log)
        events = Events("off", 0)
        made = Running(
            settings, log, listeners, engine, events, readiness, drain, 100, time.monotonic()
        )

        async def start() -> None:
            engine.start()

        runner.run(start())
        _talk(listeners[0].address, upstream)
        ended = lambda: any(n for _, _, _, n in engine.stats().closed())  # noqa: E731
        assert runner.run(engine.until(ended, PATIENCE_S))
        yield made
        engine.stop()
        close_all(listeners)


def _talk(address: tuple[str, int], upstream: socket.socket) -> None:
    with socket.create_connection(address) as downstream:
        app, _ = upstream.accept()
        with app:
            downstream.sendall(b"hello")
            assert app.recv(5, socket.MSG_WAITALL) == b"hello"
            app.sendall(b"welcome")
            assert downstream.recv(7, socket.MSG_WAITALL) == b"welcome"


def scrape(running: Running) -> Samples:
    body, _ = Exposition(running).text("", 0.25)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_a_connection_is_counted_opened_and_closed(running: Running) -> None:
    samples = scrape(running)
    assert value(samples, "tcp_open_total", direction="explicit", peer="src") == 1
    labels = {"direction": "explicit", "peer": "src", "protocol": "opaque", "reason": "ok"}
    assert value(samples, "tcp_close_total", **labels) == 1
    del labels["reason"]
    assert value(samples, "tcp_open_connections", **labels) == 0


def test_bytes_are_counted_on_both_sides(running: Running) -> None:
    samples = scrape(running)
    counts = {
        (name, peer): value(samples, f"tcp_{name}_bytes_total", direction="explicit", peer=peer)
        for name in ("read", "write")
        for peer in ("src", "dst")
    }
    assert counts == {
        ("read", "src"): 5,
        ("write", "dst"): 5,
        ("read", "dst"): 7,
        ("write", "src"): 7,
    }


@pytest.mark.parametrize("name", ["connect", "connection"])
def test_a_histogram_counts_every_connection_once(running: Running, name: str) -> None:
    samples = scrape(running)
    family = f"remora_{name}_duration_seconds"
    assert value(samples, f"{family}_count", direction="explicit") == 1
    assert value(samples, f"{family}_bucket", direction="explicit", le="+Inf") == 1
    assert 0 < value(samples, f"{family}_sum", direction="explicit") < PATIENCE_S


def test_buckets_of_a_histogram_are_cumulative_and_in_seconds(running: Running) -> None:
    name = "remora_connect_duration_seconds_bucket"
    buckets = sorted(
        (float(dict(labels)["le"]), count)
        for (sample, labels), count in scrape(running).items()
        if sample == name and ("direction", "explicit") in labels
    )
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert buckets[0][0] < 0.001
    assert buckets[-1] == (float("inf"), 1)


def test_detection_says_who_spoke_first(running: Running) -> None:
    labels = {"direction": "explicit", "protocol": "opaque", "speaker": "downstream"}
    assert value(scrape(running), "remora_detect_total", **labels) == 1


def test_each_worker_is_told_apart(runner: asyncio.Runner, running: Running) -> None:
    adopted = lambda: all(state.snapshot_version == 1 for state in running.engine.states())  # noqa: E731
    assert runner.run(running.engine.until(adopted, 10))
    samples = scrape(running)
    versions = [
        value(samples, "remora_worker_snapshot_version", worker=str(worker)) for worker in (0, 1)
    ]
    assert versions == [1, 1]


def test_where_the_proxy_listens_is_a_metric(running: Running) -> None:
    (listener,) = running.listeners
    labels = {"address": str(listener.address), "target": listener.target_text or ""}
    assert value(scrape(running), "remora_listener_info", direction="explicit", **labels) == 1


def test_the_loop_lag_is_what_the_asker_measured(running: Running) -> None:
    assert value(scrape(running), "remora_loop_lag_seconds") == 0.25


def test_the_process_is_measured(running: Running) -> None:
    samples = scrape(running)
    assert value(samples, "process_open_fds") == pytest.approx(
        len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - numbers, not paths
        abs=3,
    )
    assert value(samples, "process_cpu_seconds_total") > 0


def test_the_build_is_named(running: Running) -> None:
    assert any(name == "remora_build_info" for name, _ in scrape(running))


def test_registering_the_collector_collects_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    monkeypatch.setattr(running.engine, "stats", lambda: asked.append(None))
    Exposition(running)
    assert not asked


def test_every_series_is_made_of_our_own_words(running: Running) -> None:
    """Cardinality is bounded: no label's value is a peer's choice."""
    words = {
        "direction": set(DIRECTIONS),
        "protocol": set(PROTOCOLS),
        "peer": {"src", "dst"},
        "worker": {"0", "1"},
    }
    for _, labels in scrape(running):
        for label, text in labels:
            assert text in words.get(label, {text})


def test_a_scrape_has_fewer_series_than_the_cap_whatever_has_happened(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every counter at 1, and hundreds of services with every status and flag between them."""
    raw = {name: [1] * len(words) for name, words in running.engine.stats()._raw.items()}
    # Ten services together have every status: each with all of them would take half a minute.
    shares = [dict.fromkeys(product(range(first, 600, 10), FLAGS), 1) for first in range(100, 110)]
    goldens = Goldens(
        {
            (direction, f"ns/s{number}", False, "unknown"): golden(len(share), share)
            for direction, (number, share) in product(DIRECTIONS, enumerate(shares * 30))
        }
    )
    monkeypatch.setattr(running.engine, "stats", lambda: Stats(raw))
    monkeypatch.setattr(running.engine, "groups", goldens.groups)
    monkeypatch.setattr(running.engine, "golden", goldens.golden)
    samples = scrape(running)
    assert len(samples) <= 2_000
    requests = sum(count for (name, _), count in samples.items() if name == "request_total")
    assert requests == len(DIRECTIONS) * 30 * sum(map(len, shares))


def test_openmetrics_is_spoken_to_who_asks_for_it(running: Running) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    body, content_type = Exposition(running).text(accept, 0.0)
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
