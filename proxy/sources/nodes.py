"""YAML or JSON → nodes that know where they stand; what they mean is read later (strict.py).

PyYAML's own composer calls itself for every level, so that a file of brackets ends the process,
looks at every scalar for its type, and holds whole lists. This one does neither: it takes a quarter
of the time, and of a `List` no more memory than for one item.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

TAG: Final = "tag:yaml.org,2002:"
# Schemas in CustomResourceDefinitions go the deepest: some thirty levels.
DEPTH_MAX: Final = 200
# What follows this member of a document is handed out item by item.
ITEMS: Final = "items"
ITEM_DEPTH: Final = 2

# libyaml's parser where the wheel has it: ten times as fast.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVERS: Final = yaml.SafeLoader.yaml_implicit_resolvers
_STRING: Final = f"{TAG}str"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


class Scalar:
    """A word: a string, or what its type is found to be when somebody asks."""

    __slots__ = ("_is_plain", "_tag", "line", "text")

    def __init__(
        self,
        text: str,
        line: int,
        tag: str | None,
        is_plain: bool,  # noqa: FBT001 - a word costs a tenth more with it by name
    ) -> None:
        self.text = text
        self.line = line
        self._tag = tag
        self._is_plain = is_plain

    @property
    def tag(self) -> str:
        """The type, as YAML 1.1 names it."""
        if self._tag is not None:
            return self._tag
        return _type_of(self.text) if self._is_plain else _STRING

    @property
    def is_null(self) -> bool:
        """Whether it is `null` or left empty."""
        if self._tag is not None:
            return self._tag == f"{TAG}null"
        return self._is_plain and self.text in _NULLS


class Mapping:
    """Names and values, in turn."""

    __slots__ = ("children", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.children: list[Node] = []

    def pairs(self) -> "Iterator[tuple[Node, Node]]":
        """Yield names with their values."""
        return zip(self.children[::2], self.children[1::2], strict=True)


class Sequence:
    """Items."""

    __slots__ = ("children", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.children: list[Node] = []


def _type_of(text: str) -> str:
    """Return the type of a word without quotes."""
    for tag, expression in _RESOLVERS.get(text[:1], ()):
        if expression.match(text):
            return str(tag)
    return _STRING


Node = Scalar | Mapping | Sequence


class Composed(NamedTuple):
    """A document, or before it the items of its member `items`, which it then lacks."""

    node: Node
    is_item: bool


class NodeError(Exception):
    """A file cannot be read on."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def compose(text: bytes) -> Iterator[Composed]:
    """Yield what is in a file. Raises NodeError."""
    try:
        loader = _LOADER(text)
        try:
            yield from _composed(loader.get_event)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 0
        raise NodeError(line, " ".join(filter(None, (fault.context, fault.problem)))) from fault
    except (yaml.YAMLError, UnicodeError) as fault:
        raise NodeError(0, str(fault).partition("\n")[0]) from fault


def _composed(next_event: Callable[[], Any]) -> Iterator[Composed]:
    """Yield documents and items. This loop sees every word of every file: it is kept lean."""
    open_nodes: list[Mapping | Sequence] = []
    depth = 0
    while True:
        event = next_event()
        kind = type(event)
        node: Node
        if kind is ScalarEvent:
            tag = None if event.tag == "!" else event.tag
            node = Scalar(event.value, event.start_mark.line + 1, tag, event.implicit[0])
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            node = open_nodes.pop()
            depth -= 1
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            line = event.start_mark.line + 1
            if depth == DEPTH_MAX:
                raise NodeError(line, f"is nested deeper than {DEPTH_MAX} levels")
            open_nodes.append(Mapping(line) if kind is MappingStartEvent else Sequence(line))
            depth += 1
            continue
        elif kind is AliasEvent:
            line = event.start_mark.line + 1
            raise NodeError(line, "is an alias (*name), which is not read")
        elif kind is StreamEndEvent:
            return
        else:
            continue
        if depth == 0:
            yield Composed(node, is_item=False)
        elif depth == ITEM_DEPTH and _are_items(open_nodes):
            yield Composed(node, is_item=True)
        else:
            open_nodes[-1].children.append(node)


def _are_items(open_nodes: list[Mapping | Sequence]) -> bool:
    """Whether what is open is the list `items` of a document."""
    document, items = open_nodes
    if isinstance(document, Sequence) or isinstance(items, Mapping):
        return False
    name = document.children[-1] if len(document.children) % 2 else None
    return isinstance(name, Scalar) and name.text == ITEMS
