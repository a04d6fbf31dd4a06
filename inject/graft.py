"""A changed value → the text it was read from, changed only where the value is.

Comments, quotes, order and layout stay, so that a diff shows the sidecar and nothing else. Only
members and items that come or go are handled here, line by line; whatever this cannot do ends in
None, and the caller proves the rest by reading the text that comes out.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeAlias

from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from inject import yamls

# What ends a word within brackets, or begins something else.
_MARKS: Final = frozenset(',[]{}#"')
# A member with its name, an item twice.
_Pairs: TypeAlias = list[tuple[Node, Node]]


class _Edit(NamedTuple):
    """Replace a stretch of the text."""

    start: int
    end: int
    text: str


class _UnableError(Exception):
    """The text is of a form that is not changed in place."""


def graft(text: str, node: Node, old: Any, new: Any) -> str | None:  # noqa: ANN401 - any JSON
    """Return the text of `old`, read as `node`, so that it says `new`; None if that is too hard."""
    grafter = _Grafter(text if text.endswith("\n") else f"{text}\n")
    try:
        changed = _edited(grafter.text, sorted(grafter.edits(node, old, new)))
        # The proof: a wrong edit would show here, and is then not used.
        return changed if yamls.read(changed)[0] == new else None
    except (_UnableError, yamls.YamlError, IndexError):
        return None


def _edited(text: str, edits: list[_Edit]) -> str:
    """Return a text with edits made. At one place, lines that are further in come first."""
    made, done = list[str](), 0
    for start, end, replacement in edits:
        made += (text[done:start], replacement)
        done = end
    return "".join((*made, text[done:]))


class _Grafter:
    """Finds out what to change where in one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def edits(self, node: Node, old: Any, new: Any) -> Iterator[_Edit]:  # noqa: ANN401
        """Yield what changes; places of the text as it is."""
        if old == new:
            return
        if isinstance(node, MappingNode) and isinstance(old, dict) and isinstance(new, dict):
            yield from self._mapping(node, old, new)
        elif isinstance(node, SequenceNode) and isinstance(old, list) and isinstance(new, list):
            yield from self._sequence(node, old, new)
        elif isinstance(node, ScalarNode) and self._is_short(node):
            start, end = self._offset(node.start_mark), self._offset(node.end_mark)
            yield _Edit(start, end, f"{' ' * (start == end)}{_scalar(new)}")
        else:
            raise _UnableError

    def _mapping(
        self, node: MappingNode, old: dict[str, Any], new: dict[str, Any]
    ) -> Iterator[_Edit]:
        names = [key.value for key, _ in node.value]
        if names != list(old) or not all(isinstance(name, str) for name in old):
            raise _UnableError  # members that come by `<<`, or names that are numbers
        gone = [name not in new for name in names]
        added = {name: value for name, value in new.items() if name not in old}
        if gone and all(gone) and not node.flow_style:
            raise _UnableError  # a block of nothing is null
        pairs = list(node.value)
        first = 0
        for is_gone, run in groupby(gone):
            end = first + len(list(run))
            if is_gone:
                yield self._cut(node, pairs, first, end)
            else:
                for key, value in pairs[first:end]:
                    yield from self.edits(value, old[key.value], new[key.value])
            first = end
        if added:
            written = [f"{_flow(name)}: {_flow(value)}" for name, value in added.items()]
            yield self._put(node, pairs, len(pairs), written, yamls.write(added))

    def _sequence(self, node: SequenceNode, old: list[Any], new: list[Any]) -> Iterator[_Edit]:
        pairs = [(item, item) for item in node.value]
        if len(old) == len(new):
            for item, before, after in zip(node.value, old, new, strict=True):
                yield from self.edits(item, before, after)
            return
        first = 0
        while first < min(len(old), len(new)) and old[first] == new[first]:
            first += 1
        more = len(new) - len(old)
        if more > 0 and old[first:] == new[first + more :]:
            added = new[first : first + more]
            yield self._put(node, pairs, first, list(map(_flow, added)), yamls.write(added))
        elif more < 0 and old[first - more :] == new[first:] and (new or node.flow_style):
            yield self._cut(node, pairs, first, first - more)
        else:
            raise _UnableError

    def _put(
        self, node: CollectionNode, pairs: _Pairs, index: int, flow: list[str], block: str
    ) -> _Edit:
        """Add members or items before the one at `index`."""
        if node.flow_style:
            inner = ", ".join(flow)
            if index == 0:
                at = self._offset(node.start_mark) + 1
                return _Edit(at, at, f"{inner}, " if pairs else inner)
            at = self._offset(pairs[index - 1][1].end_mark)
            return _Edit(at, at, f", {inner}")
        indent = " " * self._column(node, pairs)
        lines = "".join(f"{indent}{line}\n" for line in block.splitlines())
        line = self._line_of(pairs[index][0]) if index < len(pairs) else self._after(pairs[-1][1])
        return _Edit(self._starts[line], self._starts[line], lines)

    def _cut(self, node: CollectionNode, pairs: _Pairs, first: int, end: int) -> _Edit:
        """Remove members or items."""
        if node.flow_style:
            if first:
                start = self._offset(pairs[first - 1][1].end_mark)
                return _Edit(start, self._offset(pairs[end - 1][1].end_mark), "")
            start = self._offset(pairs[0][0].start_mark)
            if end < len(pairs):
                return _Edit(start, self._offset(pairs[end][0].start_mark), "")
            return _Edit(start, self._offset(pairs[end - 1][1].end_mark), "")
        start_line, end_line = self._line_of(pairs[first][0]), self._after(pairs[end - 1][1])
        return _Edit(self._starts[start_line], self._starts[end_line], "")

    def _column(self, node: CollectionNode, pairs: _Pairs) -> int:
        """Return where the lines of a block begin."""
        if isinstance(node, MappingNode):
            return int(pairs[0][0].start_mark.column)
        # Of a list whose dashes stand below its name, PyYAML tells the place of the first dash.
        return int(node.start_mark.column)

    def _line_of(self, node: Node) -> int:
        return int(node.start_mark.line)

    def _after(self, node: Node) -> int:
        """Return the line after the last one of a value, comments below it not counted."""
        if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
            mark = node.end_mark
            return int(mark.line) + int(mark.column > 0)
        if not isinstance(node, MappingNode):
            last: Node = node.value[-1]
            return self._after(last)
        name, value = node.value[-1]
        if value.start_mark.index < name.start_mark.index:
            return self._line_of(name) + 1  # an alias: its node is where the anchor is
        return self._after(value)

    def _offset(self, mark: Any) -> int:  # noqa: ANN401 - of one of two parsers
        return int(self._starts[mark.line] + mark.column)

    def _is_short(self, node: ScalarNode) -> bool:
        return bool(node.start_mark.line == node.end_mark.line)


def _scalar(value: object) -> str:
    """Return a value for the place of a scalar: written as it would be in a new document."""
    written = yamls.write(value).splitlines()
    is_anywhere = isinstance(value, str) and (written[0][0] == "'" or not set(written[0]) & _MARKS)
    is_whole = len(written) == 1 or written[1:] == ["..."]
    return written[0] if is_anywhere and is_whole else _flow(value)


def _flow(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
