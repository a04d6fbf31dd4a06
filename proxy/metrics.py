"""Counters of the workers → Prometheus, at the moment of a scrape and only then.

TCP families carry Linkerd's names and labels, so that its dashboards work; the rest is `remora_*`.
A label's value is always one of our own words, an address we listen on, or a worker's index: what a
peer chooses never makes a series. Counters by protocol or reason appear with their first count and
never go away.

prometheus_client costs 5 MB and 40 ms, so this module is imported by the first scrape.
"""

import os
import platform
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy import __version__, engine
from proxy.engine import Stats
from proxy.exposition import Writer, content_type_for
from proxy.families import Row, counter, gauge, histogram
from proxy.http_metrics import HttpMetrics
from proxy.http_series import HttpSeries
from proxy.pod import pod_facts
from proxy.policy_metrics import policy_families
from proxy.state import Running
from proxy.tls_metrics import tls_metrics
from proxy.traffic_metrics import TRAFFIC_SERIES_MAX, traffic_families

# As Linkerd labels a connection seen from the side that opened it.
_SRC: Final = "src"
_DST: Final = "dst"

# What the families without services can grow to, whatever happens: the rest of
# --metrics-series-max is for those with services. A test counts them.
_OTHER_SERIES_MAX: Final = 860
_TLS_SERIES_MAX: Final = 100  # where there is an identity
_POLICY_SERIES: Final = 2  # requests and connections, by each policy
_WORKER_SERIES: Final = 3


class Exposition:
    """The text of /metrics."""

    def __init__(self, running: Running) -> None:
        self._collector = _Collector(running)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)
        self._writer = Writer()

    def text(self, accept: str, loop_lag_s: float) -> tuple[bytes, str]:
        """Return (body, content type) for an Accept header: Prometheus text or OpenMetrics."""
        self._collector.loop_lag_s = loop_lag_s
        content_type = content_type_for(accept)
        return self._writer.write(self._registry.collect(), content_type), content_type


class _Collector(Collector):
    def __init__(self, running: Running) -> None:
        self.loop_lag_s = 0.0
        self._running = running
        settings = running.config
        own = _OTHER_SERIES_MAX + _WORKER_SERIES * settings.workers + len(running.listeners)
        own += _TLS_SERIES_MAX if running.keeper is not None else 0
        if settings.policy.manifests:
            own += _POLICY_SERIES * engine.SLOTS + TRAFFIC_SERIES_MAX
        series = HttpSeries(settings.metrics_series_max - own, settings.metrics_idle_ms / 1000)
        self._http = HttpMetrics(series)

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering collects nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family from one reading of the counters."""
        stats = self._running.engine.stats()
        yield from _connections(stats)
        yield from _bytes(stats)
        yield from _times(stats)
        yield from self._http.collect(stats, self._running.engine)
        yield from _detection(stats)
        yield from tls_metrics(stats, self._running.keeper)
        yield from policy_families(stats, self._running.policy)
        yield from traffic_families(self._running.engine, self._running.policy)
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
            yield gauge(f"remora_worker_{name}", text, ["worker"], rows)
        yield counter("remora_worker_ticks", "Loop rounds of all workers.", [], [((), stats.ticks)])
        longest_s = self._running.engine.take_longest_tick_us() / 1e6
        text = "Longest loop round of a worker since the scrape before."
        yield gauge("remora_worker_longest_tick_seconds", text, [], [((), longest_s)])
        rows = [((kind,), count) for kind, count in stats.live().items()]
        yield gauge("remora_live_objects", "Objects in use by the workers.", ["kind"], rows)

    def _control_side(self) -> Iterator[Metric]:
        running = self._running
        text = "Longest time the Python loop was late since the scrape before."
        yield gauge("remora_loop_lag_seconds", text, [], [((), self.loop_lag_s)])
        rows = [(("stderr",), running.log.dropped), (("stdout",), running.events.dropped)]
        yield counter("remora_log_lines_dropped", "Lines nobody read.", ["stream"], rows)
        text = "Whether traffic may come."
        yield gauge("remora_ready", text, [], [((), int(running.readiness.is_ready))])
        text = "Bound of open connections, all workers together."
        yield gauge("remora_connections_max", text, [], [((), running.connections_max)])

    def _infos(self) -> Iterator[Metric]:
        build = InfoMetricFamily("remora_build", "Which remora this is.")
        labels = {"version": __version__, "abi": engine.ABI, "python": platform.python_version()}
        build.add_metric([], labels)
        yield build
        pod = InfoMetricFamily("remora_pod", "Which pod this is in, and where.")
        pod.add_metric([], pod_facts(os.environ))
        yield pod
        rows = [
            ((item.direction, str(item.address), item.target_text or ""), 1)
            for item in self._running.listeners
        ]
        labels_of_listener = ["direction", "address", "target"]
        yield gauge("remora_listener_info", "Open at start.", labels_of_listener, rows)


def _connections(stats: Stats) -> Iterator[Metric]:
    rows: list[Row] = [((d, _SRC), n) for d, n in stats.opened()]
    yield counter("tcp_open", "Connections accepted.", ["direction", "peer"], rows)
    rows = [((d, _SRC, p, r), n) for d, p, r, n in stats.closed() if n]
    labels = ["direction", "peer", "protocol", "reason"]
    yield counter("tcp_close", "Connections ended.", labels, rows)
    rows = [((d, _SRC, p), n) for d, p, n in stats.open()]
    labels = ["direction", "peer", "protocol"]
    yield gauge("tcp_open_connections", "Connections open now.", labels, rows)


def _bytes(stats: Stats) -> Iterator[Metric]:
    by_direction = list(stats.bytes())
    labels = ["direction", "peer"]
    rows: list[Row] = []
    for direction, (from_downstream, _, from_upstream, _) in by_direction:
        rows += [((direction, _SRC), from_downstream), ((direction, _DST), from_upstream)]
    yield counter("tcp_read_bytes", "Bytes read from the peer.", labels, rows)
    rows = []
    for direction, (_, to_downstream, _, to_upstream) in by_direction:
        rows += [((direction, _SRC), to_downstream), ((direction, _DST), to_upstream)]
    yield counter("tcp_write_bytes", "Bytes written to the peer.", labels, rows)


def _times(stats: Stats) -> Iterator[Metric]:
    for kind, name, text in (
        ("connect", "connect", "From accept to upstream connected."),
        ("duration", "connection", "Life of a connection, counted when it ends."),
    ):
        rows = [((d,), counts, sum_us) for d, counts, sum_us in stats.histogram(kind)]
        yield histogram(f"remora_{name}_duration_seconds", text, ["direction"], rows)


def _detection(stats: Stats) -> Iterator[Metric]:
    rows: list[Row] = [((d, p, s), n) for d, p, s, n in stats.detected() if n]
    labels = ["direction", "protocol", "speaker"]
    yield counter("remora_detect", "Protocols found, and who spoke first.", labels, rows)
    rows = [((name,), count) for name, count in stats.events()]
    yield counter("remora_events", "What workers met, by name.", ["event"], rows)
