"""Did this tree make requests dearer? `python -m bench.gate [BASE] [--workloads ...]`.

Builds BASE (a revision of git; default: where this branch left `main`, or the commit before) beside
the working tree, gives both the same work, and compares what a request takes. Counted are
instructions (valgrind's callgrind): the same whatever else the machine does, to about half a
percent. Without valgrind it is CPU time, in turns, which needs a quiet machine. What became dearer
by more than 3 % is named, with the functions that did it. Exit: 0 none, 1 some, 64 bad words.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from bench import ROOT, callgrind, revisions
from bench.generator import Timing, generator
from bench.identities import identities
from bench.proc import cpu
from bench.revisions import RevisionError
from bench.running import Cores
from bench.table import Table
from bench.trees import placed, remora_of
from bench.workloads import HTTP_64, HTTP_SERVICE, MTLS_64, SMALL, Workload

WORKS: Final = {work.name: work for work in (SMALL, HTTP_64, HTTP_SERVICE, MTLS_64)}
DEARER_MAX: Final = 0.03
FUNCTIONS_MAX: Final = 8
COUNTED: Final = Timing(seconds=4.0, warmup_seconds=2.0)
TIMED: Final = Timing(seconds=0.6, warmup_seconds=0.15)
TURNS: Final = 15
EXIT_DEARER: Final = 1
EXIT_USAGE: Final = 64


class Cost(NamedTuple):
    """What a request takes, and where."""

    each: float
    functions: dict[str, float]


def instructions(root: Path, workload: Workload, cores: Cores, issued: Path) -> Cost:
    """Count the instructions of a request."""
    with tempfile.TemporaryDirectory(prefix="remora-gate-") as directory:
        peer = remora_of(root, callgrind.command(Path(directory)))
        with (
            placed(peer, workload, cores, issued) as proxy,
            generator(proxy.port, workload, COUNTED, cores.load, issued) as warm,
        ):
            callgrind.switch(proxy.pids, on=True)
            requests = warm.measure().requests
            callgrind.switch(proxy.pids, on=False)
        found = callgrind.read(Path(directory))  # written when the proxy ended
    functions = {name: count / requests for name, count in found.items()}
    return Cost(sum(functions.values()), functions)


def cpu_us(
    roots: Sequence[Path], workload: Workload, cores: Cores, issued: Path
) -> tuple[Cost, ...]:
    """Measure CPU microseconds a request of each tree, in turns."""
    found: list[list[float]] = [[] for _ in roots]
    with ExitStack() as stack:
        peers = [remora_of(root) for root in roots]
        proxies = [stack.enter_context(placed(peer, workload, cores, issued)) for peer in peers]
        for turn in range(TURNS):
            for proxy, times in zip(proxies, found, strict=True):
                timing = replace(TIMED, seed=turn)
                with generator(proxy.port, workload, timing, cores.load, issued) as warm:
                    before = cpu(*proxy.pids)
                    requests = warm.measure().requests
                    times.append((cpu(*proxy.pids) - before).total_ns / 1000 / requests)
    return tuple(Cost(statistics.median(times), {}) for times in found)


def dearer(before: Cost, after: Cost) -> list[str]:
    """Return the functions that took the most more, most first, in words."""
    names = before.functions.keys() | after.functions.keys()
    growth = {
        name: after.functions.get(name, 0.0) - before.functions.get(name, 0.0) for name in names
    }
    grown = sorted(growth.items(), key=lambda each: -each[1])[:FUNCTIONS_MAX]
    return [f"{name} +{more:.0f}" for name, more in grown if more >= 1]


def table(unit: str, costs: dict[str, tuple[Cost, Cost]]) -> Table:
    """Lay both out, with what is dearer."""
    rows, notes = [], []
    for name, (before, after) in costs.items():
        ratio = after.each / before.each
        word = (
            "DEARER"
            if ratio > 1 + DEARER_MAX
            else "cheaper"
            if ratio < 1 / (1 + DEARER_MAX)
            else "same"
        )
        rows.append([name, f"{before.each:,.1f}", f"{after.each:,.1f}", f"{ratio:.3f}", word])
        if word == "DEARER" and (functions := dearer(before, after)):
            notes.append(f"{name}: {', '.join(functions)}")
    headers = ["work", f"base {unit}", f"here {unit}", "ratio", ""]
    return Table(f"{unit} a request", headers, rows, notes, words=frozenset({0, 4}))


def measured(base: Path, works: Sequence[Workload], *, counted: bool) -> Table:
    """Give both trees each work."""
    cores, costs = Cores.allowed(), dict[str, tuple[Cost, Cost]]()
    with identities() as issued:
        for work in works:
            sys.stderr.write(f"{work.name}...\n")
            if counted:
                before = instructions(base, work, cores, issued)
                costs[work.name] = before, instructions(ROOT, work, cores, issued)
            else:
                before, after = cpu_us((base, ROOT), work, cores, issued)
                costs[work.name] = before, after
    return table("instructions" if counted else "CPU us", costs)


def main() -> int:
    """Compare; return the exit code."""
    parser = argparse.ArgumentParser("python -m bench.gate", description=__doc__)
    parser.add_argument("base", nargs="?", help="a revision of git")
    names = ",".join(WORKS)
    parser.add_argument("--workloads", default=names, help=f"default: {names}")
    parser.add_argument("--cpu", action="store_true", help="CPU time, even where valgrind is")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.workloads.split(",") if name not in WORKS]
    if unknown:
        sys.stderr.write(f"unknown: {','.join(unknown)}; known: {names}\n")
        return EXIT_USAGE
    counted = callgrind.is_there() and not chosen.cpu
    if not counted and not chosen.cpu:
        sys.stderr.write("valgrind is missing (apt-get install valgrind): CPU time it is\n")
    try:
        base = revisions.built(chosen.base or revisions.default())
    except RevisionError as fault:
        sys.stderr.write(f"{fault}\n")
        return EXIT_USAGE
    works = [WORKS[name] for name in chosen.workloads.split(",")]
    found = measured(base, works, counted=counted)
    sys.stdout.write(found.text() + "\n")
    return EXIT_DEARER if any(row[-1] == "DEARER" for row in found.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
