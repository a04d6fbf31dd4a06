"""Pictures of reports: `python -m bench.charts [REPORT.json ...] [--out DIR] [--png]`.

CPU a request of each peer at each work, with the spread over rounds; latency curves of open loops
up to p99.99; CPU a request against the number of connections, and of Services; memory against
connections. Only what a report has is drawn. The same report gives the same bytes. `--save` of a
run draws them into a folder beside its report.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import plots
from bench.recorded import Report, files, load
from bench.workloads import HTTP_64, HTTP_SERVICE, HTTP_SERVICES, WORKLOADS, Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_POINTS_MIN: Final = 3
WIDTH: Final = 8.0  # inches
PANELS_MAX: Final = 3  # in a row
EXIT_UNAVAILABLE: Final = 69
STYLE: Final = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "svg.hashsalt": "remora",  # names inside are the same each time
}


@dataclass(frozen=True)
class Picture:
    """One file: panels side by side, each drawn by a function of its axes."""

    name: str
    panels: tuple[Callable[["Axes"], None], ...]
    height: float = 3.6  # inches
    across: bool = False  # whether figures lie along the x axis
    legends: bool = False  # whether each panel has its own
    sharey: bool = False


def plan(report: Report) -> list[Picture]:
    """Return what can be drawn of a report."""
    document = report.document
    if "sizes" in document:
        return [_of(report, "snapshot", plots.lookups, plots.builds)]
    if "cpu_us_pairs" in document:
        return [_of(report, "services", plots.ratios, plots.changes)]
    if "modes" in document:
        return [_of(report, "latency", plots.buyers)]
    if "steps" in document:
        return [replace(_of(report, "start", plots.starts), height=2.5, across=True)]
    closed = [w for w in report.works if not w.idle and not w.half_of and plots.peers(report, [w])]
    found = [_bars(report, closed, unit) for unit in dict.fromkeys(w.unit for w in closed)]
    return [*found, *_latencies(report), *_growth(report, closed), *_memory(report, closed)]


def _of(report: Report, name: str, *how: Callable[[Report, "Axes"], None]) -> Picture:
    return Picture(name, tuple(partial(each, report) for each in how), legends=True)


def _bars(report: Report, closed: Sequence[Workload], unit: str) -> Picture:
    works = [w for w in closed if w.unit == unit]
    height = 1.2 + 0.16 * len(works) * (len(plots.peers(report, works)) + 1)
    panel = partial(plots.bars, report, works)
    return Picture(f"cpu-{unit.lower()}", (panel,), max(height, 2.5), across=True)


def _latencies(report: Report) -> list[Picture]:
    """Draw rates of the same work side by side, and elsewhere what goes on besides."""
    opened = [w for w in report.works if w.half_of]
    plain = sorted((w for w in opened if _is_plain(w)), key=lambda w: w.halves)
    named = (("latency", plain), ("latency-meanwhile", [w for w in opened if w not in plain]))
    return [
        Picture(name, tuple(partial(plots.curves, report, [w]) for w in works), sharey=True)
        for name, works in named
        if works
    ]


def _is_plain(work: Workload) -> bool:
    """Whether nothing but its rate tells it from the closed loop of the same work."""
    base = next(each for each in WORKLOADS if each.name == work.half_of)
    same = replace(work, name=base.name, title=base.title, half_of="", halves=1.0, times=base.times)
    return same == base and not work.services


def _growth(report: Report, closed: Sequence[Workload]) -> list[Picture]:
    made = []
    same = _same_but_for_connections(closed)
    if same:
        made.append(Picture("connections-cpu", (partial(plots.growth, report, same),)))
    grown = [w for w in (HTTP_64, HTTP_SERVICE, HTTP_SERVICES) if w in closed]
    if grown[-2:] == [HTTP_SERVICE, HTTP_SERVICES]:
        made.append(Picture("services-cpu", (partial(plots.services, report, grown),)))
    return made


def _memory(report: Report, closed: Sequence[Workload]) -> list[Picture]:
    """With mutual TLS only idle connections are those of one process."""
    idle = [w for w in report.works if w.idle]
    same = [w for w in _same_but_for_connections(closed) if not w.mtls]
    works = [*same, *idle]
    if not works:
        return []
    return [Picture("connections-memory", (partial(plots.memory, report, works),), legends=True)]


def _same_but_for_connections(closed: Sequence[Workload]) -> list[Workload]:
    kinds: dict[Workload, list[Workload]] = {}
    for work in closed:
        kinds.setdefault(replace(work, name="", title="", connections=0), []).append(work)
    most = max(kinds.values(), key=len, default=[])
    return most if len(most) >= CURVE_POINTS_MIN else []


def draw(report: Report, directory: Path, suffixes: Sequence[str] = ("svg",)) -> list[Path]:
    """Draw all that can be drawn; return the files. Raises ImportError without matplotlib."""
    machine = report.document["machine"]
    origin = [report.document.get("title", report.name), report.document["date"]]
    origin += [machine["processor"], f"{machine['cores']} cores"]
    drawn = []
    for picture in plan(report):
        drawn += paint(picture, ", ".join(origin), directory, suffixes)
    return drawn


def paint(picture: Picture, origin: str, directory: Path, suffixes: Sequence[str]) -> list[Path]:
    """Draw one, and tell where its figures are from. Raises ImportError without matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, and tests of the plan want none of it

    mpl.use("Agg")
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        from matplotlib import pyplot as plt  # noqa: PLC0415

        columns = min(len(picture.panels), PANELS_MAX)
        rows = -(-len(picture.panels) // columns)
        figure, grid = plt.subplots(
            *(rows, columns),
            figsize=(WIDTH, picture.height * rows),
            layout="constrained",
            squeeze=False,
            sharey=picture.sharey,
        )
        for axes in grid.flat[len(picture.panels) :]:
            axes.remove()
        for panel, axes in zip(picture.panels, grid.flat, strict=False):
            panel(axes)
            axes.grid(axis="x" if picture.across else "y", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            if picture.sharey:
                axes.label_outer()
            if picture.legends:
                axes.legend(frameon=False, fontsize=8)
        if not picture.legends:
            handles, names = grid[0][0].get_legend_handles_labels()
            look: dict[str, Any] = {"frameon": False, "fontsize": 8, "ncols": min(len(names), 5)}
            figure.legend(handles, names, loc="outside lower center", **look)
        figure.suptitle(origin, x=0.01, ha="left", fontsize=7, color="#666666")
        directory.mkdir(parents=True, exist_ok=True)
        made = [directory / f"{picture.name}.{suffix}" for suffix in suffixes]
        for file in made:
            bare: dict[str, Any] = {"Date": None, "Creator": None} if file.suffix == ".svg" else {}
            figure.savefig(file, metadata=bare, dpi=110)
        plt.close(figure)
    return made


def main() -> int:
    """Draw the reports of the command line."""
    parser = argparse.ArgumentParser("python -m bench.charts", description=__doc__)
    parser.add_argument("reports", nargs="*", type=Path, help="default: bench/reports/*.json")
    parser.add_argument("--out", type=Path, help="default: beside each report, in a folder for it")
    parser.add_argument("--png", action="store_true", help="also as PNG")
    chosen = parser.parse_args()
    suffixes = ("svg", "png") if chosen.png else ("svg",)
    for path in chosen.reports or files():
        try:
            drawn = draw(load(path), (chosen.out or path.parent) / path.stem, suffixes)
        except ImportError:
            sys.stderr.write("matplotlib is missing: pip install matplotlib\n")
            return EXIT_UNAVAILABLE
        except (OSError, ValueError, KeyError, TypeError) as fault:
            sys.stderr.write(f"{path}: is no report: {fault!r}\n")
            return 1
        sys.stdout.writelines(f"{file}\n" for file in drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
