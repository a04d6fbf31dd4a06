"""The comparison with h11 on what is not damaged, and the mix of what is."""

import random
from collections import Counter
from types import ModuleType

from tests.fuzz.http1 import SEEDS, check_http1, damaged

INPUTS = 4_000


def test_every_beginning_of_every_seed_is_taken_alike(codec: ModuleType) -> None:
    for text in SEEDS:
        for cut in range(0, len(text) + 1, 1 + len(text) // 200):
            check_http1(codec, text[:cut])
        check_http1(codec, text)


def test_the_damage_leaves_enough_that_is_taken_and_enough_that_is_not(codec: ModuleType) -> None:
    """A fuzzer whose inputs are all refused compares nothing."""
    dice = random.Random(1)  # noqa: S311 - not a secret
    outcomes = Counter(check_http1(codec, damaged(SEEDS, dice)) for _ in range(INPUTS))
    refused = sum(n for outcome, n in outcomes.items() if ": 0, then" in outcome)
    assert INPUTS // 4 < refused < INPUTS * 3 // 4, outcomes
