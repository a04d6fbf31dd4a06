"""What can be fuzzed: one registry, so that nothing is forgotten when all of it runs.

A target takes any bytes and raises AssertionError if the code under test was wrong about them. The
bytes decide everything, random cuts too, so that a finding is a file and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.fuzz.detect import check_detection, check_forgetful_detection
from tests.fuzz.slab import check_slab
from tests.fuzz.timer import check_wheel
from tests.probes import build

CORPUS: Final = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """`corpus` is the folder with its seeds; a canary has a planted fault and must be found out."""

    check: Callable[[ModuleType, bytes], object]
    corpus: str
    is_canary: bool = False

    def seeds(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((CORPUS / self.corpus).iterdir())]


def overread_at_times(probe: ModuleType, text: bytes) -> None:
    if b"\0\x16" in text[:-1]:
        probe.overread(text)


TARGETS: Final = {
    "detect": Target(check_detection, "detect"),
    "timer": Target(check_wheel, "timer"),
    "slab": Target(check_slab, "slab"),
    "canary-verdict": Target(check_forgetful_detection, "detect", is_canary=True),
    "canary-crash": Target(overread_at_times, "detect", is_canary=True),
}


@cache
def probe() -> ModuleType:
    return build.loaded("probe")
