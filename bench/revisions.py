"""Another revision of this project, built beside the working tree: build/gate/COMMIT."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench import ROOT

FOLDER: Final = ROOT / "build" / "gate"
BUILD: Final = ("-W", "ignore", "-c", "import setuptools; setuptools.setup()", "--quiet")


class RevisionError(Exception):
    """The revision cannot be had; the text says why."""


def default() -> str:
    """Return where this branch left `main`; on it, the last commit that is not what is here."""
    here, left = _git("rev-parse", "HEAD"), _git("merge-base", "HEAD", "main")
    if left != here:
        return left
    return here if _git("status", "--porcelain", "--", "proxy") else f"{here}~1"


def built(revision: str) -> Path:
    """Return the folder of a revision with its extension built; it is kept for the next time."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    folder = FOLDER / commit
    if (folder / ".built").exists():
        return folder
    sys.stderr.write(f"building {revision} ({commit[:12]})...\n")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with subprocess.Popen(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x"], check=True, cwd=folder, stdin=archive.stdout)
    words = [sys.executable, *BUILD, "build_ext", "--inplace"]
    done = subprocess.run(words, check=False, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RevisionError(f"{revision} does not build:\n{done.stderr[-2000:]}")
    (folder / ".built").touch()
    return folder


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip() or "no such revision"
        raise RevisionError(f"git {' '.join(words)}: {said}")
    return done.stdout.strip()
