"""Looking at the files of an image."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_NEEDED: Final = re.compile(r"\(NEEDED\).*\[(.*)\]")


def files(tree: Path) -> list[Path]:
    """Return the plain files: no folders, no links."""
    return sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())


def elf_files(tree: Path) -> list[Path]:
    """Return programs and libraries."""
    return [path for path in files(tree) if path.read_bytes()[:4] == b"\x7fELF"]


def libraries_missing(*trees: Path) -> dict[str, list[str]]:
    """Return the libraries that no tree has, each with the files that need it."""
    have = {path.name for tree in trees for path in tree.rglob("*.so*")}
    missing: dict[str, list[str]] = {}
    for path in (path for tree in trees for path in elf_files(tree)):
        for name in needed_by(path):
            if name not in have:
                missing.setdefault(name, []).append(path.name)
    return missing


def needed_by(path: Path) -> Iterable[str]:
    """Return the names of the libraries that a file asks for."""
    told = subprocess.run(["readelf", "-dW", path], capture_output=True, text=True, check=True)
    return _NEEDED.findall(told.stdout)
