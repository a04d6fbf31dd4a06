"""TLS records after the handshake: however the bytes are cut, under whatever keys are due.

The other end is tests/support/records.py, which has the ciphers of another library.
"""

import random
from types import ModuleType
from typing import Final

import pytest

from tests.probes import build
from tests.support.records import (
    ALERT,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    HEAD_BYTES,
    KEY_UPDATE,
    KEY_UPDATE_REQUESTED,
    Keys,
)

THEIRS: Final = bytes(range(32))
OURS: Final = bytes(range(32, 64))
PLAIN_MAX: Final = 1 << 14
FEED_BYTES: Final = 32_768  # at most, as from a socket
SEED: Final = 8446


@pytest.fixture(scope="module")
def records() -> ModuleType:
    return build.loaded("records")


@pytest.fixture
def peer() -> Keys:
    return Keys(THEIRS)


def record(keys: Keys, text: bytes, content: int = DATA, padding: int = 0) -> bytes:
    return keys.seal(text + bytes([content]) + bytes(padding))


def opened(keys: Keys, text: bytes) -> list[tuple[int, bytes]]:
    """Read all records of `text`."""
    found = []
    while text:
        end = HEAD_BYTES + int.from_bytes(text[3:HEAD_BYTES], "big")
        found.append(keys.open(text[:HEAD_BYTES], text[HEAD_BYTES:end]))
        text = text[end:]
    return found


def conversation(dice: random.Random, peer: Keys) -> tuple[list[bytes], bytes]:
    """Return words, and all their records with empty ones, padding and new keys in between."""
    words, text = [], b""
    for _ in range(dice.randrange(1, 40)):
        words.append(dice.randbytes(dice.choice((1, 2, 40, 1_000, PLAIN_MAX))))
        room = PLAIN_MAX - len(words[-1])
        text += record(peer, words[-1], padding=dice.choice((0, 0, min(room, 1), room)))
        if dice.random() < 0.2:
            text += record(peer, b"")
        if dice.random() < 0.2:
            text += record(peer, KEY_UPDATE, HANDSHAKE)
            peer.update()
    return words, text


@pytest.mark.parametrize("seed", range(12))
def test_however_the_bytes_are_cut_the_words_are_the_same(records: ModuleType, seed: int) -> None:
    dice = random.Random(SEED + seed)  # noqa: S311 - not a secret
    end = records.Records(THEIRS, OURS)
    words, text = conversation(dice, Keys(THEIRS))
    heard = []
    while text:
        size = dice.choice((1, 3, 5, 21, 300, 5_000, FEED_BYTES))
        said, ending = end.feed(text[:size])
        assert ending is None
        heard += said
        text = text[size:]
    assert heard == words
    assert not end.is_waiting


def test_nothing_is_said_of_half_a_record(records: ModuleType, peer: Keys) -> None:
    end, text = records.Records(THEIRS, OURS), record(peer, b"a word")
    for byte in text[:-1]:
        assert end.feed(bytes([byte])) == ([], None)
    assert end.is_waiting
    assert end.feed(text[-1:]) == ([b"a word"], None)
    assert not end.is_waiting


def test_nothing_behind_the_end_is_read(records: ModuleType, peer: Keys) -> None:
    end = records.Records(THEIRS, OURS)
    text = record(peer, b"last") + record(peer, CLOSE_NOTIFY, ALERT) + record(peer, b"more")
    assert end.feed(text) == ([b"last"], "end")


@pytest.mark.parametrize("bit", range(0, 8 * 27, 5))
def test_no_bit_of_a_record_may_be_another(records: ModuleType, peer: Keys, bit: int) -> None:
    end, damaged = records.Records(THEIRS, OURS), bytearray(record(peer, b"a word") + bytes(400))
    damaged[bit // 8] ^= 1 << bit % 8
    said, ending = end.feed(bytes(damaged))
    assert said == []
    assert ending or end.is_waiting  # a length that is too long for what came


def test_records_hold_what_was_written_in_order(records: ModuleType) -> None:
    end, reader = records.Records(THEIRS, OURS), Keys(OURS)
    text = random.Random(SEED).randbytes(65_536)  # noqa: S311 - not a secret
    for size in (1, 16_384, 16_385, 65_536):
        assert end.write(text[:size])
        found = opened(reader, end.output())
        assert {content for content, _ in found} == {DATA}
        assert b"".join(said for _, said in found) == text[:size]
        assert end.output() == b""


def test_one_answer_is_enough_for_many_wishes_for_new_keys(records: ModuleType, peer: Keys) -> None:
    end, reader, text = records.Records(THEIRS, OURS), Keys(OURS), b""
    for _ in range(10):
        text += record(peer, KEY_UPDATE_REQUESTED, HANDSHAKE)
        peer.update()
    assert end.feed(text + record(peer, b"under the last")) == ([b"under the last"], None)
    assert opened(reader, end.output()) == [(HANDSHAKE, KEY_UPDATE)]
    reader.update()
    assert end.write(b"under the next")
    assert opened(reader, end.output()) == [(DATA, b"under the next")]


def test_keys_that_wrote_as_much_as_they_may_are_replaced(records: ModuleType) -> None:
    end, last = records.Records(THEIRS, OURS), records.RECORDS_MAX - 1
    end.written = last
    assert end.write(b"the last word")
    old, new = Keys(OURS, last), Keys(OURS)
    assert opened(old, end.output()) == [(DATA, b"the last word"), (HANDSHAKE, KEY_UPDATE)]
    assert end.written == 0
    assert end.write(b"a new beginning")
    new.update()
    assert opened(new, end.output()) == [(DATA, b"a new beginning")]


def test_keys_are_replaced_within_a_large_write(records: ModuleType) -> None:
    end, last = records.Records(THEIRS, OURS), records.RECORDS_MAX - 1
    end.written = last
    assert end.write(bytes(PLAIN_MAX) + b"and more")
    text, middle = end.output(), HEAD_BYTES + PLAIN_MAX + 17 + HEAD_BYTES + len(KEY_UPDATE) + 17
    found = opened(Keys(OURS, last), text[:middle])
    assert found == [(DATA, bytes(PLAIN_MAX)), (HANDSHAKE, KEY_UPDATE)]
    new = Keys(OURS)
    new.update()
    assert opened(new, text[middle:]) == [(DATA, b"and more")]


def test_after_a_failure_there_is_one_alert_and_no_more_words(
    records: ModuleType, peer: Keys
) -> None:
    end, reader = records.Records(THEIRS, OURS), Keys(OURS)
    assert end.feed(record(peer, b"\2", HANDSHAKE) + record(peer, b"x")) == ([], 10)
    assert not end.write(b"too late")
    assert opened(reader, end.output()) == [(ALERT, b"\2\x0a")]
    assert end.output() == b""
