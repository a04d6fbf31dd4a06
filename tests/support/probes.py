"""The probe extension (tests/probes/probe.pyx), compiled once a session."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

BUILDER: Final = Path(__file__).parent.parent / "probes" / "build.py"


def build(folder: Path) -> ModuleType:
    """Compile the probe into `folder` and import it."""
    # cwd: `import proxy` in Cython's search must not depend on where pytest was started.
    made = subprocess.run(
        [sys.executable, str(BUILDER), str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, f"{made.stdout}\n{made.stderr}"
    (path,) = folder.glob("probe.*.so")
    spec = importlib.util.spec_from_file_location("probe", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
