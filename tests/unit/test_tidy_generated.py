"""What Cython makes of proxy/fast: C that never meets the interpreter.

The signature `noexcept nogil` does not promise that. Cython still writes code that takes the GIL
where an exception could appear (a Python operation, a zero division, a callee without `noexcept`),
prints the error and goes on. So we read the C: the body of a fast function names nothing of
Python's API at all.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.probes import build
from tests.unit.sources import EXTENSION, ROOT

# `__pyx_f_` and the dotted name in pieces with their lengths: proxy.fast.<module>.<function>.
BODY = re.compile(
    r"^static [^\n]*?\b__pyx_f_5proxy_4fast_(\w+)\([^\n]*\) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL
)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)

# PyErr_Occurred, __Pyx_WriteUnraisable, __Pyx_PyGILState_Ensure, __PYX_ERR, Py_None ...
PYTHON_NAME = re.compile(r"\b_*(?:Py|PYX|Pyx)_?[A-Z]\w*")

SLIP = """\
# cython: language_level=3, cdivision={cdivision}
cdef inline int other(int x) nogil:
    return x
cdef inline int slip(int x) {signature}:
    {body}
    return x
"""


def cython(source: Path, output: Path, cwd: Path) -> None:
    command = [sys.executable, "-m", "cython", "-3", "-Wextra", str(source), "-o", str(output)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def meetings_with_python(code: str) -> dict[str, set[str]]:
    """Python names by fast function; functions without any are left out."""
    found = {
        name: set(PYTHON_NAME.findall(COMMENT.sub("", body))) for name, body in BODY.findall(code)
    }
    assert found, "no function of proxy/fast found: did Cython change how it names them?"
    return {name: names for name, names in found.items() if names}


def test_the_data_plane_compiles_silently_and_never_meets_the_interpreter() -> None:
    code, said = build.translated(EXTENSION)
    assert said == "", "a warning or a performance hint: the worker would take the GIL"
    assert not meetings_with_python(code.read_text())


@pytest.mark.parametrize(
    ("signature", "body", "cdivision"),
    [
        pytest.param("noexcept nogil", "with gil: print(x)", True, id="takes the GIL"),
        pytest.param("noexcept nogil", "x = 1 // x", False, id="may divide by zero"),
        pytest.param("noexcept nogil", "x = other(x)", True, id="calls what may raise"),
        pytest.param("noexcept", "raise ValueError(x)", True, id="raises"),
        pytest.param("noexcept", "assert x", True, id="asserts"),
    ],
)
def test_a_slip_in_a_fast_function_would_be_found(
    tmp_path: Path, signature: str, body: str, *, cdivision: bool
) -> None:
    package = tmp_path / "proxy" / "fast"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "proxy" / "fast" / "__init__.pxd", package)
    (tmp_path / "proxy" / "__init__.py").touch()
    slip = SLIP.format(signature=signature, body=body, cdivision=cdivision)
    (package / "demo.pxd").write_text(slip)
    extension = tmp_path / "proxy" / "_fastpath.pyx"
    extension.write_text("from proxy.fast.demo cimport slip\nprint(slip(1))\n")
    output = tmp_path / "fastpath.c"
    cython(extension, output, tmp_path)
    assert "4demo_slip" in meetings_with_python(output.read_text())
