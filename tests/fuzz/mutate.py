"""Seeded damage: from good first bytes to almost good ones."""

import random
from collections.abc import Callable, Sequence
from typing import Final

Dice = random.Random
INTERESTING: Final = bytes([0, 1, 2, 3, 4, 5, 0x16, 0x20, 0x2F, 0x7F, 0x80, 0xFE, 0xFF])


def flip(text: bytes, dice: Dice) -> bytes:
    at = dice.randrange(len(text))
    return text[:at] + bytes([text[at] ^ 1 << dice.randrange(8)]) + text[at + 1 :]


def replace(text: bytes, dice: Dice) -> bytes:
    at = dice.randrange(len(text))
    return text[:at] + bytes([dice.choice(INTERESTING)]) + text[at + 1 :]


def step(text: bytes, dice: Dice) -> bytes:
    """One more or one less: what a wrong length looks like."""
    at = dice.randrange(len(text))
    return text[:at] + bytes([(text[at] + dice.choice((-1, 1))) % 256]) + text[at + 1 :]


def insert(text: bytes, dice: Dice) -> bytes:
    at = dice.randrange(len(text) + 1)
    return text[:at] + dice.randbytes(dice.randrange(1, 9)) + text[at:]


def remove(text: bytes, dice: Dice) -> bytes:
    at = dice.randrange(len(text))
    return text[:at] + text[at + dice.randrange(1, 9) :]


def repeat(text: bytes, dice: Dice) -> bytes:
    start = dice.randrange(len(text))
    end = dice.randrange(start, len(text)) + 1
    return text[:end] + text[start:end] + text[end:]


def truncate(text: bytes, dice: Dice) -> bytes:
    return text[: dice.randrange(1, len(text) + 1)]


MUTATORS: Final[Sequence[Callable[[bytes, Dice], bytes]]] = (
    *(flip, replace, step, insert, remove, repeat, truncate),
)


def mutate(seeds: Sequence[bytes], dice: Dice) -> bytes:
    """Damage one of the seeds, or the seam of two, up to four times."""
    text = dice.choice(seeds)
    if dice.random() < 0.1:
        other = dice.choice(seeds)
        text = text[: dice.randrange(len(text))] + other[dice.randrange(len(other)) :]
    for _ in range(dice.randrange(5)):
        text = dice.choice(MUTATORS)(text, dice) or b"\0"
    return text[:60_000] or b"\0"
