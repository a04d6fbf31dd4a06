"""Fields of objects, read strictly: what is wrong has a file, a line, an object and a field.

Nodes stay nodes, because they know where they stand; plain values come out of
the functions here, and a word that a reader does not know is a fault and not ignored.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from proxy.sources.nodes import TAG, Mapping, Node, Scalar, Sequence

T = TypeVar("T")

# Members of every object.
TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")

# A time is a string for Kubernetes.
_STRINGS: Final = frozenset({f"{TAG}str", f"{TAG}timestamp"})
_DIGITS_MAX: Final = 19  # of a number of 64 bits


class Fault(NamedTuple):
    """What is wrong, and where. Fields that do not apply are empty, the line 0."""

    file: str
    line: int
    object: str  # "AuthorizationPolicy shop/web"
    field: str  # "spec.rules[0].from"
    text: str

    def __str__(self) -> str:
        """Return a sentence that begins like a compiler's."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(filter(None, (place, self.object, self.field, self.text)))


class FaultsError(Exception):
    """Objects cannot be used; every fault says why."""

    def __init__(self, faults: Collection[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


class Value:
    """A value of an object, and where it stands."""

    __slots__ = ("_name", "_outer", "file", "node", "owner")

    def __init__(
        self,
        node: Node,
        file: str,
        owner: str = "",
        outer: "Value | None" = None,
        name: str | int = "",
    ) -> None:
        self.node = node
        self.file = file
        self.owner = owner
        self._outer = outer
        self._name = name

    @property
    def line(self) -> int:
        """Its line, from 1 on."""
        return self.node.line

    @property
    def field(self) -> str:
        """Its place in the object: "spec.rules[0].from"; "" is the object itself."""
        before = self._outer.field if self._outer else ""
        if isinstance(self._name, int):
            return f"{before}[{self._name}]"
        return f"{before}.{self._name}" if before else self._name

    def fault(self, text: str) -> FaultsError:
        """Return what to raise when this value is wrong."""
        return FaultsError([Fault(self.file, self.line, self.owner, self.field, text)])

    @property
    def is_null(self) -> bool:
        """Whether it is `null` or left empty: as if it was not there."""
        return isinstance(self.node, Scalar) and self.node.is_null

    @property
    def is_text(self) -> bool:
        """Whether it is a string and not a number or a truth value."""
        return isinstance(self.node, Scalar) and self.node.tag == f"{TAG}str"

    def members(
        self, known: Collection[str] | None = None, faults: list[Fault] | None = None
    ) -> dict[str, "Value"]:
        """Return the members of an object, nulls left out.

        A word outside `known` is a fault: it goes into `faults`, or is raised.
        """
        if self.is_null:
            return {}
        if not isinstance(self.node, Mapping):
            raise self.fault("must be an object")
        members: dict[str, Value] = {}
        nulls: set[str] = set()
        for key, node in self.node.pairs():
            name = key.text if isinstance(key, Scalar) else "?"
            if known is not None and name not in known:
                wrong = Value(key, self.file, self.owner, self, name).fault("is not supported")
                if faults is None:
                    raise wrong
                faults += wrong.faults
                continue
            inner = Value(node, self.file, self.owner, self, name)
            if name in members or name in nulls:
                raise inner.fault("stands there twice")
            if isinstance(node, Scalar) and node.is_null:
                nulls.add(name)
            else:
                members[name] = inner
        return members

    def get(self, *path: str) -> "Value | None":
        """Return what a path of member names leads to, or None where it ends early."""
        at: Value | None = self
        for name in path:
            at = at.members().get(name) if at else None
        return at

    def items(self) -> "list[Value]":
        """Return the items of a list."""
        if self.is_null:
            return []
        if not isinstance(self.node, Sequence):
            raise self.fault("must be a list")
        return [
            Value(node, self.file, self.owner, self, index)
            for index, node in enumerate(self.node.children)
        ]

    def text(self) -> str:
        """Return a string. A number or a truth value is none, as in Kubernetes."""
        if not isinstance(self.node, Scalar):
            raise self.fault("must be a string")
        if self.node.tag not in _STRINGS:
            raise self.fault(f"must be a string: put {self.node.text} in quotes")
        return self.node.text

    def integer(self) -> int:
        """Return a whole number."""
        if isinstance(self.node, Scalar) and self.node.tag == f"{TAG}int":
            text = self.node.text
            if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
                return int(text)
        raise self.fault("must be a whole number")

    def number(self) -> float:
        """Return a number that may have a fraction."""
        if isinstance(self.node, Scalar) and self.node.tag in {f"{TAG}int", f"{TAG}float"}:
            with suppress(ValueError):
                return float(self.node.text)
        raise self.fault("must be a number")

    def between(self, low: int, high: int) -> int:
        """Return a whole number within two others, both included."""
        number = self.integer()
        if not low <= number <= high:
            raise self.fault(f"{number} is outside {low} to {high}")
        return number

    def truth(self) -> bool:
        """Return true or false."""
        if isinstance(self.node, Scalar) and self.node.tag == f"{TAG}bool":
            return self.node.text.lower() == "true"
        raise self.fault("must be true or false")

    def texts(self) -> dict[str, str]:
        """Return an object of strings, such as labels."""
        return {name: value.text() for name, value in self.members().items()}

    def choice(self, *words: str) -> str:
        """Return one of some words."""
        text = self.text()
        if text not in words:
            raise self.fault(f"{text!r} is none of {', '.join(words)}")
        return text


def each_text(values: list[Value]) -> Iterator[tuple[Value, str]]:
    """Yield strings of a list, and where each stands; an empty one is a fault."""
    for value in values:
        text = value.text()
        if not text:
            raise value.fault("is empty")
        yield value, text


class Fields:
    """Members of an object, read one by one: what is wrong with one does not hide the others."""

    def __init__(
        self, value: Value | None, known: Collection[str] | None, faults: list[Fault]
    ) -> None:
        self._faults = faults
        self._members: dict[str, Value] = {}
        if value is not None:
            try:
                self._members = value.members(known, faults)
            except FaultsError as wrong:
                faults += wrong.faults

    def get(self, name: str) -> Value | None:
        """Return a member as it is."""
        return self._members.get(name)

    def read(self, name: str, read: Callable[[Value], T], default: T) -> T:
        """Return a member, or the default where it is not there or wrong."""
        at = self._members.get(name)
        if at is None:
            return default
        try:
            return read(at)
        except FaultsError as wrong:
            self._faults += wrong.faults
            return default

    def each(self, name: str, read: Callable[[Value], T]) -> tuple[T, ...]:
        """Return the items of a list; what is wrong with one does not hide the others."""
        found: list[T] = []
        items: list[Value] = []
        for item in self.read(name, Value.items, items):
            try:
                found.append(read(item))
            except FaultsError as wrong:
                self._faults += wrong.faults
        return tuple(found)
