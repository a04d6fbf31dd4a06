"""The budgets, in one place, and held against a run: met, missed, or not measured.

Same machine, same run, one worker, keep-alive, small bodies; CPU is that of the proxy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.summary import NONE, REMORA, Figure, Results
from bench.workloads import (
    BULK_DOWN,
    BULK_UP,
    HALF,
    HTTP,
    HTTP_64,
    HTTP_5000,
    HTTP_DOWN,
    HTTP_HALF,
    HTTP_POST,
    HTTP_SCRAPE,
    HTTP_SERVICE,
    HTTP_SERVICES,
    HTTP_UP,
    IDLE,
    MTLS,
    MTLS_64,
    MTLS_DOWN,
    MTLS_HALF,
    MTLS_IDLE,
    MTLS_UP,
    SMALL,
    SMALL_10000,
    TCP,
    WORKLOADS,
    Family,
    Workload,
)

MB = 1_000_000


class Budget(StrEnum):
    """What remora may cost, in the words of its design."""

    RELAY = "TCP relay, small messages: at most what HAProxy takes"
    BULK = "Bulk, a MiB: at most half of the best peer in clear, 0.9 x through mutual TLS"
    HTTP = "HTTP/1.1, all features on: at most 0.8 x HAProxy, 0.2 x Envoy"
    MTLS = "Mutual TLS, both sidecars together: at most 0.6 x HAProxy, 0.25 x Envoy"
    LATENCY = "Latency added at half load, p99: at most that of the best peer"
    REST = "At rest: PSS 32 MB, ready 400 ms after exec; an idle connection 1 KB, with TLS 16 KB"
    GROWTH = "As it grows: flat to 10,000 connections (5,000 of HTTP), and from 1 to 5,000 Services"


READY_MS_MAX = 400
INIT_MS_MAX = 300
PSS_MB_MAX = 32
FLAT = 1.10  # what is no more than this many times is flat: rounds of one peer differ by as much


@dataclass(frozen=True)
class Verdict:
    """One line of a budget. `value` and `limit` are in `unit`; `work` is the workload's name."""

    title: str
    limit: float
    unit: str
    value: Figure | None
    note: str = ""
    budget: Budget = Budget.REST
    work: str = ""

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
        _idle(results, "idle connection", 1024, IDLE),
        *_rest(results),
        _flat(results, "10,000 connections against 64", SMALL_10000, SMALL),
    ]


def _of_http(results: Results, variants: dict[str, str]) -> list[Verdict]:
    moved = results.latency_moved(REMORA, HTTP_SCRAPE.name, HTTP_HALF.name, 99)
    series = max((s.scrape.series for s in results.of(HTTP_SCRAPE.name, REMORA)), default=0)
    note = f"{series:,} series" if series else ""
    scraped = "p99 at half load while scraped against not scraped"
    return [
        _cpu(results, HTTP_64, 0.8, ["haproxy"], "HAProxy"),
        _cpu(results, HTTP_64, 0.2, ["envoy"], "Envoy"),
        _cpu(results, HTTP_POST, 0.8, ["haproxy"], "HAProxy"),
        _cpu(results, HTTP_POST, 0.2, ["envoy"], "Envoy"),
        *_bulk(results, (HTTP_DOWN, HTTP_UP), variants),
        _latency(results, HTTP_HALF),
        Verdict(scraped, 1.1, "x", moved, note, Budget.LATENCY, HTTP_SCRAPE.name),
        _cpu(results, HTTP_SERVICES, 0.8, ["haproxy"], "HAProxy"),
        *_rest(results),
        _flat(results, "5,000 connections against 64", HTTP_5000, HTTP_64),
        _flat(results, "5,000 Services against one", HTTP_SERVICES, HTTP_SERVICE),
    ]


def _of_mtls(results: Results, variants: dict[str, str]) -> list[Verdict]:
    """Handshakes have no budget: they stand beside those of the others."""
    return [
        _cpu(results, MTLS_64, 0.6, ["haproxy"], "HAProxy"),
        _cpu(results, MTLS_64, 0.25, ["envoy"], "Envoy"),
        *_bulk(results, (MTLS_DOWN, MTLS_UP), variants, 0.9),
        _latency(results, MTLS_HALF),
        _idle(results, "idle mutual TLS connection", 16_000, MTLS_IDLE),
    ]


def at_rest(results: Results) -> Results:
    """Pick what began with a process that knows no Services and has few series."""
    loaded = {work.name for work in WORKLOADS if work.services or work.scraped}
    return Results([s for s in results.samples if s.workload not in loaded])


def pss_mb(results: Results, peer: str) -> Figure | None:
    """Return the memory of a peer at rest; one without a process has none."""
    return at_rest(results).starts(peer, lambda s: s.memory.pss / MB if s.memory.pss else None)


def answer_ms(results: Results, peer: str) -> Figure | None:
    """Return the time from exec to the first answer."""
    return at_rest(results).starts(peer, lambda s: s.answer_ms)


def _rest(results: Results) -> list[Verdict]:
    shared = "shares pages of the interpreter with the harness: RSS is the upper bound"
    ready = at_rest(results).starts(REMORA, lambda s: s.ready_ms)
    answer, pss = answer_ms(results, REMORA), pss_mb(results, REMORA)
    return [
        Verdict("/ready after exec", READY_MS_MAX, "ms", ready),
        Verdict("first answer after exec", READY_MS_MAX, "ms", answer),
        Verdict("PSS at rest", PSS_MB_MAX, "MB", pss, shared),
    ]


def of_starts(steps: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Verdict]:
    """Hold what a pod waits for (`bench.start`) against its budgets."""
    made = []
    for name, rounds in steps.items():
        at_most = INIT_MS_MAX if name.startswith("init") else READY_MS_MAX
        wall = Figure.of(each["wall_ms"] for each in rounds)
        made.append(Verdict(f"{name}: ready", at_most, "ms", wall))
        pss = Figure.of(each["pss"] / MB for each in rounds if each["pss"])
        if pss:
            made.append(Verdict(f"{name}: PSS at rest", PSS_MB_MAX, "MB", pss))
    return made


def _idle(results: Results, title: str, limit: float, work: Workload) -> Verdict:
    value = results.connection_bytes(work.name, REMORA)
    return Verdict(title, limit, "B", value, "", Budget.REST, work.name)


def _flat(results: Results, what: str, work: Workload, to: Workload) -> Verdict:
    value = results.cpu_moved(REMORA, work, to)
    return Verdict(
        f"CPU a request with {what}", FLAT, "x", value, "", Budget.GROWTH, f"{work.name}, {to.name}"
    )


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
    return Verdict(title, limit, "x", value, best or "", _budget(workload), workload.name)


def _budget(workload: Workload) -> Budget:
    if workload.unit == "MiB":
        return Budget.BULK
    return {TCP: Budget.RELAY, HTTP: Budget.HTTP, MTLS: Budget.MTLS}[workload.family]


def _latency(results: Results, half: Workload) -> Verdict:
    """p99 at half load; what the way without a proxy takes is in both sides of the comparison."""
    p99 = {n: results.latency(half.name, n).percentile(99) for n in _others(results, half)}
    best = min(p99, key=lambda name: p99[name], default=None)
    value = results.latency_ratio(half.name, REMORA, best, 99) if best else None
    title = "p99 at half load against the best peer"
    return Verdict(title, 1.0, "x", value, best or "", Budget.LATENCY, half.name)
