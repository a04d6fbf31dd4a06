"""Pictures of reports: `python -m bench.charts REPORT.json [...] [--out DIR]`, as SVG and PNG.

CPU a request of each peer at each work, with the spread over rounds; latency curves of open loops
up to p99.99; CPU a request, and memory, against the number of connections. Only what a report has
is drawn. Peers keep their colours and their order in all of them.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from math import log10
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.histogram import Histogram
from bench.workloads import MIB, WORKLOADS, Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Report = dict[str, Any]
Samples = list[dict[str, Any]]

# Colours that colour-blind people tell apart (Okabe and Ito).
COLOURS: Final = {
    "remora": "#d55e00",
    "haproxy": "#0072b2",
    "nginx": "#009e73",
    "envoy": "#cc79a7",
    "haproxy-bulk": "#56b4e9",
    "nginx-bulk": "#f0e442",
    "none": "#999999",
}
PERCENTS: Final = (1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
TICKS: Final = (50, 90, 99, 99.9, 99.99)
CURVE_POINTS_MIN: Final = 3
WIDTH: Final = 8.0  # inches
EXIT_UNAVAILABLE: Final = 69


def of(report: Report, workload: str, peer: str) -> Samples:
    """Return the samples of a peer at a work."""
    wanted = (workload, peer)
    return [each for each in report["samples"] if (each["workload"], each["peer"]) == wanted]


def peers(report: Report, works: Iterable[Workload]) -> list[str]:
    """Return who did any of this work and used CPU for it, in the order of the colours."""
    names = {work.name for work in works}
    seen = {each["peer"] for each in report["samples"] if each["workload"] in names}
    return [peer for peer in COLOURS if peer in seen and peer != "none"]


def cpu(sample: dict[str, Any], work: Workload) -> float:
    """Return CPU us of the proxy for a unit of work."""
    units: float = sample["bytes"] / MIB if work.unit == "MiB" else sample["requests"]
    return float(sample["proxy"]["total_ns"]) / 1000 / units


def bars(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw CPU a unit of work: a group for each work, a bar for each peer."""
    names = peers(report, works)
    height = 0.8 / len(names)
    for place, peer in enumerate(names):
        rows = [
            (n, sorted(cpu(s, w) for s in of(report, w.name, peer))) for n, w in enumerate(works)
        ]
        rows = [(n, found) for n, found in rows if found]
        middle = [median(found) for _, found in rows]
        spread = [
            [m - found[0] for m, (_, found) in zip(middle, rows, strict=True)],
            [found[-1] - m for m, (_, found) in zip(middle, rows, strict=True)],
        ]
        at = [n + place * height for n, _ in rows]
        axes.barh(
            at, middle, height, xerr=spread, color=COLOURS[peer], label=peer, ecolor="#555555"
        )
    axes.set_yticks([n + 0.4 - height / 2 for n in range(len(works))], [w.title for w in works])
    axes.invert_yaxis()
    axes.set_xlabel(f"CPU us a {works[0].unit}, median and spread of rounds")


def curves(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw latency against its percentile, on an axis that stretches the tail."""
    (work,) = works
    for peer in ("none", *peers(report, works)):
        buckets = report["latency_ns"].get(f"{work.name} {peer}")
        if buckets:
            histogram = Histogram(buckets)
            found = [histogram.percentile(percent) / 1e6 for percent in PERCENTS]
            axes.plot([_stretched(p) for p in PERCENTS], found, label=peer, color=COLOURS[peer])
    axes.set_xticks([_stretched(p) for p in TICKS], [f"p{p}" for p in TICKS])
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.set_title(work.title)


def _stretched(percent: float) -> float:
    return -log10(1 - percent / 100)


def growth(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw CPU a request against the number of connections."""
    for peer in peers(report, works):
        rows = [(w.connections, [cpu(s, w) for s in of(report, w.name, peer)]) for w in works]
        points = sorted((n, median(found)) for n, found in rows if found)
        axes.plot(*zip(*points, strict=True), marker="o", label=peer, color=COLOURS[peer])
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections")
    axes.set_ylabel("CPU us a request")


def memory(report: Report, works: Sequence[Workload], axes: "Axes") -> None:
    """Draw memory at rest and with the connections of the work, which have all been used."""
    (work,) = works
    for peer in peers(report, works):
        found = of(report, work.name, peer)
        points = [(0, median(each["memory"]["pss"] for each in found) / 1e6)]
        held = median(each["connections"] for each in found)
        points.append((held, median(each["memory_loaded"]["pss"] for each in found) / 1e6))
        axes.plot(*zip(*points, strict=True), marker="o", label=peer, color=COLOURS[peer])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections, idle")
    axes.set_ylabel("PSS, MB")
    axes.set_title(work.title)


Draw = Callable[[Report, Sequence[Workload], "Axes"], None]


def plan(report: Report) -> list[tuple[str, Draw, list[Workload]]]:
    """Return what can be drawn of a report: a name, how, and of which work."""
    seen = {each["workload"] for each in report["samples"]}
    works = [work for work in WORKLOADS if work.name in seen and not work.idle]
    closed = [work for work in works if not work.half_of]
    made: list[tuple[str, Draw, list[Workload]]] = []
    made += [
        (f"cpu-{unit.lower()}", bars, [work for work in closed if work.unit == unit])
        for unit in dict.fromkeys(work.unit for work in closed)
    ]
    made += [(f"latency-{work.name}", curves, [work]) for work in works if work.half_of]
    same = [
        work for work in closed if work.family.name == "http" and work.title.startswith("1 KiB")
    ]
    if len(same) >= CURVE_POINTS_MIN:
        made.append(("growth", growth, same))
    idle = [work for work in WORKLOADS if work.name in seen and work.idle]
    return made + [(f"memory-{work.name}", memory, [work]) for work in idle]


def draw(report: Report, stem: str, directory: Path) -> list[Path]:
    """Draw all that can be drawn; return the files."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, and tests of the plan want none of it

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "remora", "font.size": 9, "axes.spines.top": False})
    from matplotlib import pyplot as plt  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for name, how, works in plan(report):
        high = 1.5 + 0.25 * len(works) * len(peers(report, works)) if how is bars else 4.0
        figure, axes = plt.subplots(figsize=(WIDTH, max(high, 2.5)), layout="constrained")
        how(report, works, axes)
        axes.legend(frameon=False)
        axes.grid(axis="x" if how is bars else "y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        origin = f"{report['title']}, {report['date']}, {report['machine']['processor']}"
        figure.suptitle(origin, x=0.01, ha="left", fontsize=7, color="#666666")
        for suffix in ("svg", "png"):
            files.append(directory / f"{stem}-{name}.{suffix}")
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(files[-1], metadata=metadata, dpi=110)
        plt.close(figure)
    return files


def main() -> int:
    """Draw the reports of the command line."""
    parser = argparse.ArgumentParser("python -m bench.charts", description=__doc__)
    parser.add_argument("reports", nargs="+", type=Path, help="bench/reports/*.json")
    parser.add_argument("--out", type=Path, help="default: beside each report, in charts/")
    chosen = parser.parse_args()
    for path in chosen.reports:
        try:
            report = json.loads(path.read_text())
            files = draw(report, path.stem, chosen.out or path.parent / "charts")
        except ImportError:
            sys.stderr.write("matplotlib is missing: pip install matplotlib\n")
            return EXIT_UNAVAILABLE
        except (OSError, ValueError, KeyError) as fault:
            sys.stderr.write(f"{path}: is no report: {fault!r}\n")
            return 1
        sys.stdout.writelines(f"{file}\n" for file in files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
