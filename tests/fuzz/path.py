"""Paths on damaged input: one form, the same as the plain Python of the control side, and stable.

A form is checked by itself as well: nothing is left in it that two servers read differently.
"""

import random
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from proxy.policy.paths import normalize
from tests.fuzz.mutate import MUTATORS, Dice

PATHS: Final = [
    *(b"/", b"//", b"/.", b"/..", b"/a/../b", b"/a/./b/", b"/a/b/..", b"/../../a", b"/a//../b"),
    *(b"/%61%2D%7e", b"/%2e%2E/x", b"/a%2fb", b"/a%5cb", b"/a\\b", b"/%00", b"/%", b"/%4", b"/%zz"),
    *(
        b"/..;/a",
        b"/.;x/a",
        b"/...;/a",
        b"/a;x=1/../b",
        b"/%252e%252e/",
        b"/a%20b%c3%a9",
        b"/...",
        b"a",
    ),
    b"/one/two/three/../../four//five/%2e/six/..",
]
PARTS: Final = [
    b"/",
    b"//",
    b".",
    b"..",
    b"%2e",
    b"%2F",
    b"%5C",
    b"%41",
    b"%c3",
    b";",
    b"a",
    b"%25",
]
# A dot segment, an empty segment that is not the last one, a backslash, an escape in small letters
# or of what needs none.
LEFT_OVER: Final = re.compile(
    rb"/\.\.?(?:/|;|$)|//|\\|%(?![0-9A-F]{2})|%(?:2F|5C|00|2D|2E|5F|7E|3[0-9]|[46][1-9A-F]|[57][0-9A])"
)


def damaged_path(seeds: Sequence[bytes], dice: random.Random) -> bytes:
    """Return a path out of parts, or a seed that is hurt."""
    if dice.random() < 0.5:
        return b"/" + b"".join(dice.choices(PARTS, k=dice.randrange(1, 12)))
    text = dice.choice(seeds)
    for _ in range(dice.randrange(3)):
        text = _hurt(text, dice)
    return text


def _hurt(text: bytes, dice: Dice) -> bytes:
    if dice.random() < 0.5:
        at = dice.randrange(len(text) + 1)
        return text[:at] + dice.choice(PARTS) + text[at:]
    return dice.choice(MUTATORS)(text, dice) or b"/"


def check_path(probe: ModuleType, text: bytes) -> str:
    """Compare the two, and look at the form."""
    form = probe.normalize(text)
    assert form == normalize(text), f"{text!r}: {form!r} here, {normalize(text)!r} in Python"
    if form is None:
        return "refused"
    assert not LEFT_OVER.search(form), f"{text!r} became {form!r}"
    assert probe.normalize(form) == form, f"{form!r} is not stable"
    return "taken"
