"""One measurement: a fresh upstream, a fresh process of the peer, one workload, one sample."""

import contextlib
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bench.generator import Ends, Generator, Outcome, Timing, generator
from bench.histogram import Histogram
from bench.manifests import changing
from bench.peer import Peer
from bench.proc import Cpu, Memory, busiest, busy_ns, cpu, memory, stolen_ns, threads
from bench.running import Cores, Place, Running, deployed, upstream
from bench.scraper import Scrape, Scraper, scraping
from bench.series import SERVICES, provoke
from bench.workloads import MIB, Workload

SETTLED_NS: Final = 200_000  # CPU in one pause below which a proxy counts as at rest
SETTLE_PAUSE_SECONDS: Final = 0.02
SETTLE_PAUSES_MAX: Final = 50


@dataclass(frozen=True)
class Sample:
    """Everything one measurement saw; raw material of every figure. CPU in ns, memory in bytes."""

    workload: str
    peer: str
    round: int
    answer_ms: float | None = None
    ready_ms: float | None = None
    memory: Memory = field(default_factory=Memory)  # at rest, one answer given, before the load
    memory_loaded: Memory = field(default_factory=Memory)  # connections open, all of them idle
    proxy: Cpu = field(default_factory=Cpu)
    waited_ns: int = 0  # the proxy's busiest thread could run, but waited for its core
    load_ns: int = 0  # CPU of generator and upstream together
    stolen_ns: int = 0  # what the hypervisor took from our cores
    others_ns: int = 0  # CPU that anything else took on our cores
    offered_rate: float = 0.0
    requests: int = 0
    unsent: int = 0
    bytes: int = 0
    connections: int = 0
    elapsed_seconds: float = 0.0
    latency: Histogram = field(default_factory=lambda: Histogram([]))
    lag: Histogram = field(default_factory=lambda: Histogram([]))
    scrape: Scrape = field(default_factory=Scrape)
    ends: Ends = field(default_factory=Ends)  # of a proxy that is drained or reloaded
    exit_ms: float | None = None  # from being told to end to its end
    began_at: float = 0.0  # of the measured time, in seconds of the world's clock

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def waited_us(self) -> float:
        """Microseconds a second that the busiest thread waited for its core."""
        return self.waited_ns / 1000 / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def stolen_ms(self) -> float:
        """Milliseconds a second that the hypervisor took from our two cores together."""
        return self.stolen_ns / 1e6 / self.elapsed_seconds if self.elapsed_seconds else 0.0

    def units(self, unit: str) -> float:
        """Work done: MiB, or exchanges by whatever name."""
        return self.bytes / MIB if unit == "MiB" else self.requests

    def as_json(self) -> dict[str, Any]:
        """For the raw data."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """What is the same for all measurements of a run."""

    cores: Cores
    connections_allowed: int  # every peer is sized for this many
    identities: Path = Path()  # folder of those that mutual TLS needs

    def place(self, upstream_port: int, workload: Workload) -> Place:
        """Tell where a peer is started for that work."""
        return Place(
            *(upstream_port, self.connections_allowed, self.cores.proxy, workload.family),
            services=SERVICES if workload.scraped else 0,
            manifests=workload.services,
            reloads=workload.reloaded,
            drains=workload.drained,
            identities=self.identities,
        )


def measure(bench: Bench, peer: Peer, workload: Workload, timing: Timing) -> Sample:
    """Run `workload` through `peer`; `timing.seed` is the number of the round."""
    with (
        upstream(bench.cores.load, workload.family) as (upstream_port, upstream_pid),
        deployed(peer, workload, bench.place(upstream_port, workload)) as proxy,
    ):
        sample = Sample(workload.name, peer.name, timing.seed, proxy.answer_ms, proxy.ready_ms)
        if proxy.pids:
            settle(proxy.pids)
            sample = replace(sample, memory=memory(*proxy.pids))
        if workload.scraped:
            provoke(proxy.port, proxy.service_ports)
        core, identities = bench.cores.load, bench.identities
        with generator(proxy.port, workload, timing, core, identities) as warm:
            if proxy.pids:
                settle(proxy.pids)
                sample = replace(sample, memory_loaded=memory(*proxy.pids))
            sample = replace(sample, offered_rate=timing.rate, connections=workload.connections)
            sample = replace(sample, began_at=time.time())
            if workload.idle:
                return sample
            with (
                _scraper(workload, peer, proxy, core) as scraper,
                changing(proxy.manifests if workload.changed else None, upstream_port),
            ):
                return _run(sample, warm, proxy.pids, upstream_pid, bench.cores, scraper)


def _scraper(
    workload: Workload, peer: Peer, proxy: Running, core: int
) -> contextlib.AbstractContextManager[Scraper | None]:
    if not workload.scraped or peer.metrics_path is None:
        return contextlib.nullcontext()
    return scraping(proxy.admin_port, peer.metrics_path, core)


def _run(
    sample: Sample,
    warm: Generator,
    proxy: tuple[int, ...],
    upstream_pid: int,
    cores: Cores,
    scraper: Scraper | None,
) -> Sample:
    """Read all clocks before and after the measured time, both while nothing is in flight."""
    load = (upstream_pid, warm.pid, *([scraper.pid] if scraper else []))
    if scraper and proxy:
        settle(proxy)
    proxy_before, load_before = cpu(*proxy), cpu(*load).total_ns
    threads_before = threads(*proxy)
    ours = (cores.load, cores.proxy)
    # Last, and first again below: the readings themselves take CPU, which is not noise.
    stolen_before, busy_before = stolen_ns(ours), busy_ns(ours)
    if scraper:
        scraper.begin()
    outcome: Outcome = warm.measure()
    busy, stolen = busy_ns(ours) - busy_before, stolen_ns(ours) - stolen_before
    if proxy:
        settle(proxy)  # connections that it still closes belong to the work
    used = cpu(*proxy) - proxy_before
    worker = busiest(threads_before, threads(*proxy))
    load_ns = cpu(*load).total_ns - load_before
    return replace(
        sample,
        scrape=scraper.end() if scraper else Scrape(),
        proxy=used,
        waited_ns=worker.waited_ns,
        load_ns=load_ns,
        stolen_ns=stolen,
        others_ns=max(0, busy - used.total_ns - load_ns),
        requests=outcome.requests,
        unsent=outcome.unsent,
        bytes=outcome.bytes,
        elapsed_seconds=outcome.elapsed_seconds,
        latency=outcome.latency,
        lag=outcome.lag,
    )


def settle(pids: tuple[int, ...]) -> None:
    """Wait until the proxy stands still: a pause in which it used no CPU worth a word."""
    used = cpu(*pids).total_ns
    for _ in range(SETTLE_PAUSES_MAX):
        time.sleep(SETTLE_PAUSE_SECONDS)
        now = cpu(*pids).total_ns
        if now - used < SETTLED_NS:
            return
        used = now
