"""The benchmark: remora beside its peers, on the reader's own machine. `python -m bench --help`."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BENCH: Final = ROOT / "bench"
OUT: Final = BENCH / "out"  # binaries, logs and reports of runs: ignored by git
