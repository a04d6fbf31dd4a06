"""Where the time goes: stacks of `perf`, as a tree, as a table and as a flame graph (SVG).

A flame graph (Brendan Gregg, CACM 2016): a frame is as wide as its share of the samples, and stands
on the one that called it. Colours tell kernel, data plane, TLS and the rest apart.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, NamedTuple

from bench.callgrind import named

WIDTH: Final = 1200.0
ROW: Final = 17
LETTER: Final = 6.6  # pixels, of the font below
LETTERS_MIN: Final = 3
NARROWEST: Final = 0.4  # pixels: what is narrower nobody can see
COLOURS: Final = {
    "kernel": "#8da0cb",
    "remora": "#fc8d62",
    "TLS": "#66c2a5",
    "other": "#e5c494",
}
_CRYPTO: Final = ("_rust", "libssl", "libcrypto")


class Frame(NamedTuple):
    """One function on a stack."""

    name: str
    kind: str


@dataclass
class Node:
    """A frame with all that it called."""

    frame: Frame
    samples: int = 0
    below: dict[Frame, "Node"] = field(default_factory=dict)


def stacks(lines: Iterable[str], thread: str) -> Iterator[list[Frame]]:
    """Read `perf script -F comm,ip,sym,dso`: the stacks of one thread, outermost frame first."""
    found: list[Frame] | None = None
    for line in lines:
        if not line.strip():
            if found:
                yield found[::-1]
            found = None
        elif not line[0].isspace():
            found = [] if line.strip() == thread else None
        elif found is not None:
            found.append(_frame(line))
    if found:
        yield found[::-1]


def _frame(line: str) -> Frame:
    _, _, rest = line.strip().partition(" ")
    name, _, place = rest.rpartition(" ")
    place = place.strip("()")
    if place.startswith("[kernel") or place.endswith(".ko"):
        kind = "kernel"
    elif "_fastpath" in place:
        kind = "remora"
    elif any(word in place for word in _CRYPTO):
        kind = "TLS"
    else:
        kind = "other"
    return Frame(named(name.strip()), kind)


def tree(found: Iterable[Sequence[Frame]]) -> Node:
    """Put all stacks together."""
    root = Node(Frame("all", "other"))
    for stack in found:
        root.samples += 1
        node = root
        for frame in stack:
            node = node.below.setdefault(frame, Node(frame))
            node.samples += 1
    return root


def shares(found: Sequence[Sequence[Frame]]) -> tuple[Counter[str], Counter[Frame]]:
    """Return the samples by kind, and by the function that ran itself."""
    kinds, functions = Counter[str](), Counter[Frame]()
    for stack in found:
        if stack:
            kinds[stack[-1].kind] += 1
            functions[stack[-1]] += 1
    return kinds, functions


def svg(root: Node, title: str) -> str:
    """Draw the tree."""
    rows = list(_rows(root, 0.0, WIDTH, 0))
    height = (max(depth for _, _, _, depth in rows) + 2) * ROW + 10
    size = f'width="{WIDTH:.0f}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="4" y="13">{escape(title)}</text>',
    ]
    for node, left, width, depth in rows:
        top = height - (depth + 1) * ROW - 4
        share = f"{100 * node.samples / root.samples:.1f} %"
        room = int((width - 4) / LETTER)
        label = node.frame.name if len(node.frame.name) <= room else node.frame.name[: room - 1]
        parts.append(
            f"<g><title>{escape(node.frame.name)}: {share}</title>"
            f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 1}"'
            f' fill="{COLOURS[node.frame.kind]}"/>'
            + (
                f'<text x="{left + 2:.1f}" y="{top + 12}">{escape(label)}</text>'
                if room >= LETTERS_MIN
                else ""
            )
            + "</g>"
        )
    return "\n".join([*parts, "</svg>\n"])


def _rows(
    node: Node, left: float, width: float, depth: int
) -> Iterator[tuple[Node, float, float, int]]:
    yield node, left, width, depth
    for child in sorted(node.below.values(), key=lambda each: each.frame.name):
        part = width * child.samples / node.samples
        if part >= NARROWEST:
            yield from _rows(child, left, part, depth + 1)
        left += part
