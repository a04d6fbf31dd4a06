"""What the reader sees: numbered steps, one plain sentence each, at most 100 columns wide."""

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

_COLUMNS_MAX: Final = 100
_INDENT: Final = "   "

_BOLD: Final = "1"
_DIM: Final = "2"
_GREEN: Final = "32"
_RED: Final = "31"


class DemoError(Exception):
    """Something is not as the demo claims, or could not be done; the text says what."""


class Story:
    """Writes to stdout, in colours where that is a terminal and NO_COLOR is not set."""

    def __init__(self) -> None:
        self._steps = 0
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                # A reader behind a pipe follows too; a terminal without arrows gets question marks.
                stream.reconfigure(errors="replace", line_buffering=True)

    def title(self, text: str) -> None:
        """Say what this is all about."""
        for line in textwrap.wrap(text, _COLUMNS_MAX):
            print(self._painted(_BOLD, line))

    def end(self, text: str) -> None:
        """Close."""
        print()
        self.title(text)

    def step(self, heading: str, sentence: str) -> None:
        """Open the next numbered step."""
        self._steps += 1
        print(f"\n{self._painted(_BOLD, f'{self._steps}. {heading}')}")
        self._wrapped(sentence)

    def sentence(self, text: str) -> None:
        """Explain."""
        self._wrapped(text)

    def command(self, *words: str) -> None:
        """Show what is typed, as an operator would type it."""
        print(self._painted(_DIM, f"{_INDENT}$ {' '.join(words)}"))

    def line(self, text: str) -> None:
        """Show output as it is; what is too wide goes on below, further in."""
        own_indent = " " * (len(text) - len(text.lstrip()))
        wrapped = textwrap.wrap(
            text,
            _COLUMNS_MAX,
            initial_indent=f"{_INDENT}  ",
            subsequent_indent=f"{_INDENT}  {own_indent}    ",
            break_on_hyphens=False,
        )
        for line in wrapped or [""]:
            print(line.rstrip())

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Show rows in columns as wide as their widest cell."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = zip(row, widths, strict=True)
            self.line("  ".join(cell.ljust(width) for cell, width in cells).rstrip())

    def proved(self, text: str) -> None:
        """State what the demo has just checked."""
        first, *rest = textwrap.wrap(text, _COLUMNS_MAX - len(_INDENT) - 3)
        print(f"{_INDENT}{self._painted(_GREEN, 'ok')} {first}")
        for line in rest:
            print(f"{_INDENT}   {line}")

    def failed(self, text: str) -> None:
        """State what went wrong, on stderr."""
        red = self._colours and sys.stderr.isatty()
        word = f"\033[{_RED}mFAILED\033[0m" if red else "FAILED"
        print(f"\n{word}: {text}", file=sys.stderr)

    def log(self, name: str, lines: Sequence[str]) -> None:
        """Show the end of a program's log as it is, on stderr."""
        print(f"\n--- log of {name}", file=sys.stderr)
        for line in lines or ["(nothing)"]:
            print(line, file=sys.stderr)

    def _wrapped(self, text: str) -> None:
        for line in textwrap.wrap(text, _COLUMNS_MAX - len(_INDENT), break_on_hyphens=False):
            print(f"{_INDENT}{line}")

    def _painted(self, colour: str, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colours else text


def human_bytes(count: int) -> str:
    """Give "512 B", "1.2 KiB" or "64.0 MiB"."""
    if count < 1 << 10:
        return f"{count} B"
    return f"{count / (1 << 10):.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


def human_ms(milliseconds: float) -> str:
    """Give "0.31 ms", "12 ms" or "2.4 s"."""
    if milliseconds < 10:  # noqa: PLR2004 - below it a decimal tells something
        return f"{milliseconds:.2f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004
