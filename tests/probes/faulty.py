"""The real extension, compiled with assertions and with calls that fail on demand (faults.c)."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

from tests.probes import build


@dataclass
class Faulty:
    """The module, and the switch for its faults."""

    module: ModuleType = field(default_factory=lambda: build.loaded("engine_faulty"))
    has_failed: bool = False  # the call of the last failing() was made

    def __post_init__(self) -> None:
        self._calls = ctypes.CDLL(str(self.module.__file__))
        self._calls.faults_held.restype = ctypes.c_long

    def held_memory(self) -> int:
        """Allocations that are not freed."""
        gc.collect()
        return int(self._calls.faults_held())

    @contextmanager
    def failing(self, name: str, n: int, error: int) -> Iterator[None]:
        """Let the n-th call of that name from now on fail with `error`."""
        self._calls.faults_arm(name.encode(), ctypes.c_long(n), error)
        try:
            yield
        finally:
            self.has_failed = bool(self._calls.faults_disarm())
