"""Figures in prose: `<!-- figure REPORT WHAT WORDS -->30 us<!-- / -->`, rendered from that report.

So a sentence says what the newest report says, and a page that says something else is found by a
test. Of a report that is not there a figure is left as it is; one that a report lacks is an error.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from statistics import StatisticsError, median
from typing import Final

from bench.proc import ANONYMOUS
from bench.recorded import Report
from bench.summary import NONE, Figure
from bench.table import number
from bench.verdicts import MB
from bench.workloads import WORKLOADS, Workload

MARK: Final = re.compile(r"(<!-- figure (\S+) (\S+)((?: \S+)*?) -->)(.*?)(<!-- / -->)", re.DOTALL)
US: Final = 1000  # ns


class LackingError(Exception):
    """A page wants a figure that its report does not have."""


def _work(name: str) -> Workload:
    return next(work for work in WORKLOADS if work.name == name)


def _us(value: float) -> str:
    return f"{number(value)} us"


def _median(figure: Figure | None) -> float:
    if figure is None:
        raise LookupError
    return figure.median


def cpu(report: Report, work: str, peer: str) -> str:
    """Return CPU a unit of work."""
    return _us(_median(report.results.cpu_us(_work(work), peer)))


def user(report: Report, work: str, peer: str) -> str:
    """Return the part of it that is not the kernel's."""
    total = _median(report.results.cpu_us(_work(work), peer))
    return _us(total * report.results.user_share(_work(work), peer))


def kernel(report: Report, work: str, peer: str) -> str:
    """Return the kernel's part of it."""
    total = _median(report.results.cpu_us(_work(work), peer))
    return _us(total * (1 - report.results.user_share(_work(work), peer)))


def ratio(report: Report, work: str, peer: str, to: str) -> str:
    """Return CPU against that of another peer."""
    return number(_median(report.results.cpu_ratio(_work(work), peer, to)))


def p99(report: Report, work: str, peer: str) -> str:
    """Return the p99 of all rounds together."""
    latency = report.results.latency(work, peer)
    return _us(_median(Figure.of([latency.percentile(99) / US] if latency.count else [])))


def p99s(report: Report, work: str, peer: str) -> str:
    """Return the lowest and the highest p99 of a round."""
    found = [s.latency.percentile(99) / US for s in report.results.of(work, peer)]
    if not found:
        raise LookupError
    return f"{number(min(found))}..{number(max(found))} us"


def stolen(report: Report, work: str, peer: str) -> str:
    """Return what the hypervisor took of the two cores each second, by round."""
    figure = report.results.stolen_ms(work, peer)
    if figure is None:
        raise LookupError
    return f"{number(figure.low)}..{number(figure.high)} ms"


def held(report: Report, work: str, peer: str) -> str:
    """Return the memory of a connection."""
    return f"{number(_median(report.results.connection_bytes(work, peer)))} B"


def moved(report: Report, work: str, to: str) -> str:
    """Return what one work makes of the p99 of another."""
    return number(_median(report.results.latency_moved("remora", work, to, 99)))


def moved_cpu(report: Report, work: str, to: str) -> str:
    """Return what one work takes of CPU against another."""
    return number(_median(report.results.cpu_moved("remora", _work(work), _work(to))))


def load(report: Report, work: str, peer: str) -> str:
    """Return what generator and upstream take of CPU a unit of work."""
    return _us(_median(report.results.load_us(_work(work), peer)))


def load_moved(report: Report, work: str, to: str) -> str:
    """Return what generator and upstream take of it where there is no proxy, against other work."""
    now, before = (report.results.load_us(_work(name), NONE) for name in (work, to))
    return number(_median(now) / _median(before))


def step(report: Report, what: str, *name: str) -> str:
    """Return what a step of a pod's start takes: wall_ms, cpu_ms, pss, or own.

    `own` is the memory that the proxy shares with no other sidecar of its node.
    """
    rounds = report.document["steps"][" ".join(name)]
    if what == "own":
        return f"{median(each['mapped'][ANONYMOUS] for each in rounds) / MB:.1f} MB"
    found = median(each[what] for each in rounds)
    return f"{found:.0f} ms" if what.endswith("_ms") else f"{found / MB:.1f} MB"


def failed(report: Report, mode: str) -> str:
    """Return the share of requests of the shop that failed."""
    found = report.document["modes"][mode]
    return f"{100 * found['failures'] / found['requests']:.1f} %"


def p90(report: Report, mode: str) -> str:
    """Return what nine of ten buyers of the shop did not wait longer for."""
    times = Counter({float(ms): n for ms, n in report.document["modes"][mode]["times_ms"].items()})
    left = 0.9 * times.total()
    for ms in sorted(times):
        left -= times[ms]
        if left <= 0:
            return f"{ms:.0f} ms"
    raise LookupError


KINDS: Final[dict[str, Callable[..., str]]] = {
    each.__name__: each
    for each in (
        *(cpu, user, kernel, ratio, p99, p99s, stolen, held, moved, moved_cpu),
        *(load, load_moved, step, failed, p90),
    )
}


def rendered(text: str, reports: Mapping[str, Report]) -> str:
    """Return a page with all its figures rendered anew. Raises LackingError."""

    def figure(found: re.Match[str]) -> str:
        name, kind, words = found[2], found[3], found[4].split()
        if name not in reports:
            return found[0]
        try:
            return f"{found[1]}{KINDS[kind](reports[name], *words)}{found[6]}"
        except (LookupError, StopIteration, StatisticsError, TypeError):
            raise LackingError(f"{name} has no `{kind} {' '.join(words)}`") from None

    return MARK.sub(figure, text)
