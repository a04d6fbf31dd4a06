"""How each picture is drawn: axes in, nothing out. Which ones a report has: `charts.py`.

Peers keep their colours and their order in all of them.
"""

import textwrap
from collections.abc import Sequence
from math import log10
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.histogram import Histogram
from bench.recorded import Report
from bench.summary import NONE, Figure
from bench.verdicts import MB
from bench.workloads import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that colour-blind people tell apart (Okabe and Ito).
COLOURS: Final = {
    "remora": "#d55e00",
    "haproxy": "#0072b2",
    "nginx": "#009e73",
    "envoy": "#cc79a7",
    "haproxy-bulk": "#56b4e9",
    "nginx-bulk": "#f0e442",
    NONE: "#999999",
}
OTHERS: Final = ("#e69f00", "#000000", "#882255", "#44aa99")  # of peers that are not known here
DARK: Final = "#555555"
PERCENTS: Final = (1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
TICKS: Final = (50, 90, 99, 99.9, 99.99)
BEYOND_MIN: Final = 5  # values that a percentile must leave above it to mean something
LABEL_COLUMNS: Final = 34


def colour(peer: str) -> str:
    """Return that of a peer."""
    return COLOURS.get(peer) or OTHERS[sum(map(ord, peer)) % len(OTHERS)]


def peers(report: Report, works: Sequence[Workload]) -> list[str]:
    """Return who did any of this work through a process, in the order of the colours."""
    names = {work.name for work in works}
    seen = {s.peer for s in report.results.samples if s.workload in names}
    known = [peer for peer in COLOURS if peer in seen and peer != NONE]
    return known + sorted(seen - set(COLOURS))


def grouped(
    rows: dict[str, list[Figure | None]], labels: Sequence[str], axes: "Axes", unit: str
) -> None:
    """Draw bars with their spread: a group for each label, a bar for each name of `rows`."""
    height = 0.8 / len(rows)
    for place, (name, figures) in enumerate(rows.items()):
        found = [(n + place * height, f) for n, f in enumerate(figures) if f]
        middle = [f.median for _, f in found]
        spread = [[f.median - f.low for _, f in found], [f.high - f.median for _, f in found]]
        style: dict[str, Any] = {"color": colour(name), "ecolor": DARK, "error_kw": {"lw": 0.8}}
        axes.barh([at for at, _ in found], middle, height, xerr=spread, label=name, **style)
    wrapped = [textwrap.fill(label, LABEL_COLUMNS) for label in labels]
    axes.set_yticks([n + 0.4 - height / 2 for n in range(len(labels))], wrapped)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(unit)


def bars(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw CPU a unit of work, with the spread over rounds."""
    rows = {p: [report.results.cpu_us(w, p) for w in works] for p in peers(report, works)}
    grouped(rows, [w.title for w in works], axes, f"CPU us a {works[0].unit}, lowest to highest")


def curve(histogram: Histogram, axes: "Axes", name: str, shade: str) -> None:
    """Draw the percentiles of a latency, as far as there are values beyond them."""
    kept = [p for p in PERCENTS if histogram.count * (1 - p / 100) >= BEYOND_MIN]
    values = [histogram.percentile(p) / 1e6 for p in kept]
    axes.plot([_stretched(p) for p in kept], values, label=name, color=shade)


def curves(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw latencies of one work up to p99.99; the axis gives each nine as much room."""
    (work,) = works
    for peer in (*peers(report, works), NONE):
        latency = report.results.latency(work.name, peer)
        if latency.count:
            curve(latency, axes, peer, colour(peer))
    offered = max(s.offered_rate for s in report.results.samples if s.workload == work.name)
    percentile_axes(axes)
    axes.set_title(f"{work.name}: {offered:,.0f} a second", fontsize=9)


def percentile_axes(axes: "Axes") -> None:
    """Lay out the axes of latency curves."""
    axes.set_xticks([_stretched(p) for p in TICKS], [f"{p:g}" for p in TICKS])
    axes.set_xlim(0, _stretched(TICKS[-1]) * 1.03)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_plainly)
    axes.yaxis.set_minor_formatter("")
    axes.set_xlabel("percentile")
    axes.set_ylabel("ms")


def _stretched(percent: float) -> float:
    return -log10(1 - percent / 100)


def _plainly(value: float, _: float) -> str:
    return f"{value:g}"


def growth(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw CPU a request against the number of connections."""
    held = {s.workload: s.connections for s in report.results.samples}
    for peer in peers(report, works):
        found = [(held[w.name], report.results.cpu_us(w, peer)) for w in works]
        _line([(n, f) for n, f in sorted(found, key=lambda each: each[0]) if f], peer, axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_plainly)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections")
    axes.set_ylabel("CPU us a request")


def services(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw CPU a request against the number of Services."""
    for peer in peers(report, works[-1:]):
        found = [(n, report.results.cpu_us(w, peer)) for n, w in enumerate(works)]
        _line([(n, f) for n, f in found if f], peer, axes)
    words = {0: "no Service", 1: "one Service"}
    labels = [words.get(w.services, f"{w.services:,} Services") for w in works]
    axes.set_xticks(range(len(works)), labels)
    axes.set_xlim(-0.5, len(works) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("CPU us a request")


def _line(points: Sequence[tuple[float, Figure]], peer: str, axes: "Axes") -> None:
    middle = [f.median for _, f in points]
    spread = [[f.median - f.low for _, f in points], [f.high - f.median for _, f in points]]
    style: dict[str, Any] = {"marker": "o", "ms": 4, "capsize": 2, "elinewidth": 0.8}
    axes.errorbar([n for n, _ in points], middle, spread, label=peer, color=colour(peer), **style)


def memory(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw memory against connections, idle and all used before; what one more takes is told."""
    for peer in peers(report, works):
        samples = [s for w in works for s in report.results.of(w.name, peer) if s.memory.pss]
        points: dict[int, list[float]] = {0: [s.memory.pss / MB for s in samples]}
        for sample in samples:
            points.setdefault(sample.connections, []).append(sample.memory_loaded.pss / MB)
        found = sorted((n, median(values)) for n, values in points.items())
        (_, rest), (most, high) = found[0], found[-1]
        label = f"{peer}: {(high - rest) * MB / most:,.0f} B a connection"
        axes.plot(*zip(*found, strict=True), marker="o", ms=4, label=label, color=colour(peer))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections, idle")
    axes.set_ylabel("PSS, MB")


def lookups(report: Report, axes: "Axes") -> None:
    """Draw what a decision of the data plane takes against the number of Services."""
    for shade, name in zip(OTHERS, ("address", "name", "balance"), strict=False):
        rows = report.document["sizes"]
        points = [(row["services"], row[f"{name}_ns"]) for row in rows]
        axes.plot(*zip(*points, strict=True), marker="o", ms=4, label=name, color=shade)
    _against_services(axes, "ns in the data plane")
    axes.set_ylim(bottom=0)


def builds(report: Report, axes: "Axes") -> None:
    """Draw what a snapshot takes against the number of Services."""
    shades = zip(OTHERS, (("build_ms", "build, ms"), ("memory_kib", "memory, KiB")), strict=False)
    for shade, (key, label) in shades:
        rows = report.document["sizes"]
        points = [(row["services"], row[key]) for row in rows if row[key]]  # less than a page is 0
        axes.plot(*zip(*points, strict=True), marker="o", ms=4, label=label, color=shade)
    _against_services(axes, "of one snapshot")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_plainly)


def _against_services(axes: "Axes", label: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_plainly)
    axes.set_xlabel("Services of ten endpoints each")
    axes.set_ylabel(label)


def ratios(report: Report, axes: "Axes") -> None:
    """Draw CPU a request with many Services against one, pair by pair, in order."""
    found = sorted(many / one for one, many in report.document["cpu_us_pairs"])
    places = [100 * (n + 0.5) / len(found) for n in range(len(found))]
    axes.plot(places, found, marker=".", color=COLOURS["remora"], label="5,000 Services / one")
    axes.axhline(1, color=DARK, linewidth=0.8)
    axes.axhline(median(found), color=DARK, linewidth=0.8, linestyle=":", label="median")
    axes.set_xlabel("percent of the pairs")
    axes.set_ylabel("ratio of CPU a request")


def changes(report: Report, axes: "Axes") -> None:
    """Draw latencies while nothing changes, and while a Service changes each second."""
    for shade, (name, buckets) in zip(OTHERS, report.document["latency_ns"].items(), strict=False):
        curve(Histogram(buckets), axes, name, shade)
    percentile_axes(axes)


def buyers(report: Report, axes: "Axes") -> None:
    """Draw what buyers of the shop waited for."""
    for shade, (mode, found) in zip(OTHERS, report.document["modes"].items(), strict=False):
        times = sorted((int(float(ms) * 1e6), n) for ms, n in found["times_ms"].items())
        histogram = Histogram([[ns, ns + 1, n] for ns, n in times])
        good = 100 - 100 * found["failures"] / found["requests"]
        curve(histogram, axes, f"{mode}: {good:.1f} % good", shade)
    percentile_axes(axes)


def starts(report: Report, axes: "Axes") -> None:
    """Draw what a pod waits for."""
    steps = report.document["steps"]
    figures = [Figure.of(each["wall_ms"] for each in found) for found in steps.values()]
    grouped({"remora": figures}, list(steps), axes, "ms from exec to ready, lowest to highest")
