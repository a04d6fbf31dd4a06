"""Write run.lock and build.lock: every wheel of the image and of its build, with its hashes.

The versions are those of the extra `dev` of pyproject.toml, so what is shipped is what is tested;
the hashes are those of both architectures. Only this asks PyPI which versions there are.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
PYTHON: Final = "3.11"  # Debian bookworm's, the base of deploy/Dockerfile
ARCHITECTURES: Final = ("x86_64", "aarch64")
GLIBC: Final = (
    "2_36",
    "2_34",
    "2_31",
    "2_28",
    "2_17",
)  # bookworm has 2.36, and runs wheels for older
OPENING: Final = "# Written by `python -m deploy.image lock` from pyproject.toml.\n"


def pinned() -> dict[str, list[str]]:
    """Return the requirements of each lock: our dependencies, in the versions we test with."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extra = tables["project"]["optional-dependencies"]["dev"]
    pins = {canonicalize_name(Requirement(row).name): row for row in extra}

    def of(rows: list[str]) -> list[str]:
        return [pins[canonicalize_name(Requirement(row).name)] for row in rows]

    return {
        "run": of(tables["project"]["dependencies"]),
        "build": of(tables["build-system"]["requires"]),
    }


def platform_words(architecture: str) -> list[str]:
    """Return the flags by which pip chooses wheels for the image, whatever machine asks."""
    platforms = [f"--platform=manylinux_{glibc}_{architecture}" for glibc in GLIBC]
    return ["--only-binary=:all:", f"--python-version={PYTHON}", *platforms]


def resolved(requirements: list[str], architecture: str) -> list[dict[str, Any]]:
    """Ask pip what it would install there."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        words = ["install", "-q", "--dry-run", "--ignore-installed", f"--report={report}"]
        words += [f"--target={folder}", *platform_words(architecture), *requirements]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True)
        found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    return found


def lock(requirements: list[str]) -> str:
    """Return the text of one lock."""
    hashes: dict[str, set[str]] = {}
    for architecture in ARCHITECTURES:
        for each in resolved(requirements, architecture):
            meta = each["metadata"]
            name = f"{canonicalize_name(meta['name'])}=={meta['version']}"
            digest = each["download_info"]["archive_info"]["hashes"]["sha256"]
            hashes.setdefault(name, set()).add(digest)
    rows = (
        " \\\n".join([name, *(f"    --hash=sha256:{each}" for each in sorted(hashes[name]))])
        for name in sorted(hashes)
    )
    return OPENING + "\n".join(rows) + "\n"


def main() -> None:
    """Write both."""
    for name, requirements in pinned().items():
        (HERE / f"{name}.lock").write_text(lock(requirements), encoding="utf-8")
