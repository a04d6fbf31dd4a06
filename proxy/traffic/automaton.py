"""The tree of a regular expression → the smallest table that decides it in one step a byte.

Thompson's construction makes an automaton with choices, the subset construction takes the choices
away, Moore's refinement joins the states that nobody can tell apart. What could take long or much
memory is bounded: the main thread compiles, and probes wait for it.
"""

from typing import Final, NamedTuple

from proxy.traffic.rows import Dfa

STATES_MAX: Final = 1000
_NODES_MAX: Final = 4000
# Steps of the subset construction: about half a second of work.
_WORK_MAX: Final = 500_000


class Bytes(NamedTuple):
    """One byte of a set."""

    chosen: frozenset[int]


class Chain(NamedTuple):
    """One after the other; none: the empty word."""

    parts: "tuple[Node, ...]"


class Alternatives(NamedTuple):
    """One of them."""

    choices: "tuple[Node, ...]"


class Repeat(NamedTuple):
    """The same several times; `most` None: without end."""

    inner: "Node"
    least: int
    most: int | None


class Anchor(NamedTuple):
    """A place in the word."""

    is_start: bool


Node = Bytes | Chain | Alternatives | Repeat | Anchor
START: Final = Anchor(is_start=True)
END: Final = Anchor(is_start=False)


class TooLargeError(Exception):
    """The expression needs more than there is; the text says of what."""


class _Automaton:
    """States with edges: for bytes, for nothing, and for nothing at the word's start or end."""

    def __init__(self) -> None:
        self.on_bytes: list[tuple[frozenset[int], int] | None] = []
        self.free: list[list[int]] = []
        self.at: list[list[tuple[Anchor, int]]] = []

    def state(self) -> int:
        """Make a state."""
        if len(self.free) >= _NODES_MAX:
            raise TooLargeError(f"more than {_NODES_MAX} places: repeat less")
        self.on_bytes.append(None)
        self.free.append([])
        self.at.append([])
        return len(self.free) - 1

    def add(self, node: Node, source: int) -> int:
        """Add a tree behind `source` and return the state at its end."""
        if isinstance(node, Bytes):
            # A state has one edge for bytes: the new one begins in a state of its own.
            start, end = self.state(), self.state()
            self.free[source].append(start)
            self.on_bytes[start] = (node.chosen, end)
            return end
        if isinstance(node, Chain):
            for part in node.parts:
                source = self.add(part, source)
            return source
        if isinstance(node, Anchor):
            end = self.state()
            self.at[source].append((node, end))
            return end
        if isinstance(node, Alternatives):
            end = self.state()
            for choice in node.choices:
                start = self.state()
                self.free[source].append(start)
                self.free[self.add(choice, start)].append(end)
            return end
        return self._repeat(node, source)

    def _repeat(self, node: Repeat, source: int) -> int:
        for _ in range(node.least):
            source = self.add(node.inner, source)
        if node.most is None:
            start, end = self.state(), self.state()
            self.free[source].append(start)
            self.free[self.add(node.inner, start)].append(start)
            self.free[start].append(end)
            return end
        end = self.state()
        for _ in range(node.most - node.least):
            self.free[source].append(end)
            source = self.add(node.inner, source)
        self.free[source].append(end)
        return end

    def closed(self, states: set[int], *, is_start: bool, is_end: bool) -> frozenset[int]:
        """Return what is reached without a byte."""
        found, waiting = set(states), list(states)
        while waiting:
            state = waiting.pop()
            near = list(self.free[state])
            near += [
                to for anchor, to in self.at[state] if (is_start if anchor.is_start else is_end)
            ]
            new = [to for to in near if to not in found]
            found.update(new)
            waiting += new
        return frozenset(found)


def compile_tree(tree: Node) -> Dfa:
    """Return the table of a tree. Raises TooLargeError."""
    automaton = _Automaton()
    start = automaton.state()
    final = automaton.add(tree, start)
    classes, members = _classes(automaton)
    steps, accepting = _subsets(automaton, start, final, members)
    steps, accepting = _minimal(steps, accepting)
    if len(steps) > STATES_MAX:
        raise TooLargeError(f"{len(steps)} states; {STATES_MAX} are the most")
    flat = tuple(state for row in steps for state in row)
    return Dfa(bytes(classes), len(members), flat, bytes(accepting))


def _classes(automaton: _Automaton) -> tuple[list[int], list[int]]:
    """Return the class of each byte, and one byte of each class: bytes that no edge tells apart."""
    sets = list(dict.fromkeys(edge[0] for edge in automaton.on_bytes if edge))
    numbers: dict[tuple[bool, ...], int] = {}
    members: list[int] = []
    classes = []
    for byte in range(256):
        signature = tuple(byte in chosen for chosen in sets)
        if signature not in numbers:
            numbers[signature] = len(numbers)
            members.append(byte)
        classes.append(numbers[signature])
    return classes, members


def _subsets(
    automaton: _Automaton, start: int, final: int, members: list[int]
) -> tuple[list[list[int]], list[bool]]:
    """Return the table of all sets of states that can be reached, and which of them accept."""
    # A set is named by its states before the anchors of the word's end are passed.
    first = automaton.closed({start}, is_start=True, is_end=False)
    numbers = {first: 0}
    waiting = [first]
    steps: list[list[int]] = []
    accepting: list[bool] = []
    work = 0
    for current in waiting:
        edges = [edge for state in current if (edge := automaton.on_bytes[state])]
        row = []
        for byte in members:
            reached = {to for chosen, to in edges if byte in chosen}
            following = automaton.closed(reached, is_start=False, is_end=False)
            work += 1 + len(edges) + len(following)
            if work > _WORK_MAX:
                raise TooLargeError("more work than one expression may make")
            if following not in numbers:
                numbers[following] = len(numbers)
                waiting.append(following)
            row.append(numbers[following])
        steps.append(row)
        # The empty word is at its start and at its end.
        at_end = automaton.closed(set(current), is_start=current is first, is_end=True)
        accepting.append(final in at_end)
    return steps, accepting


def _minimal(steps: list[list[int]], accepting: list[bool]) -> tuple[list[list[int]], list[bool]]:
    """Join states that no word tells apart. The first state stays the first."""
    groups = [int(is_accepting) for is_accepting in accepting]
    count = len(set(groups))
    while True:
        numbers: dict[tuple[int, ...], int] = {}
        groups = [
            numbers.setdefault((groups[state], *(groups[to] for to in row)), len(numbers))
            for state, row in enumerate(steps)
        ]
        if len(numbers) == count:
            break
        count = len(numbers)
    rows: dict[int, list[int]] = {}
    for state, row in enumerate(steps):
        rows.setdefault(groups[state], [groups[to] for to in row])
    accepts = dict(zip(groups, accepting, strict=True))
    return [rows[group] for group in range(count)], [accepts[group] for group in range(count)]
