"""The order of imports: in proxy/fast by layers, in Python one way."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.sources import BUILDERS, EXTENSION, FAST, MODULES, ROOT, name_of

# How a module opens: its directives (those of the .pyx do not reach it), then its layer.
OPENING = re.compile(r"# cython: language_level=3.*cdivision=True.*\n#\n# L([0-6])\. \S")
CIMPORT = re.compile(
    r"^from proxy\.fast\.(\w+) cimport|^from proxy\.fast cimport (\w+)", re.MULTILINE
)

# Layers without I/O: L3 turns bytes into verdicts, L4 decides over a snapshot.
PURE_LAYERS = {3, 4}
IMPURE_MODULES = {"platform", "openssl", "atomics"}

PACKAGES = ("proxy", "iptables", "inject")

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)


@cache
def layer_of(path: Path) -> int:
    opening = OPENING.match(path.read_text())
    assert opening, f"{name_of(path)} must open with '# cython: ...', '#', '# L<layer>. What it is'"
    return int(opening[1])


def cimported(path: Path) -> list[Path]:
    stems = (first or second for first, second in CIMPORT.findall(path.read_text()))
    return [FAST / f"{stem}.pxd" for stem in stems]


@each_module
def test_a_header_only_module_opens_with_its_own_directives_and_its_layer(path: Path) -> None:
    assert layer_of(path) in range(7)


@each_module
def test_cimports_never_point_upward(path: Path) -> None:
    upward = [name_of(other) for other in cimported(path) if layer_of(other) > layer_of(path)]
    assert not upward


@each_module
def test_parsers_and_decisions_know_no_input_and_output(path: Path) -> None:
    if layer_of(path) in PURE_LAYERS:
        assert not IMPURE_MODULES & {other.stem for other in cimported(path)}


def test_no_module_cimports_itself_in_a_circle() -> None:
    assert_no_circle({path.stem: [other.stem for other in cimported(path)] for path in MODULES})


def test_every_module_is_reached_from_the_extension() -> None:
    reached: set[Path] = set()
    waiting = [other for path in (EXTENSION, *BUILDERS) for other in cimported(path)]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += cimported(path)
    assert not [name_of(path) for path in MODULES if path not in reached]


def test_only_the_engine_imports_the_extension() -> None:
    importers = [
        name_of(path)
        for path in python_files()
        if any(name.startswith("proxy._fastpath") for name in imported_names(path))
    ]
    assert importers == ["proxy/engine.py"]


def test_python_modules_do_not_import_each_other_in_a_circle() -> None:
    modules = {module_name(path): path for path in python_files()}
    graph = {
        name: [other for other in imported_names(path) if other in modules and other != name]
        for name, path in modules.items()
    }
    assert_no_circle(graph)


def test_the_init_step_needs_nothing_of_the_proxy() -> None:
    needy = [
        name_of(path)
        for path in python_files()
        if path.is_relative_to(ROOT / "iptables")
        and any(name.split(".")[0] == "proxy" for name in imported_names(path))
    ]
    assert not needy


def python_files() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path) -> Iterator[str]:
    """Yield each dotted name that an import may mean: `from a import b` is a and perhaps a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def assert_no_circle(graph: dict[str, list[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")
