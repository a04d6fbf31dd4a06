"""remora: a sidecar proxy. Read ARCHITECTURE.md, then app.py, then _fastpath.pyx."""

from typing import Final

__version__: Final = "0.1.0"
