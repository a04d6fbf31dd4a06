"""The tables of a report: one for each kind of work, one for the starts, and the budgets."""

from collections.abc import Callable, Sequence
from typing import Final

from bench.calls import Calls
from bench.limits import REASONS
from bench.measure import Sample
from bench.peer import Peer
from bench.proof import TRIED, Proof
from bench.rounds import FAULTS_MAX, Fault
from bench.series import SERVICES
from bench.summary import NONE, REMORA, Figure, Results
from bench.table import Table
from bench.table import number as _number
from bench.verdicts import MB, Verdict
from bench.workloads import HTTP_HALF, HTTP_SERVICES_HALF, MTLS, Workload

LACKING: Final = "-"
US: Final = 1000  # ns
ALL: Final = frozenset({0, 1})
STOLEN: Final = (
    "stolen: what the hypervisor took from the two cores together; whoever was asked then waited"
)
CALLS_SHOWN_MIN: Final = 0.05  # for one unit of work


def all_tables(
    results: Results, workloads: Sequence[Workload], budgets: Sequence[Verdict]
) -> list[Table]:
    """In the order in which they are read."""
    work = [w for w in workloads if results.peers(w.name)]
    return [
        *(_idle(results, w) if w.idle else _work(results, w) for w in work if not w.restless),
        *(_ends(results, w) for w in work if w.restless),
        *(_scrapes(results, w) for w in work if w.scraped),
        *(_changes(results, w) for w in work if w.changed),
        *(
            [_starts(results)]
            if _alone(work) and any(s.memory.pss for s in results.samples)
            else []
        ),
        _budgets(budgets),
    ]


def _alone(work: Sequence[Workload]) -> bool:
    """Whether a start is that of one process: with mutual TLS it may be that of a pair."""
    return all(w.family != MTLS for w in work)


def extras(peers: Sequence[Peer]) -> Table:
    """What makes the comparison uneven, said before the figures."""
    rows = [[peer.name, peer.http_extras] for peer in peers if peer.http_extras]
    notes = ["no peer writes an access log; what a peer lacks here it does not pay for"]
    return Table("Done for each request besides passing it on", ["peer", "what"], rows, notes, ALL)


def agreed(proofs: Sequence[Proof]) -> Table:
    """What each pair agreed on, and whom each side turned away when asked before the run."""
    rows = []
    for proof in proofs:
        met = [proof.hello.version, proof.hello.cipher, proof.hello.group]
        refused = ["accepted" if name in proof.accepted else "refused" for name in TRIED]
        rows.append([proof.peer, proof.library, *met, *refused])
    headers = ["peer", "TLS library", "version", "cipher", "group", *TRIED]
    notes = [
        "version, cipher and group are read from the server's hello between the two sidecars",
        "at mtls-new and mtls-idle every peer agrees on X25519 and sees the same hello of a client",
        "a run ends at once where anything is accepted but the other name",
    ]
    return Table("Mutual TLS, asked before the run", headers, rows, notes, frozenset(range(11)))


def _median(figure: Figure | None) -> str:
    return _number(figure.median) if figure else LACKING


def _spread(figure: Figure | None) -> str:
    return f"{_number(figure.low)}..{_number(figure.high)}" if figure else LACKING


def _work(results: Results, workload: Workload) -> Table:
    peers = results.peers(workload.name)
    best = results.best(workload, [p for p in peers if p not in {NONE, REMORA}])
    unit = workload.unit
    headers = ["peer", f"CPU us/{unit}", "spread", "user", "x haproxy", "x best", "all x none"]
    headers += [f"{unit}/s", "p50 us", "p90 us", "p99 us", "p99.9 us", f"load us/{unit}"]
    headers += ["stolen ms/s", "spread"] if workload.half_of else []
    rows = []
    doubted: dict[str, list[str]] = {}
    for peer in peers:
        found = results.doubts(workload.name, peer)
        for doubt in found:
            doubted.setdefault(doubt, []).append(peer)
        cells = _work_cells(results, workload, peer, best)
        if workload.half_of:
            stolen = results.stolen_ms(workload.name, peer)
            cells += [_median(stolen), _spread(stolen)]
        rows.append([peer + "*" * bool(found), *cells])
    notes = [f"* {', '.join(names)}: {REASONS[doubt]}" for doubt, names in doubted.items()]
    if workload.half_of:
        notes.append(STOLEN)
    if best:
        notes.insert(0, f"best peer: {best}; ratios are medians of the ratios within each round")
    held = min(s.connections for s in results.samples if s.workload == workload.name)
    if held < workload.connections:
        notes.insert(0, f"{held:,} connections: the limit of open files allows no more")
    rate = next((s.offered_rate for s in results.samples if s.workload == workload.name), 0)
    if rate:
        notes.insert(0, f"offered: {rate:,.0f} requests a second at random, to every peer")
    return Table(f"{workload.title} ({workload.name})", headers, rows, notes)


def _work_cells(results: Results, workload: Workload, peer: str, best: str | None) -> list[str]:
    samples = results.of(workload.name, peer)
    units = [s.units(workload.unit) for s in samples]
    rate = Figure.of(u / s.elapsed_seconds for u, s in zip(units, samples, strict=True))
    cpu = results.cpu_us(workload, peer)
    latency = results.latency(workload.name, peer)
    return [
        _median(cpu),
        _spread(cpu),
        f"{results.user_share(workload, peer):.0%}" if cpu else LACKING,
        _median(results.cpu_ratio(workload, peer, "haproxy")),
        _median(results.cpu_ratio(workload, peer, best)) if best else LACKING,
        _median(results.whole_ratio(workload, peer)),
        _median(rate),
        *(_number(latency.percentile(percent) / US) for percent in (50, 90, 99, 99.9)),
        _median(results.load_us(workload, peer)),
    ]


def _idle(results: Results, workload: Workload) -> Table:
    rows = []
    count = 0
    for peer in results.peers(workload.name):
        samples = results.of(workload.name, peer)
        count = samples[0].connections
        bytes_each = results.connection_bytes(workload.name, peer)
        sizes = [
            Figure.of(size / MB for size in found)
            for found in (
                [s.memory.pss for s in samples],
                [s.memory_loaded.pss for s in samples],
                [s.memory_loaded.private for s in samples],
            )
        ]
        rows.append([peer, _median(bytes_each), _spread(bytes_each), *map(_median, sizes)])
    notes = ["what the kernel holds for the sockets is not in it and is the same for all"]
    if count < workload.connections:
        notes.insert(0, f"fewer than {workload.connections:,}: the limit of open files")
    headers = ["peer", "bytes/connection", "spread", "PSS MB at rest", "PSS MB with all"]
    headers += ["private MB with all"]
    what = workload.title[0].lower() + workload.title[1:]
    return Table(f"{count:,} {what} ({workload.name})", headers, rows, notes)


def _ends(results: Results, workload: Workload) -> Table:
    """What became of requests while the proxy ended, or took another configuration."""
    rows = []
    for peer in results.peers(workload.name):
        samples = results.of(workload.name, peer)
        lost = [sum(counts) for counts in zip(*map(_lost, samples), strict=True)]
        found = [sum(s.requests for s in samples), sum(lost), *lost]
        found += [sum(s.ends.resent for s in samples)]
        cells = [f"{count:,}" for count in found]
        if workload.drained:
            exits = Figure.of(s.exit_ms for s in samples if s.exit_ms is not None)
            by_first = Figure.of(s.ends.by_first for s in samples)
            cells += [_median(by_first), _median(exits), _spread(exits)]
        latency = results.latency(workload.name, peer)
        cells += [_number(latency.percentile(percent) / US) for percent in (50, 99)]
        quiet = results.latency(HTTP_HALF.name, peer).percentile(99)
        rows.append([peer, *cells, _number(quiet / US) if quiet else LACKING])
    headers = ["peer", "answered", "lost", "refused", "cut", "status", "resent"]
    if workload.drained:
        headers += ["by the old one", "exit ms", "spread"]
    headers += ["p50 us", "p99 us", f"p99 us at {HTTP_HALF.name}"]
    rate = max(s.offered_rate for s in results.samples if s.workload == workload.name)
    notes = [
        f"offered: {rate:,.0f} requests a second at random; counts are of all rounds together",
        "lost: refused, cut short (on a new connection, or in the answer), or of another status",
        "resent: a kept connection ended before a byte of the answer, so the request was repeated",
    ]
    if workload.drained:
        notes.append("by the old one: answers after it was told; exit: from being told to its end")
    return Table(f"{workload.title} ({workload.name})", headers, rows, notes)


def _lost(sample: Sample) -> tuple[int, int, int]:
    return sample.ends.refused, sample.ends.cut, sample.ends.status


def failed(faults: Sequence[Fault]) -> Table:
    """Measurements that have no figures."""
    rows = [[f.workload, f.peer, str(f.round), " ".join(f.text.split())[:300]] for f in faults]
    headers = ["workload", "peer", "round", "what was said"]
    notes = [f"a peer that failed {FAULTS_MAX} times at a workload was not asked again"]
    words = frozenset({0, 1, 3})
    return Table("Failed measurements: not in any figure", headers, rows, notes, words)


def _scrapes(results: Results, workload: Workload) -> Table:
    """What scrapes were like, and what they did to the latency of the same peer in that round."""
    rows = []
    for peer in results.peers(workload.name):
        scrapes = [s.scrape for s in results.of(workload.name, peer)]
        moved = results.latency_moved(peer, workload.name, HTTP_HALF.name, 99)
        cells = [f"{max(s.series for s in scrapes):,}", str(sum(s.count for s in scrapes))]
        cells += [_number(max(s.ms_max for s in scrapes))]
        cells += [
            _number(results.latency(name, peer).percentile(99) / US) if moved else LACKING
            for name in (HTTP_HALF.name, workload.name)
        ]
        cells += [_median(moved), _spread(moved)]
        for name in (HTTP_HALF.name, workload.name):
            waited = results.waited_us(name, peer)
            cells += [_median(waited), _spread(waited)]
        rows.append([peer, *cells])
    headers = ["peer", "series", "scrapes", "longest ms", "p99 us without", "p99 us with"]
    headers += ["ratio", "spread", "worker waited us/s without", "spread", "with", "spread"]
    notes = [
        "ratio: of the p99 of all rounds together; its spread is that of single rounds",
        "worker waited: the proxy's busiest thread could run, but something else had its core",
        "every peer had answered with every status before, and had been left by downstreams",
        f"remora knew {SERVICES} services, and each had been called",
    ]
    return Table("Scrapes", headers, rows, notes)


def _changes(results: Results, workload: Workload) -> Table:
    """What reading, modelling and publishing did to the latency of requests."""
    quiet = HTTP_SERVICES_HALF.name
    rows = []
    for peer in results.peers(workload.name):
        moved = results.latency_moved(peer, workload.name, quiet, 99)
        cells = [
            _number(results.latency(name, peer).percentile(percent) / US) if moved else LACKING
            for percent in (50, 99)
            for name in (quiet, workload.name)
        ]
        cells += [_median(moved), _spread(moved)]
        for name in (quiet, workload.name):
            waited = results.waited_us(name, peer)
            cells += [_median(waited), _spread(waited)]
        rows.append([peer, *cells])
    headers = ["peer", "p50 us without", "p50 us with", "p99 us without", "p99 us with", "ratio"]
    headers += ["spread", "worker waited us/s without", "spread", "with", "spread"]
    notes = [
        "the thread that reads manifests has the proxy's one core in turns with the worker",
        "ratio: of the p99 of all rounds together; its spread is that of single rounds",
    ]
    return Table("Changes of one of 5,000 Services", headers, rows, notes)


def _starts(results: Results) -> Table:
    peers = list(dict.fromkeys(s.peer for s in results.samples if s.memory.pss))
    rows = []
    for peer in peers:

        def of(value: Callable[..., float | None], peer: str = peer) -> Figure | None:
            return results.starts(peer, value)

        answer = of(lambda s: s.answer_ms)
        cells = [_median(answer), _spread(answer), _median(of(lambda s: s.ready_ms))]
        cells += [
            _median(of(lambda s: s.memory.pss / MB)),
            _median(of(lambda s: s.memory.rss / MB)),
        ]
        rows.append([peer, *cells, _median(of(lambda s: s.memory.private / MB))])
    headers = ["peer", "first answer ms", "spread", "/ready ms", "PSS MB", "RSS MB", "private MB"]
    notes = ["times count from exec, memory after one answer; every measurement began with a start"]
    return Table("Start and rest", headers, rows, notes)


def system_calls(counted: Sequence[Calls]) -> Table:
    """What each peer asks of the kernel for one unit of each work."""
    rows = []
    for calls in counted:
        each = calls.each()
        frequent = [f"{name} {n:.2f}" for name, n in each.items() if n >= CALLS_SHOWN_MIN]
        row = [calls.workload, calls.peer, f"{_number(sum(each.values()))}/{calls.unit}"]
        rows.append([*row, ", ".join(frequent)])
    headers = ["workload", "peer", "calls", f"those of {CALLS_SHOWN_MIN} and more"]
    notes = ["runs under strace: slow proxies wait less often than they would, and do more at once"]
    return Table("System calls", headers, rows, notes, frozenset({0, 1, 3}))


def _budgets(budgets: Sequence[Verdict]) -> Table:
    rows = []
    for budget in budgets:
        word = budget.word + (", rounds differ" if budget.close else "")
        measured = f"{_median(budget.value)} {budget.unit}" if budget.value else LACKING
        rows.append([budget.title, measured, _number(budget.limit), word, budget.note])
    headers = ["budget", "measured", "at most", "verdict", "note"]
    return Table("Budgets", headers, rows, words=frozenset({0, 3, 4}))
