"""Detection: the verdict of the reference, and the same one however the bytes are cut."""

import random
import re
import zlib
from types import ModuleType
from typing import Any, Final

from tests.fuzz.reference import Verdict, verdict_of

LIMITS: Final = (64, 1024, 16_384)
HOST_NAME: Final = re.compile(rb"[A-Za-z0-9._-]{0,255}")
SMALL_BYTES: Final = 600  # up to here byte by byte is cheap


def cut_at_random(text: bytes, dice: random.Random) -> list[bytes]:
    cuts = sorted(dice.choices(range(len(text) + 1), k=dice.randrange(1, 6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def label(look: Any) -> Verdict:  # noqa: ANN401 - a C class
    """What a record of the connection would say."""
    return Verdict(look.protocol, look.sni if look.protocol == "tls" else b"")


def looks(look: Any, pieces: list[bytes]) -> tuple[Verdict, str]:  # noqa: ANN401 - a C class
    """Feed all pieces. Returns the verdict, and the protocol when the look is then cut short."""
    for piece in pieces:
        look.feed(piece)
    verdict = label(look)
    return verdict, look.finish()


def ways_to_cut(text: bytes, dice: random.Random) -> list[list[bytes]]:
    ways = [[text], cut_at_random(text, dice)]
    if len(text) <= SMALL_BYTES:
        ways.append([bytes([byte]) for byte in text])
    return ways


def check_detection(probe: ModuleType, text: bytes) -> None:
    dice = random.Random(zlib.crc32(text))  # noqa: S311 - not a secret
    bytes_max = dice.choice(LIMITS)
    expected = verdict_of(text, bytes_max)
    finished = set()
    for pieces in ways_to_cut(text, dice):
        for is_low in (False, True):
            look = probe.Look(bytes_max, is_low=is_low)
            verdict, at_the_end = looks(look, pieces)
            assert verdict == expected, f"{verdict}, the reference says {expected}"
            assert HOST_NAME.fullmatch(look.sni), f"a name that no host has: {look.sni!r}"
            finished.add(at_the_end)
        nameless, _ = looks(probe.Look(bytes_max, keeps_name=False), pieces)
        assert nameless.protocol == expected.protocol, "the place for the name decides"
    assert len(finished) == 1, f"the end of the look depends on the cut: {finished}"
    assert finished <= ({"http1", "tls", "opaque"} | {expected.protocol}) - {"pending"}


def check_forgetful_detection(probe: ModuleType, text: bytes) -> None:
    """A canary: this look forgets a byte at a border between two pieces of certain sizes."""
    dice = random.Random(zlib.crc32(text))  # noqa: S311 - not a secret
    pieces = cut_at_random(text, dice)
    whole, _ = looks(probe.Look(1024), [text])
    torn, _ = looks(probe.Look(1024), [p[:-1] if len(p) % 64 == 63 else p for p in pieces])
    assert torn == whole
