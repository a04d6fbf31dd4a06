"""The figures of pages: `python -m bench.figures [--write]`, from the committed reports.

Between `<!-- figures NAME -->` and `<!-- /figures -->` stands what is rendered here; single figures
in prose are rendered by `quoted.py`. Without `--write` the command tells which pages say something
else than the reports, and a test fails then. `--write` writes them, bench/BUDGETS.md, and the
picture that README.md shows. A block whose reports are not there is left as it is.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench import ROOT, budgets, charts, plots, quoted
from bench.recorded import REPORTS, Recorded, Report, all_reports
from bench.summary import REMORA, Figure
from bench.table import number
from bench.verdicts import answer_ms, pss_mb
from bench.workloads import (
    BULK_DOWN,
    HALF,
    HTTP,
    HTTP_64,
    HTTP_DOWN,
    HTTP_HALF,
    IDLE,
    MTLS,
    MTLS_64,
    MTLS_DOWN,
    MTLS_HALF,
    MTLS_IDLE,
    SMALL,
    TCP,
    Family,
    Workload,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGES: Final = (
    *(ROOT / name for name in ("README.md", "bench/README.md", "bench/LIMITS.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
BLOCK: Final = re.compile(r"(<!-- figures (\w+) -->)(.*?)(<!-- /figures -->)", re.DOTALL)
SHOWN: Final = {"haproxy": "HAProxy", "nginx": "nginx", "envoy": "Envoy"}
US: Final = 1000  # ns

Reports = dict[str, Report]


@dataclass(frozen=True)
class Row:
    """One line of the table: what remora takes, and how many times that is what a peer takes."""

    title: str
    family: Family
    unit: str
    value: Callable[[Recorded, str], Figure | None]
    ratio: Callable[[Recorded, str], Figure | None]


@dataclass(frozen=True)
class Cpu:
    """Makes rows of CPU: ratios are medians of those within a round."""

    title: str
    work: Workload
    short: str = field(default="")  # in the picture

    def row(self) -> Row:
        """Make the row."""
        return Row(
            self.title,
            self.work.family,
            "us",
            lambda results, peer: results.cpu_us(self.work, peer),
            lambda results, to: results.cpu_ratio(self.work, REMORA, to),
        )


CPU: Final = (
    Cpu("HTTP/1.1, 64 connections, 1 KiB answers: CPU a request", HTTP_64, "HTTP request"),
    Cpu("Mutual TLS, both sidecars together: CPU a request", MTLS_64, "mutual TLS, a pair"),
    Cpu("TCP relay, 64 connections, small messages: CPU a request", SMALL, "TCP message"),
    Cpu("Answers of 1 MiB, HTTP: CPU a MiB", HTTP_DOWN, "MiB, HTTP"),
    Cpu("Answers of 1 MiB, mutual TLS, both sidecars: CPU a MiB", MTLS_DOWN, "MiB, mutual TLS"),
    Cpu("Answers of 1 MiB, TCP: CPU a MiB", BULK_DOWN, "MiB, TCP"),
)


def _latency(title: str, work: Workload) -> Row:
    def p99(results: Recorded, peer: str) -> Figure | None:
        together = results.latency(work.name, peer)
        return Figure.of([together.percentile(99) / US] if together.count else [])

    def ratio(results: Recorded, to: str) -> Figure | None:
        return results.latency_ratio(work.name, REMORA, to, 99)

    return Row(title, work.family, "us", p99, ratio)


def _plain(
    title: str, family: Family, unit: str, value: Callable[[Recorded, str], Figure | None]
) -> Row:
    """Make a row of what has no rounds: ratios are those of the medians."""

    def ratio(results: Recorded, to: str) -> Figure | None:
        ours, theirs = value(results, REMORA), value(results, to)
        return Figure.of([ours.median / theirs.median]) if ours and theirs else None

    return Row(title, family, unit, value, ratio)


def _held(work: Workload) -> Callable[[Recorded, str], Figure | None]:
    return lambda results, peer: results.connection_bytes(work.name, peer)


ROWS: Final = (
    *(each.row() for each in CPU),
    _latency("HTTP at half load: p99", HTTP_HALF),
    _latency("Mutual TLS at half load: p99", MTLS_HALF),
    _latency("TCP at half load: p99", HALF),
    _plain("An idle TCP connection: memory", TCP, "B", _held(IDLE)),
    _plain("An idle mutual TLS connection: memory", MTLS, "B", _held(MTLS_IDLE)),
    _plain("The process at rest: PSS", HTTP, "MB", pss_mb),
    _plain("From exec to the first answer", HTTP, "ms", answer_ms),
)


def cost(reports: Reports) -> str | None:
    """Render the table of what remora costs beside its peers."""
    used = [family.stem for family in (HTTP, MTLS, TCP) if family.stem in reports]
    if not used:
        return None
    lines = [
        f"| | remora | {' | '.join(f'x {name}' for name in SHOWN.values())} |",
        f"|---|--:{'|--:' * len(SHOWN)}|",
    ]
    for row in ROWS:
        report = reports.get(row.family.stem)
        value = row.value(report.results, REMORA) if report else None
        if report and value:
            ratios = [_ratio(row.ratio(report.results, peer)) for peer in SHOWN]
            lines.append(f"| {row.title} | {_figure(value, row.unit)} | {' | '.join(ratios)} |")
    return "\n".join(["", *lines, "", *(_origin(reports[name]) for name in used), ""])


def _figure(figure: Figure, unit: str) -> str:
    return f"{number(figure.median)} {unit}"


def _ratio(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    low, high = number(figure.low), number(figure.high)
    return number(figure.median) + (f" ({low}..{high})" if low != high else "")


def _origin(report: Report) -> str:
    troubles = f"; {report.troubles()}" if report.troubles() else ""
    return (
        f"- [{report.name}](bench/reports/{report.name}.md), {report.document['date']}: "
        f"`{report.document['command']}`; {report.machine()}{troubles}"
    )


def start(reports: Reports) -> str | None:
    """Render what a pod waits for."""
    report = reports.get(budgets.START)
    if report is None:
        return None
    took = {
        name: median(each["wall_ms"] for each in found) / 1000
        for name, found in report.document["steps"].items()
    }
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())
    return f"{steps} (`{report.document['command']}`, [report](bench/reports/{report.name}.md))"


def budget(reports: Reports) -> str | None:
    """Render how many budgets are met."""
    if not set(reports) & set(budgets.WHOLE):
        return None
    return budgets.summary(reports)


RENDERERS: Final = {"cost": cost, "start": start, "budgets": budget}


def rendered(text: str, reports: Reports) -> str:
    """Return a page with all that is marked in it rendered anew.

    Raises KeyError of an unknown block, LackingError of a figure that a report does not have.
    """

    def block(found: re.Match[str]) -> str:
        made = RENDERERS[found[2]](reports)
        return found[0] if made is None else f"{found[1]}{made}{found[4]}"

    return quoted.rendered(BLOCK.sub(block, text), reports)


def changed(reports: Reports) -> dict[Path, str]:
    """Return the pages that say something else than the reports, as they should be."""
    made = {path: rendered(path.read_text(), reports) for path in PAGES}
    made[budgets.PAGE] = budgets.page(reports)
    return {path: text for path, text in made.items() if path.read_text() != text}


def overview(reports: Reports) -> charts.Picture:
    """Plan the picture of README: CPU of each headline, HAProxy's being one."""
    shown = [(each, reports[each.work.family.stem]) for each in CPU if _has(reports, each)]
    rows: dict[str, list[Figure | None]] = {
        peer: [report.results.cpu_ratio(each.work, peer, "haproxy") for each, report in shown]
        for peer in (REMORA, *SHOWN)
    }
    panel = partial(_bars, rows, [each.short for each, _ in shown])
    return charts.Picture("overview", (panel,), 1.0 + 0.5 * len(shown), across=True)


def _bars(rows: dict[str, list[Figure | None]], labels: Sequence[str], axes: "Axes") -> None:
    plots.grouped(rows, labels, axes, "CPU, HAProxy = 1; lowest to highest round")
    axes.axvline(1, color=plots.DARK, linewidth=0.8)


def _has(reports: Reports, each: Cpu) -> bool:
    report = reports.get(each.work.family.stem)
    return report is not None and bool(report.results.of(each.work.name, REMORA))


def main() -> int:
    """Write, or tell what is to be written."""
    parser = argparse.ArgumentParser("python -m bench.figures", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the pages")
    chosen = parser.parse_args()
    reports = all_reports()
    try:
        pages = changed(reports)
    except quoted.LackingError as lacking:
        sys.stderr.write(f"{lacking}\n")
        return 1
    for path in pages:
        says = "written" if chosen.write else "is not what the reports say"
        sys.stdout.write(f"{path.relative_to(ROOT)}: {says}\n")
    if not chosen.write:
        return 1 if pages else 0
    for path, text in pages.items():
        path.write_text(text)
    sys.stdout.write(f"budgets: {budgets.summary(reports)}\n")
    names = dict.fromkeys(report.document["machine"]["processor"] for report in reports.values())
    charts.paint(overview(reports), ", ".join(names), REPORTS, ("svg",))
    return 0


if __name__ == "__main__":
    sys.exit(main())
