"""Files in, files out: documents keep their text, but for what goes into pods or out of them."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from yaml.nodes import Node

from inject import graft, patch, plan, yamls
from inject.kinds import Place, places
from inject.patch import Operation, pointer
from inject.plan import Outcome
from inject.pods import Raw
from inject.settings import Settings
from inject.yamls import DepthError, YamlError

_SEPARATOR: Final = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_INDENT: Final = re.compile(r"[\[{]\r?\n([ \t]+)")


class Line(NamedTuple):
    """What became of a pod, for the report. `word` is a reason's, or what was done."""

    name: str
    word: str
    text: str
    is_fault: bool = False


class Written(NamedTuple):
    """A document as it comes out, and what is to be said of it."""

    text: str
    lines: tuple[Line, ...]


# Changes a pod; returns what was found, and the whole patch.
Change = Callable[[Raw, str], tuple[str, Outcome]]


def injecting(settings: Settings) -> Change:
    """Return how `remora inject` changes a pod: out with what there is, in with what is due."""

    def change(pod: Raw, namespace: str) -> tuple[str, Outcome]:
        before = plan.uninject(pod)
        if before.faults:
            return "", before
        bare = patch.apply(pod, before.patch)
        outcome = plan.inject(bare, settings, namespace)
        whole = outcome._replace(patch=before.patch + outcome.patch)
        if patch.apply(pod, whole.patch) == pod:
            return "is injected as it should be", whole._replace(patch=())
        if not outcome.patch:
            return "uninjected", whole
        return "injected anew" if before.patch else "injected", whole

    return change


def uninjecting(pod: Raw, _namespace: str) -> tuple[str, Outcome]:
    """Change a pod as `remora uninject` does."""
    return "uninjected", plan.uninject(pod)


def split(text: str) -> Iterator[tuple[int, str]]:
    """Yield the documents of a file with the lines before each; together they are the file."""
    starts = [match.start() for match in _SEPARATOR.finditer(text)]
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        if start < end:
            yield text.count("\n", 0, start), text[start:end]


def rewrite(text: str, change: Change) -> Written:
    """Change the pods of one document. Raises YamlError."""
    as_json = _as_json(text)
    value, node = _read(text, as_json)
    lines, new = list[Line](), value
    for place in places(value):
        pod = place.pod if isinstance(place.pod, dict) else {}
        done, outcome = change(pod, place.namespace)
        lines += _lines(place, done, outcome)
        if not outcome.faults:
            new = patch.apply(new, _at(place, outcome.patch))
    if new == value:
        return Written(text, tuple(lines))
    if as_json is not None and _json(text, value) == text:
        return Written(_json(text, new), tuple(lines))
    grafted = graft.graft(text, node, value, new) if node else None
    if grafted is not None:
        return Written(grafted, tuple(lines))
    if as_json is not None:
        return Written(_json(text, new), tuple(lines))
    lines.append(Line(lines[-1].name, "note", "the document is written anew, without its comments"))
    head = "---\n" if text.startswith("---") else ""
    return Written(head + yamls.write(new), tuple(lines))


def _at(place: Place, operations: tuple[Operation, ...]) -> list[Operation]:
    before = pointer(*place.path)
    return [each._replace(path=before + each.path) for each in operations]


def _lines(place: Place, done: str, outcome: Outcome) -> Iterator[Line]:
    for fault in outcome.faults:
        field = ".".join(filter(None, (place.field, fault.field)))
        yield Line(place.name, "fault", f"{field}: {fault.text}", is_fault=True)
    if outcome.faults:
        return
    if outcome.reason and not outcome.patch:
        yield Line(place.name, outcome.reason.word, f"left alone: {outcome.reason.text}")
    else:
        why = f": {outcome.reason.text}" if outcome.reason else ""
        yield Line(place.name, done.partition(" ")[0], f"{done}{why}")
    for note in outcome.notes:
        yield Line(place.name, "note", note)


def _read(text: str, as_json: Any) -> tuple[Any, Node | None]:  # noqa: ANN401 - any JSON
    """Return the value of a document, and its nodes if it can be changed in place."""
    if as_json is None:
        return yamls.read(text)
    try:
        return as_json, yamls.read(text)[1]
    except DepthError:
        raise
    except YamlError:  # tabs, say
        return as_json, None


def _as_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return a document that is JSON, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json(text: str, value: object) -> str:
    """Return a value laid out as the text was."""
    indent = _INDENT.search(text)
    separators = None if indent or ": " in text else (",", ":")
    made = json.dumps(
        value, ensure_ascii=False, indent=indent[1] if indent else None, separators=separators
    )
    return made + "\n" * text.endswith("\n")
