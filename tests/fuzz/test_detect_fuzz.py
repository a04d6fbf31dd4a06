"""Detection on damaged input: the same verdict in every cut, and the one of the reference."""

import random
from types import ModuleType

import pytest

from tests.fuzz.mutate import mutate
from tests.fuzz.reference import PREFACE, Verdict, verdict_of
from tests.support.hellos import (
    BIG_KEY_SHARE_BYTES,
    KEY_SHARE,
    PADDING,
    extension,
    hello,
    openssl_hello,
    server_name,
)

INPUTS_A_SEED = 4_000
SEEDS = [
    b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"VERSION-CONTROL /a?b=c HTTP/1.0\r\n\r\n",
    b"CONNECT a.example:443 HTTP/1.1\r\n\r\n",
    b"POST /" + b"x" * 1100 + b" HTTP/1.1\r\n",
    PREFACE + b"\0\0\0\4\0\0\0\0\0",
    b"220 mail.example ESMTP\r\n",
    openssl_hello("shop.example.org", alpn=["h2", "http/1.1"]),
    openssl_hello(None),
    hello([]),
    hello([server_name(b"a.example"), extension(PADDING, bytes(20))]),
    hello([extension(PADDING, bytes(20)), server_name(b"records.example")], record_bytes=11),
    hello([extension(KEY_SHARE, bytes(BIG_KEY_SHARE_BYTES)), server_name(b"late.example")]),
]


def look(probe: ModuleType, pieces: list[bytes], bytes_max: int) -> Verdict:
    looking = probe.Look(bytes_max)
    for piece in pieces:
        looking.feed(piece)
    return Verdict(looking.protocol, looking.sni if looking.protocol != "pending" else b"")


def cut_at_random(text: bytes, dice: random.Random) -> list[bytes]:
    cuts = sorted(dice.choices(range(len(text) + 1), k=dice.randrange(1, 6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]


@pytest.mark.parametrize("seed", range(6))
def test_damaged_first_bytes_get_the_verdict_of_the_reference(probe: ModuleType, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - not a secret
    for _ in range(INPUTS_A_SEED):
        text = mutate(SEEDS, dice)
        bytes_max = dice.choice((64, 1024, 16_384))
        expected = verdict_of(text, bytes_max)
        assert look(probe, [text], bytes_max) == expected, text
        assert look(probe, cut_at_random(text, dice), bytes_max) == expected, text
        if dice.random() < 0.1:
            in_bytes = [bytes([byte]) for byte in text]
            assert look(probe, in_bytes, bytes_max) == expected, text


def test_every_prefix_of_every_seed_agrees_with_the_reference(probe: ModuleType) -> None:
    for text in SEEDS:
        looking = probe.Look(1024)
        for count, byte in enumerate(text, 1):
            protocol = looking.feed(bytes([byte]))
            assert protocol == verdict_of(text[:count], 1024).protocol, text[:count]


def test_the_fuzzer_finds_a_planted_fault(probe: ModuleType) -> None:
    """A canary: with a wrong limit for the look the same inputs must disagree."""
    dice = random.Random(0)  # noqa: S311 - not a secret
    texts = [mutate(SEEDS, dice) for _ in range(INPUTS_A_SEED)]
    assert any(look(probe, [text], 64) != verdict_of(text, 16_384) for text in texts)
