"""The budgets held against the reports: `python -m bench.budgets` writes bench/BUDGETS.md.

What counts is the report of the whole work of a family; other runs that are kept beside it follow
in a table of their own. Rules are those of today (verdicts.py), for old reports, too: where a
report was written by another rule and came to another word, its own word stands beside.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import BENCH
from bench.recorded import Report, all_reports
from bench.table import Table, number
from bench.verdicts import FLAT, Budget, Verdict, of_starts
from bench.workloads import FAMILIES, MTLS

PAGE: Final = BENCH / "BUDGETS.md"
START: Final = "start"
WHOLE: Final = (*(family.stem for family in FAMILIES), START)
DISTURBED_SHARE_MAX: Final = 0.1  # of the measurements: beyond that a run is none for the record
UNMEASURED: Final = "not measured"

HEAD: Final = f"""\
# Budgets

What remora may cost, and what it did cost in the committed reports. Written by
`python -m bench.budgets`; a test holds it against [reports/](reports). Why one is missed stands in
[LIMITS.md](LIMITS.md). How it is compared:

- Ratios are taken within a round; their median decides. The spread is that of single rounds, and
  "rounds differ" says that some of them are on the other side of the limit.
- The p99 while scraped is that of all rounds together, against that of all rounds not scraped: what
  a single round of seconds has for its p99 is noise. Only the spread is of rounds. By the rule
  before, the median of the ratios of rounds, a run had missed this budget; the rule was changed
  after that. A report that came to another word then is noted. The p99 against the best peer goes
  by rounds, as all else does; the best peer is that with the lowest p99 of all rounds together.
- Flat is at most {FLAT:.2f} x: the design says "flat", and rounds of one peer differ by as much.
  Many connections are held against 64, not against one: over one, each request wakes the worker up,
  which is dearest there and says nothing of growth.
"""


@dataclass(frozen=True)
class Line:
    """One verdict of one report."""

    report: Report
    verdict: Verdict

    @property
    def why(self) -> str:
        """Return the section of LIMITS.md that explains it."""
        of_mtls = self.report.family == MTLS
        budget = self.verdict.budget
        if budget == Budget.REST:
            if "idle" in self.verdict.title:
                return "idle-mutual-tls" if of_mtls else "idle-connections"
            return "start-and-memory-at-rest"
        if budget == Budget.LATENCY:
            return "scrapes" if "scraped" in self.verdict.title else "latency-at-half-load"
        if budget == Budget.GROWTH:
            return "many-services" if "Services" in self.verdict.title else "many-connections"
        if budget == Budget.BULK:
            return "bulk-over-mutual-tls" if of_mtls else "bulk"
        return "small-requests-over-mutual-tls" if of_mtls else "small-requests"

    @property
    def then(self) -> str:
        """Return what the report itself says, where that is another word."""
        known = {each["title"]: each for each in self.report.document.get("budgets", ())}
        said: dict[str, Any] = known.get(self.verdict.title, {})
        if not said.get("value") or said["verdict"] == self.verdict.word:
            return ""
        median = number(said["value"]["median"])
        return f"its report says {said['verdict']} ({median}), by the rule of then"

    def row(self) -> list[str]:
        """Lay it out."""
        verdict, value = self.verdict, self.verdict.value
        measured, spread = "-", "-"
        if value:
            measured = f"{number(value.median)} {verdict.unit}"
            spread = f"{number(value.low)}..{number(value.high)}"
        words = [verdict.word, *(["rounds differ"] if verdict.close else [])]
        words[0] = f"**{words[0]}**" if verdict.word == "missed" else words[0]
        is_doubtful = self.report.results.disturbed_share() > DISTURBED_SHARE_MAX
        notes = [verdict.note, self.then, "a disturbed run" if is_doubtful else ""]
        why = f"[why](LIMITS.md#{self.why})" if verdict.word == "missed" else ""
        where = f"[{self.report.name}](reports/{self.report.name}.md)"
        return [
            *(verdict.title, f"{number(verdict.limit)} {verdict.unit}", measured, spread),
            *(
                ", ".join(words),
                verdict.work,
                where,
                why,
                "; ".join(note for note in notes if note),
            ),
        ]


def lines(report: Report) -> list[Line]:
    """Return those of a report."""
    if report.name == START:
        return [Line(report, verdict) for verdict in of_starts(report.document["steps"])]
    return [Line(report, verdict) for verdict in report.verdicts()]


def page(reports: dict[str, Report]) -> str:
    """Write the page."""
    whole = _whole(reports)
    beside = [
        line
        for name, report in reports.items()
        if name not in WHOLE
        for line in lines(report)
        if line.verdict.value
    ]
    parts = [HEAD.rstrip(), summary(reports)]
    for budget in Budget:
        found = [line for line in whole if line.verdict.budget == budget]
        parts.append(_table(budget.value, found))
    if beside:
        parts.append(_table("Other runs that are kept", beside))
    parts.append("\n".join(["## Reports", "", *_origins(reports)]))
    return "\n\n".join(parts) + "\n"


def _whole(reports: dict[str, Report]) -> list[Line]:
    return [line for name in WHOLE if name in reports for line in lines(reports[name])]


def summary(reports: dict[str, Report]) -> str:
    """Tell how many are met."""
    words = [line.verdict.word for line in _whole(reports)]
    missed = words.count("missed")
    counts = f"{words.count('met')} met, {missed} missed, {words.count(UNMEASURED)} not measured."
    lacking = [name for name in WHOLE if name not in reports]
    return counts + (f" No report yet: {', '.join(lacking)}." if lacking else "")


def _table(title: str, found: list[Line]) -> str:
    headers = ["", "at most", "measured", "spread", "", "workload", "report", "", "note"]
    words = frozenset({0, 4, 5, 6, 7, 8})
    return Table(title, headers, [line.row() for line in found], words=words).markdown()


def _origins(reports: dict[str, Report]) -> Iterator[str]:
    for name, report in reports.items():
        told = [report.document["date"], f"`{report.document['command']}`", report.machine()]
        told += [report.troubles()] if report.troubles() else []
        yield f"- [{name}](reports/{name}.md): {'; '.join(told)}"


def write(path: Path = PAGE) -> str:
    """Write the page, and return the line that counts."""
    reports = all_reports()
    path.write_text(page(reports))
    return summary(reports)


def main() -> int:
    """Write the page."""
    sys.stdout.write(f"{write()}\nwritten: {PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
