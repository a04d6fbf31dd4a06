"""How much a process may grow before a test calls it a leak."""

from pathlib import Path
from typing import Final

from proxy._fastpath import ABI
from tests.support.transfers import MIB

# The sanitizer keeps freed memory for a while (16 MiB, .ci/sanitized) and puts red zones around
# every object: only growth far beyond that says anything in a debug build.
SANITIZER_BYTES: Final = 48 * MIB if ABI == "debug" else 0


def allowance(growth_bytes: int) -> int:
    """Return the growth that a test tolerates in this build."""
    return growth_bytes + SANITIZER_BYTES


def private_bytes(pid: int) -> int:
    """Return the memory that is this process's alone: what grows when it leaks."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    rows = dict(line.split(":", 1) for line in rollup if ":" in line.split(" ", 1)[0])
    kib = sum(int(rows[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))
    return kib * 1024
