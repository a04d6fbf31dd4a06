"""Sizes, words and places: what every file of the tree must look like."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sources import (
    BUILDERS,
    EXTENSION,
    MODULES,
    ROOT,
    Function,
    functions,
    name_of,
    source_files,
)

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

# A ratchet: a function above the limit stands here with its length, and may only shrink.
LONG_FUNCTIONS: dict[str, int] = {}

TOP_LEVEL = {
    *("pyproject.toml", "README.md", "Makefile", "LICENSE"),
    *("proxy", "iptables", "tests", "bench", "inject", "deploy", "docs"),
}
BUILD_OUTPUT = re.compile(r"build|dist|.*\.egg-info|__pycache__")

# Letters in brackets, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO[D]O|FI[X]ME|X[X]X|HA[C]K)\b")
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.~])/(h[o]me|U[s]ers|w[o]rk)/\w")

CALLED = re.compile(r"\b(\w+)\s*\(")
HANDED_ON = re.compile(r"(?<=[(=,])\s*&?(\w+)\s*(?=[,)])")

CYTHON_FILES = [EXTENSION, *BUILDERS, *MODULES]
SOURCE_FILES = source_files()


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines; a file that is no text has none."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    yield from enumerate(text.splitlines(), 1)


def places(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in SOURCE_FILES
        for number, line in text_lines(path)
        if pattern.search(line)
    ]


def fast_functions() -> list[Function]:
    return [function for path in MODULES for function in functions(path)]


def test_the_top_level_holds_only_what_its_owner_fixed() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert not {name for name in names - TOP_LEVEL if not BUILD_OUTPUT.fullmatch(name)}


def test_every_header_only_module_is_a_dependency_of_the_extension() -> None:
    """Setuptools rebuilds by this list, and puts it into the source distribution."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    (extension,) = tools["setuptools"]["ext-modules"]
    assert extension["depends"] == sorted(map(name_of, EXTENSION.parent.rglob("*.pxd")))


def test_no_work_is_left_for_later() -> None:
    assert not places(UNFINISHED)


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    assert not places(SOMEBODYS_FOLDER)


@pytest.mark.parametrize("path", CYTHON_FILES, ids=name_of)
def test_a_cython_file_fits_the_limits_of_length_and_width(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= FILE_LINES_MAX
    wide = [
        number
        for number, line in enumerate(lines, 1)
        if len(line) > COLUMNS_MAX and not line.startswith("# cython:")
    ]
    assert not wide, f"lines wider than {COLUMNS_MAX} columns"


def test_no_function_is_longer_than_a_screen() -> None:
    sizes = {
        f"{function.path.stem}.{function.name}": len(function.lines)
        for path in CYTHON_FILES
        for function in functions(path)
    }
    too_long = {name: size for name, size in sizes.items() if size > FUNCTION_LINES_MAX}
    assert too_long == LONG_FUNCTIONS


def test_every_fast_function_is_inline_without_exceptions_and_without_the_gil() -> None:
    """In a .pxd the signature is the contract: a lost exception would be printed and forgotten."""
    assert not [
        f"{name_of(function.path)}: {function.name}"
        for function in fast_functions()
        if not function.signature.startswith("cdef inline ")
        or not function.signature.endswith(" noexcept nogil:")
    ]


def test_every_fast_function_is_used() -> None:
    text = "\n".join(path.read_text() for path in CYTHON_FILES)
    # Its own signature counts, too; each pattern goes through all of the text once.
    named = Counter(CALLED.findall(text)) + Counter(HANDED_ON.findall(text))
    assert not [
        f"{name_of(function.path)}: {function.name}"
        for function in fast_functions()
        if named[function.name] == 1
    ]
