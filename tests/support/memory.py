"""How much a process may grow before a test calls it a leak."""

from typing import Final

from proxy._fastpath import ABI
from tests.support.transfers import MIB

# The sanitizer keeps freed memory for a while (16 MiB, .ci/sanitized) and puts red zones around
# every object: only growth far beyond that says anything in a debug build.
SANITIZER_BYTES: Final = 48 * MIB if ABI == "debug" else 0


def allowance(growth_bytes: int) -> int:
    """Return the growth that a test tolerates in this build."""
    return growth_bytes + SANITIZER_BYTES
