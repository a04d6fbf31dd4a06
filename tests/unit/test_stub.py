"""The extension's stub says what the module has, and its names say what the enums say.

The stub is what type checking believes; the tuples of names are what metrics and logs show for the
integers of proxy/fast/reasons.pxd. Neither is derived from the other, so they are compared.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import pytest

from proxy import _fastpath, engine
from proxy.policy import table

ROOT: Final = Path(__file__).resolve().parents[2]
STUB: Final = ast.parse((ROOT / "proxy" / "_fastpath.pyi").read_text())
SOURCE: Final = (ROOT / "proxy" / "_fastpath.pyx").read_text()
ENUMS: Final = (ROOT / "proxy" / "fast" / "reasons.pxd").read_text()
CLASSES: Final = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
C_CLASSES: Final = ("Snapshot", "Engine")

# What a module has besides its interface: imports, a table of its own, and what Cython adds.
NO_INTERFACE: Final = {"namedtuple"}
PROTOCOLS: Final = {"Tls"}  # what the stub says of arguments
NO_INTERFACE_OF_A_CLASS: Final = {"__pyx_vtable__", "__reduce_cython__", "__setstate_cython__"}

Parameters: TypeAlias = list[tuple[str, str, bool]]  # name, kind, has a default


def annotated(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names of variables and fields."""
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def methods(name: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}


def parameters_of_stub(node: ast.FunctionDef) -> Parameters:
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    first_default = len(plain) - len(arguments.defaults)
    found = [(a.arg, "plain", i >= first_default) for i, a in enumerate(plain)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [*found, *((a.arg, "keyword", default is not None) for a, default in keywords)]


def parameters_of_module(name: str, method: str) -> Parameters:
    if method == "__init__":  # C slots have no signature: read the source
        body = SOURCE[SOURCE.index(f"cdef class {name}:") :]
        match = re.search(r"^    (def __init__\(.*?\)):$", body, re.MULTILINE | re.DOTALL)
        assert match
        (node,) = ast.parse(f"{match[1]}: ...").body
        assert isinstance(node, ast.FunctionDef)
        return parameters_of_stub(node)
    signature = inspect.signature(getattr(getattr(_fastpath, name), method))
    return [
        (
            parameter.name,
            "keyword" if parameter.kind is parameter.KEYWORD_ONLY else "plain",
            parameter.default is not parameter.empty,
        )
        for parameter in signature.parameters.values()
    ]


def test_the_module_has_the_names_of_the_stub_and_no_others() -> None:
    functions = {node.name for node in STUB.body if isinstance(node, ast.FunctionDef)}
    stub = {*annotated(STUB.body), *CLASSES, *functions} - PROTOCOLS
    module = {name for name in vars(_fastpath) if not name.startswith("__")} - NO_INTERFACE
    assert module == stub


@pytest.mark.parametrize("name", C_CLASSES)
def test_a_class_has_the_members_of_the_stub_and_no_others(name: str) -> None:
    stub = {*annotated(CLASSES[name].body), *methods(name)} - {"__init__"}
    members = vars(getattr(_fastpath, name))
    public = {name for name in members if not name.startswith("__")} - NO_INTERFACE_OF_A_CLASS
    assert public == stub


@pytest.mark.parametrize(
    ("name", "method"), [(name, method) for name in C_CLASSES for method in methods(name)]
)
def test_a_method_takes_what_the_stub_says(name: str, method: str) -> None:
    assert parameters_of_module(name, method) == parameters_of_stub(methods(name)[method])


@pytest.mark.parametrize("record", [_fastpath.Connection, _fastpath.Request, _fastpath.Denial])
def test_a_record_has_the_fields_of_the_stub_in_order(record: type[NamedTuple]) -> None:
    assert list(record._fields) == list(annotated(CLASSES[record.__name__].body))


# --- names and numbers ---------------------------------------------------------------------------


def enum(prefix: str) -> list[str]:
    """Return the names of an enum of reasons.pxd, in order of their values, in lower case."""
    rows = re.findall(rf"^    {prefix}_(\w+) = (\d+)", ENUMS, re.MULTILINE)
    assert [int(value) for _, value in rows] == list(range(len(rows))), f"{prefix}: a gap"
    return [name.lower() for name, _ in rows]


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("DIRECTION", _fastpath.DIRECTIONS),
        ("PROTOCOL", _fastpath.PROTOCOLS),
        ("SPEAKER", _fastpath.SPEAKERS),
        ("REASON", _fastpath.REASONS),
        ("EVENT", _fastpath.EVENTS),
        ("HANDLING", _fastpath.HANDLINGS),
        ("TLS_FAILED", _fastpath.TLS_FAILURES),
        ("VERDICT", _fastpath.VERDICTS),
        ("UNIT", _fastpath.UNITS),
        ("SLOT", engine.POLICIES),
        ("ACTION", table.ACTIONS),
        ("FIELD", table.FIELDS),
        ("FORM", table.FORMS),
    ],
)
def test_the_names_are_those_of_the_enum_in_its_order(prefix: str, names: tuple[str, ...]) -> None:
    assert [*(name.lower() for name in names), "count"] == enum(prefix)


def test_the_methods_are_those_of_the_enum_in_its_order() -> None:
    assert [*(name.lower() for name in _fastpath.METHODS), "count"] == enum("METHOD")


def test_the_flags_are_those_of_the_enum_in_its_order_and_the_first_is_a_dash() -> None:
    none, *flags = _fastpath.FLAGS
    assert none == "-"
    assert ["none", *(flag.lower() for flag in flags), "count"] == enum("FLAG")


def test_the_names_of_the_phases_are_those_of_the_enum_in_its_order() -> None:
    assert list(_fastpath.PHASES) == enum("PHASE")


@pytest.mark.parametrize(
    "name", ["DIRECTIONS", "PROTOCOLS", "SPEAKERS", "PHASES", "HANDLINGS", "VERDICTS", "UNITS"]
)
def test_the_stub_lists_the_names_that_there_are(name: str) -> None:
    """It shows them in a comment, which is what a reader sees first."""
    text = (ROOT / "proxy" / "_fastpath.pyi").read_text()
    match = re.search(rf"^{name}: .*# (.*)$", text, re.MULTILINE)
    assert match
    assert re.findall(r'"(\w+)"', match[1]) == list(getattr(_fastpath, name))


def test_the_counters_have_the_dimensions_that_the_stub_tells() -> None:
    directions, protocols = len(_fastpath.DIRECTIONS), len(_fastpath.PROTOCOLS)
    buckets = len(_fastpath.BUCKETS_US) + 1
    engine = _fastpath.Engine(1, 1)
    stats = engine.stats()
    engine.stop()
    assert {name: len(values) for name, values in stats.items()} == {
        "opened": directions,
        "open": directions * protocols,
        "closed": directions * protocols * len(_fastpath.REASONS),
        "detected": directions * protocols * len(_fastpath.SPEAKERS),
        "bytes": directions * 4,
        "connect_bucket": directions * buckets,
        "connect_sum_us": directions,
        "duration_bucket": directions * buckets,
        "duration_sum_us": directions,
        "pool": 4 * directions,
        "tls_handshakes": 2,
        "tls_open": 2,
        "tls_failed": 2 * len(_fastpath.TLS_FAILURES),
        "tls_bytes": 2,
        "tls_bucket": 2 * buckets,
        "tls_sum_us": 2,
        "policies": _fastpath.SLOTS * len(_fastpath.VERDICTS) * len(_fastpath.UNITS),
        "events": len(_fastpath.EVENTS),
        "live": 7,
        "tick": 2,
    }
