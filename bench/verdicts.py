"""The budgets (design section 8) held against a run: met, missed, or not measured."""

from dataclasses import dataclass

from bench.summary import NONE, REMORA, Figure, Results
from bench.workloads import (
    BULK_DOWN,
    BULK_UP,
    HALF,
    HTTP,
    HTTP_64,
    HTTP_DOWN,
    HTTP_HALF,
    HTTP_SCRAPE,
    HTTP_SERVICE,
    HTTP_SERVICES,
    HTTP_UP,
    IDLE,
    MTLS,
    MTLS_64,
    MTLS_DOWN,
    MTLS_IDLE,
    MTLS_UP,
    SMALL,
    TCP,
    Family,
    Workload,
)

MB = 1_000_000


@dataclass(frozen=True)
class Verdict:
    """One budget, one line. `value` and `limit` are in `unit`."""

    title: str
    limit: float
    unit: str
    value: Figure | None
    note: str = ""

    @property
    def word(self) -> str:
        """By the median; a spread that crosses the limit is told, not decided."""
        if self.value is None:
            return "not measured"
        return "met" if self.value.median <= self.limit else "missed"

    @property
    def close(self) -> bool:
        """Whether single rounds say the opposite of the median."""
        return self.value is not None and self.value.low <= self.limit < self.value.high


def verdicts(results: Results, variants: dict[str, str], family: Family = TCP) -> list[Verdict]:
    """All budgets. `variants`: names of peers tuned for one kind of work → the peer they are of."""
    if family == MTLS:
        return _of_mtls(results, variants)
    return _of_http(results, variants) if family == HTTP else _of_relay(results, variants)


def _of_relay(results: Results, variants: dict[str, str]) -> list[Verdict]:
    return [
        _cpu(results, SMALL, 1.0, ["haproxy"], "HAProxy"),
        *_bulk(results, (BULK_DOWN, BULK_UP), variants),
        _latency(results, HALF),
        Verdict("idle connection", 1024, "B", results.connection_bytes(IDLE.name, REMORA)),
        Verdict("/ready after exec", 400, "ms", results.starts(REMORA, lambda s: s.ready_ms)),
        Verdict(
            "first answer after exec", 400, "ms", results.starts(REMORA, lambda s: s.answer_ms)
        ),
        Verdict(
            "PSS at rest",
            32,
            "MB",
            results.starts(REMORA, lambda s: s.memory.pss / MB),
            "shares pages of the interpreter with the harness: RSS is the upper bound",
        ),
    ]


def _of_http(results: Results, variants: dict[str, str]) -> list[Verdict]:
    moved = results.latency_moved(REMORA, HTTP_SCRAPE.name, HTTP_HALF.name, 99)
    series = max((s.scrape.series for s in results.of(HTTP_SCRAPE.name, REMORA)), default=0)
    note = f"{series:,} series" if series else ""
    return [
        _cpu(results, HTTP_64, 0.8, ["haproxy"], "HAProxy"),
        _cpu(results, HTTP_64, 0.2, ["envoy"], "Envoy"),
        *_bulk(results, (HTTP_DOWN, HTTP_UP), variants),
        _latency(results, HTTP_HALF),
        Verdict("p99 at half load while scraped against not scraped", 1.1, "x", moved, note),
        _cpu(results, HTTP_SERVICES, 0.8, ["haproxy"], "HAProxy"),
        Verdict(
            "CPU a request with 5,000 Services against one",
            1.05,
            "x",
            results.cpu_moved(REMORA, HTTP_SERVICES, HTTP_SERVICE),
        ),
    ]


def _of_mtls(results: Results, variants: dict[str, str]) -> list[Verdict]:
    """Handshakes have no budget: they stand beside those of the others."""
    idle = results.connection_bytes(MTLS_IDLE.name, REMORA)
    return [
        _cpu(results, MTLS_64, 0.6, ["haproxy"], "HAProxy"),
        _cpu(results, MTLS_64, 0.25, ["envoy"], "Envoy"),
        *_bulk(results, (MTLS_DOWN, MTLS_UP), variants, 0.9),
        Verdict("idle mutual TLS connection", 16_000, "B", idle),
    ]


def _bulk(
    results: Results, works: tuple[Workload, ...], variants: dict[str, str], limit: float = 0.5
) -> list[Verdict]:
    plain = "the best peer, own buffers"
    tuned = "the best peer, tuned for bulk"
    return [
        *(_cpu(results, work, limit, _plain(results, work, variants), plain) for work in works),
        *(
            _cpu(results, work, limit, _others(results, work), tuned)
            for work in works
            if set(_others(results, work)) & set(variants)
        ),
    ]


def _others(results: Results, workload: Workload) -> list[str]:
    return [name for name in results.peers(workload.name) if name not in {NONE, REMORA}]


def _plain(results: Results, workload: Workload, variants: dict[str, str]) -> list[str]:
    return [name for name in _others(results, workload) if name not in variants]


def _cpu(
    results: Results, workload: Workload, limit: float, among: list[str], whom: str
) -> Verdict:
    title = f"{workload.title}: CPU a {workload.unit} against {whom}"
    best = results.best(workload, among)
    value = results.cpu_ratio(workload, REMORA, best) if best else None
    return Verdict(title, limit, "x", value, best or "")


def _latency(results: Results, half: Workload) -> Verdict:
    """p99 at half load; what the way without a proxy takes is in both sides of the comparison."""
    p99 = {n: results.latency(half.name, n).percentile(99) for n in _others(results, half)}
    best = min(p99, key=lambda name: p99[name], default=None)
    value = results.latency_ratio(half.name, REMORA, best, 99) if best else None
    return Verdict("p99 at half load against the best peer", 1.0, "x", value, best or "")
