"""YAML as Kubernetes reads it → raw values and nodes; and back.

PyYAML's own reading would change what it does not understand: `2024-01-01` would become a date,
`12:30` a number, and of a member that stands there twice one would be lost.
"""

import re
from collections import Counter
from collections.abc import Hashable
from typing import Any, Final

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode

from proxy.sources.nodes import DEPTH_MAX

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_NO_WORDS: Final = frozenset({f"{_TAG}timestamp", f"{_TAG}value"})
_COLON: Final = re.compile(r"[-+]?[0-9][0-9_]*:")

# What anchors may multiply to. A cluster's largest objects have some hundred thousand.
VALUES_MAX: Final = 1_000_000


class YamlError(Exception):
    """A document cannot be read; `line` counts from 1, 0 is unknown."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class DepthError(YamlError):
    """A document is nested too deep for everybody who would look at it."""


class _WithoutColon:
    """A pattern of numbers, but for those to the base of 60."""

    def __init__(self, expression: re.Pattern[str]) -> None:
        self._expression = expression

    def match(self, text: str) -> re.Match[str] | None:
        """Match as a pattern does."""
        return None if _COLON.match(text) else self._expression.match(text)


class _Loader(_BASE):  # type: ignore[misc] # of one of two classes
    """Reads words as Kubernetes does."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        counts = Counter(
            key.value for key, _ in node.value if isinstance(key, ScalarNode) and key.value != "<<"
        )
        twice = [name for name, count in counts.items() if count > 1]
        # Members that come by `<<` are added to the node, and may be there twice.
        if twice and not any(key.tag == f"{_TAG}merge" for key, _ in node.value):
            raise YamlError(node.start_mark.line + 1, f"{twice[0]!r} stands there twice")
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return made


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, _WithoutColon(expression) if tag in (f"{_TAG}int", f"{_TAG}float") else expression)
        for tag, expression in resolvers
        if tag not in _NO_WORDS
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str) -> tuple[Any, Node | None]:
    """Return the value of one document, and its nodes. Raises YamlError."""
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            _check_size(node)
            return loader.construct_document(node), node
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 0
        raise YamlError(line, " ".join(filter(None, (fault.context, fault.problem)))) from fault
    except (yaml.YAMLError, UnicodeError, ValueError) as fault:
        raise YamlError(0, str(fault).partition("\n")[0]) from fault


def write(value: object) -> str:
    """Return a value as YAML, members in their order, long lines left long."""
    return yaml.safe_dump(
        value, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 20
    )


def _check_depth(text: str) -> None:
    """Refuse what is nested so deep that libyaml's reader would run out of stack, and crash."""
    depth = 0
    for event in yaml.parse(text, Loader=_BASE):
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise DepthError(line, f"is nested deeper than {DEPTH_MAX} levels")
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


def _check_size(node: Node) -> None:
    """Refuse documents whose anchors multiply beyond bounds, or contain themselves."""
    sizes: dict[int, int] = {}

    def size(at: Node) -> int:
        known = sizes.get(id(at))
        if known is None:
            sizes[id(at)] = VALUES_MAX  # until it is known: who contains himself has no size
            known = 1 + sum(size(child) for each in at.value for child in _children(each))
            sizes[id(at)] = known
        return known

    if size(node) >= VALUES_MAX:
        raise YamlError(node.start_mark.line + 1, f"has more than {VALUES_MAX} values")


def _children(each: object) -> tuple[Node, ...]:
    if isinstance(each, tuple):
        return each
    return (each,) if isinstance(each, Node) else ()
