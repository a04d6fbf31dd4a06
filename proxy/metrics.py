"""Counters of the workers → Prometheus, at the moment of a scrape and only then.

TCP families carry Linkerd's names and labels, so that its dashboards work; the rest is `remora_*`.
A label's value is always one of our own words, an address we listen on, or a worker's index: what a
peer chooses never makes a series. Counters by protocol or reason appear with their first count and
never go away.

prometheus_client costs 5 MB and 40 ms, so this module is imported by the first scrape.
"""

import platform
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy import __version__, engine
from proxy.engine import Stats
from proxy.state import Running

# As Linkerd labels a connection seen from the side that opened it.
_SRC: Final = "src"
_DST: Final = "dst"
_BOUNDS: Final = [*(repr(bound / 1e6) for bound in engine.BUCKETS_US), "+Inf"]


class Exposition:
    """The text of /metrics."""

    def __init__(self, running: Running) -> None:
        self._collector = _Collector(running)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)

    def text(self, accept: str, loop_lag_s: float) -> tuple[bytes, str]:
        """Return (body, content type) for an Accept header: Prometheus text or OpenMetrics."""
        self._collector.loop_lag_s = loop_lag_s
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Collector(Collector):
    def __init__(self, running: Running) -> None:
        self.loop_lag_s = 0.0
        self._running = running

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering collects nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family from one reading of the counters."""
        stats = self._running.engine.stats()
        yield from _connections(stats)
        yield from _bytes(stats)
        yield _histogram(
            stats,
            "connect",
            "remora_connect_duration_seconds",
            "From accept to upstream connected.",
        )
        yield _histogram(
            stats,
            "duration",
            "remora_connection_duration_seconds",
            "Life of a connection, counted when it ends.",
        )
        yield from _detection(stats)
        yield from self._workers(stats)
        yield from self._control_side()
        yield from self._infos()

    def _workers(self, stats: Stats) -> Iterator[Metric]:
        states = self._running.engine.states()
        for name, text, index in (
            ("snapshot_version", "Version of the configuration a worker reads.", 1),
            ("connections", "Connections open in a worker.", 2),
            ("listeners", "Sockets a worker accepts on.", 3),
        ):
            rows = [((str(state.worker),), state[index]) for state in states]
            yield _gauge(f"remora_worker_{name}", text, ["worker"], rows)
        yield _counter(
            "remora_worker_ticks", "Loop rounds of all workers.", [], [((), stats.ticks)]
        )
        longest_s = self._running.engine.take_longest_tick_us() / 1e6
        text = "Longest loop round of a worker since the scrape before."
        yield _gauge("remora_worker_longest_tick_seconds", text, [], [((), longest_s)])
        rows = [((kind,), count) for kind, count in stats.live().items()]
        yield _gauge("remora_live_objects", "Objects in use by the workers.", ["kind"], rows)

    def _control_side(self) -> Iterator[Metric]:
        running = self._running
        text = "Longest time the Python loop was late since the scrape before."
        yield _gauge("remora_loop_lag_seconds", text, [], [((), self.loop_lag_s)])
        rows = [(("stderr",), running.log.dropped), (("stdout",), running.events.dropped)]
        yield _counter("remora_log_lines_dropped", "Lines nobody read.", ["stream"], rows)
        text = "Whether traffic may come."
        yield _gauge("remora_ready", text, [], [((), int(running.readiness.is_ready))])
        text = "Bound of open connections, all workers together."
        yield _gauge("remora_connections_max", text, [], [((), running.connections_max)])

    def _infos(self) -> Iterator[Metric]:
        build = InfoMetricFamily("remora_build", "Which remora this is.")
        labels = {"version": __version__, "abi": engine.ABI, "python": platform.python_version()}
        build.add_metric([], labels)
        yield build
        rows = [
            ((item.direction, str(item.address), item.target_text or ""), 1)
            for item in self._running.listeners
        ]
        labels_of_listener = ["direction", "address", "target"]
        yield _gauge("remora_listener_info", "Open at start.", labels_of_listener, rows)


_Row = tuple[tuple[str, ...], float]


def _counter(name: str, text: str, labels: Sequence[str], rows: Sequence[_Row]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in rows:
        family.add_metric(label_values, value)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], rows: Sequence[_Row]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in rows:
        family.add_metric(label_values, value)
    return family


def _connections(stats: Stats) -> Iterator[Metric]:
    rows: list[_Row] = [((d, _SRC), n) for d, n in stats.opened()]
    yield _counter("tcp_open", "Connections accepted.", ["direction", "peer"], rows)
    rows = [((d, _SRC, p, r), n) for d, p, r, n in stats.closed() if n]
    labels = ["direction", "peer", "protocol", "reason"]
    yield _counter("tcp_close", "Connections ended.", labels, rows)
    rows = [((d, _SRC, p), n) for d, p, n in stats.open()]
    labels = ["direction", "peer", "protocol"]
    yield _gauge("tcp_open_connections", "Connections open now.", labels, rows)


def _bytes(stats: Stats) -> Iterator[Metric]:
    by_direction = list(stats.bytes())
    labels = ["direction", "peer"]
    rows: list[_Row] = []
    for direction, (from_downstream, _, from_upstream, _) in by_direction:
        rows += [((direction, _SRC), from_downstream), ((direction, _DST), from_upstream)]
    yield _counter("tcp_read_bytes", "Bytes read from the peer.", labels, rows)
    rows = []
    for direction, (_, to_downstream, _, to_upstream) in by_direction:
        rows += [((direction, _SRC), to_downstream), ((direction, _DST), to_upstream)]
    yield _counter("tcp_write_bytes", "Bytes written to the peer.", labels, rows)


def _histogram(stats: Stats, kind: str, name: str, text: str) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["direction"])
    for direction, counts, sum_us in stats.histogram(kind):
        total, buckets = 0, []
        for bound, count in zip(_BOUNDS, counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([direction], buckets, sum_us / 1e6)
    return family


def _detection(stats: Stats) -> Iterator[Metric]:
    rows: list[_Row] = [((d, p, s), n) for d, p, s, n in stats.detected() if n]
    labels = ["direction", "protocol", "speaker"]
    yield _counter("remora_detect", "Protocols found, and who spoke first.", labels, rows)
    rows = [((name,), count) for name, count in stats.events()]
    yield _counter("remora_events", "What workers met, by name.", ["event"], rows)
