"""What can be fuzzed: one registry, so that nothing is forgotten when all of it runs.

A target takes any bytes and raises AssertionError if the code under test was wrong about them. The
bytes decide everything, random cuts too, so that a finding is a file and nothing else.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.fuzz.detect import check_detection, check_forgetful_detection
from tests.fuzz.handshake import check_blind_handshake, check_handshake
from tests.fuzz.http1 import SEEDS, check_blind_http1, check_http1, damaged
from tests.fuzz.mutate import mutate
from tests.fuzz.path import PATHS, check_path, damaged_path
from tests.fuzz.slab import check_slab
from tests.fuzz.svid import check_lax_svid, check_svid
from tests.fuzz.timer import check_wheel
from tests.probes import build

CORPUS: Final = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """`corpus` is the folder with its seeds, or the seeds; a canary has a planted fault and must be
    found out. `module` is the probe that `check` gets, `damage` makes an input of the seeds.
    """

    check: Callable[[ModuleType, bytes], object]
    corpus: str | Sequence[bytes]
    is_canary: bool = False
    module: str = "probe"
    damage: Callable[[Sequence[bytes], random.Random], bytes] = mutate

    def seeds(self) -> list[bytes]:
        if not isinstance(self.corpus, str):
            return list(self.corpus)
        return [path.read_bytes() for path in sorted((CORPUS / self.corpus).iterdir())]

    def fault(self, text: bytes) -> str | None:
        """Return what is wrong about `text`, or None."""
        try:
            self.check(loaded(self.module), text)
        except AssertionError as error:
            return str(error).partition("\n")[0] or "assertion"
        return None


def overread_at_times(probe: ModuleType, text: bytes) -> None:
    if b"\0\x16" in text[:-1]:
        probe.overread(text)


TARGETS: Final = {
    "detect": Target(check_detection, "detect"),
    "timer": Target(check_wheel, "timer"),
    "slab": Target(check_slab, "slab"),
    "http1": Target(check_http1, SEEDS, module="http1", damage=damaged),
    "path": Target(check_path, PATHS, module="policy", damage=damaged_path),
    "handshake": Target(check_handshake, "handshake", module="engine_faulty"),
    "svid": Target(check_svid, "svid"),
    "canary-handshake": Target(
        check_blind_handshake, "handshake", is_canary=True, module="engine_faulty"
    ),
    "canary-svid": Target(check_lax_svid, "svid", is_canary=True),
    "canary-framing": Target(
        check_blind_http1, SEEDS, is_canary=True, module="http1", damage=damaged
    ),
    "canary-verdict": Target(check_forgetful_detection, "detect", is_canary=True),
    "canary-crash": Target(overread_at_times, "detect", is_canary=True),
}


@cache
def loaded(name: str) -> ModuleType:
    return build.loaded(name)
