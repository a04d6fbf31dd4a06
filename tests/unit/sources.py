"""The tree as the tidy tests read it: which files there are, and what a Cython file says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FAST: Final = ROOT / "proxy" / "fast"
EXTENSION: Final = ROOT / "proxy" / "_fastpath.pyx"
# Its other halves: Python into C memory, and back.
BUILDERS: Final = sorted((ROOT / "proxy").glob("_*.pxd"))

# The header-only modules; the package marker is empty by design.
MODULES: Final = sorted(path for path in FAST.glob("*.pxd") if path.stem != "__init__")

# Folders that hold source; what a build leaves in them is no source.
FOLDERS: Final = (".ci", "proxy", "iptables", "tests", "bench", "inject", "deploy", "docs")
BUILT: Final = {".c", ".so", ".html", ".pyc"}


def source_files() -> list[Path]:
    """Every file that people wrote, the loose ones of the top level too."""
    nested = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    loose = (path for path in ROOT.iterdir() if path.name != ".git")
    return sorted(path for path in (*nested, *loose) if path.is_file() and _is_written(path))


def _is_written(path: Path) -> bool:
    if {"__pycache__", "out"} & set(path.parts):
        return False
    # C is generated only where Cython puts it; elsewhere (benchmark tools) it is source.
    return path.suffix not in BUILT or (path.suffix == ".c" and path.parent != EXTENSION.parent)


def name_of(path: Path) -> str:
    """Path below the root, for messages."""
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Function:
    """One function of a Cython file."""

    path: Path
    name: str
    lines: tuple[str, ...]  # signature and body, without the blank lines and comments after it

    @property
    def signature(self) -> str:
        """All up to the colon that opens the body, on one line."""
        last = next(i for i, line in enumerate(self.lines) if line.rstrip().endswith(":"))
        return " ".join(" ".join(self.lines[: last + 1]).split())


def functions(path: Path) -> Iterator[Function]:
    """Yield the functions of a .pxd or .pyx; a declaration without a body is none."""
    lines = path.read_text().splitlines()
    for start, line in enumerate(lines):
        match = re.match(r"( *)(?:cdef|cpdef|def) [^=#]*?(\w+)\(", line)
        if match:
            end = _end_of_block(lines, start, len(match[1]))
            yield Function(path, match[2], tuple(lines[start:end]))


def _end_of_block(lines: list[str], start: int, indent: int) -> int:
    """Index after the last line of code of the block that `lines[start]` opens."""
    end = start + 1
    for index in range(start + 1, len(lines)):
        text = lines[index].lstrip()
        if not text:
            continue
        # A signature of several lines closes with a parenthesis in its own column.
        if len(lines[index]) - len(text) <= indent and not text.startswith(")"):
            break
        end = index + 1
    return end
