"""Reports of bench/reports/, read again: the figures of a run that was made before.

There is one report of each kind, which the next run with `--save` replaces; git has the history.
What a report tells of one round are percentiles, so those are what a round's latency knows here;
latencies of all rounds together are whole histograms, as they were.
"""

import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from bench import BENCH, machine
from bench.histogram import Histogram
from bench.limits import DISTURBED, doubts
from bench.measure import Sample
from bench.peer import PEERS
from bench.proc import Cpu, Memory
from bench.scraper import Scrape
from bench.summary import Results
from bench.verdicts import Verdict, verdicts
from bench.workloads import WORKLOADS, Family, Workload

REPORTS: Final = BENCH / "reports"
_PARTS: Final[dict[str, type[Memory | Cpu | Scrape]]] = {
    "memory": Memory,
    "memory_loaded": Memory,
    "proxy": Cpu,
    "scrape": Scrape,
}
_VALUES: Final = 1000  # of a histogram that has the percentiles of a round
_PERCENTS: Final = (50, 90, 99, 99.9, 100)


class Recorded(Results):
    """The results of a report."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__([_sample(row) for row in document["samples"]])
        self._latency: dict[str, list[list[int]]] = document.get("latency_ns", {})

    def latency(self, workload: str, peer: str) -> Histogram:
        """Latencies of all rounds together."""
        return Histogram(self._latency.get(f"{workload} {peer}", []))


@dataclass(frozen=True)
class Report:
    """One report. `document` is its JSON."""

    name: str
    document: dict[str, Any]

    @cached_property
    def results(self) -> Recorded:
        """Return what its samples say; a report of no workloads has none."""
        return Recorded({"samples": [], **self.document})

    @cached_property
    def works(self) -> list[Workload]:
        """List the workloads that it has figures of."""
        seen = {sample.workload for sample in self.results.samples}
        return [work for work in WORKLOADS if work.name in seen]

    @property
    def family(self) -> Family | None:
        """Tell whose workloads these are."""
        return self.works[0].family if self.works else None

    @property
    def is_whole(self) -> bool:
        """Whether it is the report of its family, and no other run that is kept beside it."""
        return self.family is None or self.name == self.family.stem

    def verdicts(self) -> list[Verdict]:
        """Hold it against the budgets of today."""
        variants = {peer.name: peer.variant_of for peer in PEERS if peer.variant_of}
        return verdicts(self.results, variants, self.family) if self.family else []

    def machine(self) -> str:
        """Return the machine line."""
        return machine.line(self.document["machine"])

    def troubles(self) -> str:
        """Tell how many measurements something else disturbed, and how many failed, if any."""
        samples, failed = self.results.samples, self.document.get("failed", ())
        found = sum(DISTURBED in doubts(sample) for sample in samples)
        told = [f"{found} of {len(samples)} measurements were disturbed"] if found else []
        told += [f"{len(failed)} measurements failed"] if failed else []
        return "; ".join(told)


def load(path: Path) -> Report:
    """Read one. Raises OSError, ValueError; KeyError and TypeError of what is no report."""
    document = json.loads(path.read_text())
    for needed in ("date", "command", "machine"):
        document[needed]
    return Report(path.stem, document)


def all_reports(directory: Path = REPORTS) -> dict[str, Report]:
    """Read all of a folder, by name."""
    return {path.stem: load(path) for path in files(directory)}


def files(directory: Path = REPORTS) -> list[Path]:
    """List them; other forms of the same figures have a second suffix (`http.smp.json`)."""
    return sorted(path for path in directory.glob("*.json") if "." not in path.stem)


def _sample(row: dict[str, Any]) -> Sample:
    """Undo what a report makes of a sample; what it lacks, or has besides, is left out."""
    known = {field.name for field in fields(Sample)}
    values = {name: value for name, value in row.items() if name in known}
    for name, kind in _PARTS.items():
        if name in values:
            wanted = {field.name for field in fields(kind)}
            values[name] = kind(**{k: v for k, v in values[name].items() if k in wanted})
    for name in ("latency", "lag"):
        values[name] = _histogram(values.get(name, {}))
    return Sample(**{"round": 1, **values})


def _histogram(percentiles: dict[str, float]) -> Histogram:
    """Make one whose percentiles are these."""
    found = [(p, percentiles.get(f"p{p}_ns", 0.0)) for p in _PERCENTS]
    if not any(value for _, value in found):
        return Histogram([])
    buckets, seen, low = [], 0, 0
    for percent, value in found:
        count = round(_VALUES * percent / 100) - seen
        buckets.append([low, int(value) + 1, count])
        seen, low = seen + count, int(value) + 1
    return Histogram(buckets)
