"""Writes a run down: text for the terminal, Markdown and JSON for the record."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.calls import Calls
from bench.limits import doubts
from bench.measure import Sample
from bench.rounds import Fault
from bench.summary import Results
from bench.table import Table
from bench.verdicts import Verdict

METHOD = """\
One measurement is one fresh process of a peer, alone on its core; generator and upstream share
another one. CPU is the run time that the scheduler counted for all threads of the peer between two
moments at which nothing was in flight, divided by the requests (or MiB of payload) in between.
Peers take turns within every round. Every byte is compared at both ends. Closed loops saturate:
their latency is that of a full queue. At half load requests come at random, whether or not earlier
ones were answered, and latency counts from the moment a request was due. "load" is what generator
and upstream cost: the price of the harness. `none` is the same work without a proxy; "all x none"
is the CPU of everybody (proxy, generator, upstream) against that in the same round."""


@dataclass(frozen=True)
class Header:
    """What makes a run repeatable."""

    title: str
    method: str  # what the family adds to METHOD
    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]

    def lines(self) -> list[str]:
        """Command line, machine line, versions."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return [f"command: `{self.command}`", f"machine: {machine}", f"versions: {versions}"]


def text(header: Header, tables: Sequence[Table]) -> str:
    """For the terminal."""
    return "\n\n".join(["\n".join(header.lines()), *(table.text() for table in tables)])


def markdown(header: Header, tables: Sequence[Table]) -> str:
    """For people."""
    top = [
        f"# {header.title}, {header.date}",
        "",
        *(f"- {line}" for line in header.lines()),
        "",
        METHOD + header.method,
    ]
    return "\n\n".join(["\n".join(top), *(table.markdown() for table in tables)]) + "\n"


def raw(
    header: Header,
    results: Results,
    budgets: Sequence[Verdict],
    counted: Sequence[Calls] = (),
    faults: Sequence[Fault] = (),
) -> str:
    """For programs: every sample, and the latency histogram of each peer at each workload."""
    pairs = list(dict.fromkeys((s.workload, s.peer) for s in results.samples))
    latency = {f"{work} {peer}": results.latency(work, peer).buckets for work, peer in pairs}
    document = {
        **asdict(header),
        "budgets": [{**asdict(budget), "verdict": budget.word} for budget in budgets],
        "failed": [asdict(fault) for fault in faults],
        "system_calls": [asdict(calls) for calls in counted],
        "latency_ns": {name: buckets for name, buckets in latency.items() if buckets},
    }
    samples = ",\n".join(json.dumps(_sample(sample)) for sample in results.samples)
    return json.dumps(document)[:-1] + f',\n"samples": [\n{samples}\n]}}\n'


def write(directory: Path, name: str, files: dict[str, str]) -> list[Path]:
    """Write NAME.SUFFIX for each suffix; return the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, content in files.items():
        path = directory / f"{name}.{suffix}"
        path.write_text(content)
        paths.append(path)
    return paths


def _sample(sample: Sample) -> dict[str, object]:
    """One sample with percentiles in the place of its histograms."""
    row = sample.as_json()
    for name, histogram in (("latency", sample.latency), ("lag", sample.lag)):
        row[name] = {f"p{p}_ns": histogram.percentile(p) for p in (50, 90, 99, 99.9, 100)}
    return {**row, "requests_a_second": sample.rate, "doubts": doubts(sample)}
