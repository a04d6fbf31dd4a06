"""A table, as text for a terminal or as Markdown for a report."""

from dataclasses import dataclass, field


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:  # noqa: PLR2004 - a matter of digits
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004


@dataclass(frozen=True)
class Table:
    """Words stand on the left of their columns, numbers on the right; notes stand below."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    words: frozenset[int] = frozenset({0})  # columns that hold words

    def text(self) -> str:
        """Lay it out for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.headers, *self.rows, strict=True)]
        lines = [self.title, *(self._line(row, widths) for row in (self.headers, *self.rows))]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def markdown(self) -> str:
        """Lay it out for a report."""
        rule = [":--" if column in self.words else "--:" for column in range(len(self.headers))]
        lines = [f"## {self.title}", ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (self.headers, rule, *self.rows)]
        lines += ["", *[f"- {note}" for note in self.notes]]
        return "\n".join(lines).rstrip()

    def _line(self, cells: list[str], widths: list[int]) -> str:
        columns = enumerate(zip(cells, widths, strict=True))
        laid = [c.ljust(w) if column in self.words else c.rjust(w) for column, (c, w) in columns]
        return "  " + "  ".join(laid).rstrip()
