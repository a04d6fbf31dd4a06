"""What is shipped: a wheel, made from the source distribution and from nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.unit.sources import MODULES, ROOT, name_of

pytestmark = pytest.mark.slow  # compiles the extension once


# Whether it compiles is asked, not how fast it is: the last flags win over those of pyproject.toml.
HASTY_COMPILER = """\
#!/bin/sh
exec gcc "$@" -O0 -g0
"""


def build(kind: str, source: Path, folder: Path) -> Path:
    """Call the build backend as pip does: in a process of its own, in the folder of the source."""
    compiler = folder / "cc"
    compiler.write_text(HASTY_COMPILER)
    compiler.chmod(0o755)
    code = f"from setuptools import build_meta; build_meta.build_{kind}(r'{folder}')"
    command = [sys.executable, "-P", "-W", "ignore", "-c", code]
    hidden = {"PYTHONPATH", "LD_PRELOAD"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["CC"] = str(compiler)
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = (path for path in folder.iterdir() if path.suffix in {".gz", ".whl"})
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(["tar", "-xf", build("sdist", ROOT, folder), "-C", folder], check=True)
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in the wheel, without its metadata."""
    with zipfile.ZipFile(build("wheel", source, tmp_path_factory.mktemp("wheel"))) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_source_distribution_has_all_that_the_extension_is_made_of(source: Path) -> None:
    assert not [name_of(path) for path in MODULES if not (source / name_of(path)).exists()]


def test_the_wheel_has_every_python_module_of_all_packages(wheel: set[str]) -> None:
    folders = ("proxy", "iptables", "inject")
    modules = {name_of(path) for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")}
    assert modules == {name for name in wheel if name.endswith(".py")}


def test_the_wheel_has_the_extension_and_its_types_and_no_source_of_it(wheel: set[str]) -> None:
    others = {name for name in wheel if not name.endswith((".py", ".so"))}
    assert others == {"proxy/_fastpath.pyi", "proxy/py.typed"}
    assert len([name for name in wheel if name.endswith(".so")]) == 1
