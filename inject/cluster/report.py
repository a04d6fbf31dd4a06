"""All checks of some modes over one snapshot, and how that is told to people and machines."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from inject.cluster.before import server_version
from inject.cluster.snapshot import (
    FAILURE,
    FORBIDDEN,
    NOT_APPLICABLE,
    OK,
    WARNING,
    Look,
    Mode,
    RefusedError,
    Result,
    Snapshot,
    count,
)
from proxy.ctl_table import printable

PAGE: Final = "docs/check.md"
_THINGS_MAX: Final = 10

_BOLD, _DIM = "1", "2"
_COLOURS: Final = {OK: "32", WARNING: "33", FAILURE: "31", NOT_APPLICABLE: _DIM}
_WORDS: Final = {OK: "ok", WARNING: "warning", FAILURE: "FAILURE", NOT_APPLICABLE: "-"}

Paint = Callable[[str, str], str]


class Line(NamedTuple):
    """What a check of a category found."""

    category: str
    check: str
    result: Result

    @property
    def docs(self) -> str:
        """Where it is explained."""
        return f"{PAGE}#{self.check}"


class Report(NamedTuple):
    """What all checks found."""

    kubernetes: str
    lines: tuple[Line, ...]

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """Which checks failed."""
        return [line.check for line in self.lines if line.result.state == FAILURE]


def report(modes: Sequence[Mode], cluster: Snapshot) -> Report:
    """Run all checks of some modes."""
    lines = (
        Line(category, check, _result(look, cluster))
        for mode in modes
        for category, looks in mode.categories.items()
        for check, look in looks.items()
    )
    return Report(server_version(cluster), tuple(lines))


def _result(look: Look, cluster: Snapshot) -> Result:
    try:
        return look(cluster)
    except RefusedError as refused:
        text = f"could not be looked at: {refused.refusal.text}"
        if refused.refusal.reason == FORBIDDEN:
            return Result(WARNING, text, f"ask for the right to read {refused.key}")
        return Result(FAILURE, text, f"does `kubectl get {refused.key}` work?")


def as_json(found: Report) -> str:
    """Return a report for machines."""
    page = {
        "good": found.is_good,
        "kubernetes": found.kubernetes,
        "checks": [
            {
                "category": line.category,
                "check": line.check,
                **line.result._asdict(),
                "docs": line.docs,
            }
            for line in found.lines
        ],
    }
    return json.dumps(page, indent=2)


def as_text(found: Report, *, has_colours: bool) -> str:
    """Return a report for people."""

    def paint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if has_colours else text

    width = max(len(line.check) for line in found.lines)
    pages, category = list[str](), ""
    for line in found.lines:
        if line.category != category:
            category = line.category
            pages.append(("\n" if pages else "") + paint(_BOLD, category))
        pages += _told(line, width, paint)
    return "\n".join([*pages, "", _verdict(found, paint)])


def _told(line: Line, width: int, paint: Paint) -> Iterator[str]:
    result = line.result
    state = paint(_COLOURS[result.state], f"{_WORDS[result.state]:7}")
    yield f"  {state}  {line.check:{width}}  {printable(result.text)}"
    for thing in result.things[:_THINGS_MAX]:
        yield f"             {printable(thing)}"
    if len(result.things) > _THINGS_MAX:
        yield f"             and {len(result.things) - _THINGS_MAX} more (-o json has all)"
    if result.state in (WARNING, FAILURE):
        yield paint(_DIM, f"           hint: {printable(result.hint)}")
        yield paint(_DIM, f"           see {line.docs}")


def _verdict(found: Report, paint: Paint) -> str:
    states = [line.result.state for line in found.lines]
    warnings = f", {count(states.count(WARNING), 'warning')}" if WARNING in states else ""
    if not found.is_good:
        text = f"{count(states.count(FAILURE), 'failure')}{warnings}"
        return paint(_COLOURS[FAILURE], text)
    return paint(_COLOURS[OK], f"no failure{warnings}")
