"""Tables, sizes and times for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Final

_KIB: Final = 1024
_SECOND_MS: Final = 1000
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns as wide as their widest cell."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def size(count: float) -> str:
    """Return a number of bytes in the unit that fits."""
    if count < _KIB:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= _KIB
        if count < _KIB:
            return f"{count:.1f} {unit}"
    return f"{count / _KIB:.1f} TiB"


def span(milliseconds: float) -> str:
    """Return a time in the units that fit."""
    if milliseconds < _SECOND_MS:
        return f"{milliseconds:.1f}ms"
    seconds = milliseconds / _SECOND_MS
    if seconds < _MINUTE_S:
        return f"{seconds:.1f}s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S:.0f}m{seconds % _MINUTE_S:02.0f}s"
    return f"{seconds // _HOUR_S:.0f}h{seconds % _HOUR_S // _MINUTE_S:02.0f}m"


def printable(text: str) -> str:
    """Return a peer's text with nothing in it that a terminal obeys."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def hints(by_word: Mapping[str, str]) -> str:
    """Return what to do about each word, below a table; words without a hint are left out."""
    lines = [f"  {word}: {hint}" for word, hint in sorted(by_word.items()) if hint]
    return "\n\n" + "\n".join(lines) if lines else ""
