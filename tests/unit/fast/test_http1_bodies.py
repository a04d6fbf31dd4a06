"""Bodies: how many bytes belong to one, in every cut; and trailers."""

from types import ModuleType

import pytest

GOOD = [
    b"0\r\n",
    b"5\r\nhello\r\n0\r\n",
    b"00000000000005\r\nhello\r\n000\r\n",
    b"1\r\na\r\n1\r\nb\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n",
    b"5;name=value\r\nhello\r\n0;last\r\n",
    b'5;a="b c;d"\r\nhello\r\n0\r\n',
    b"5;\r\nhello\r\n0\r\n",
    b"5;" + b"x" * 255 + b"\r\nhello\r\n0\r\n",
    b"2\r\n\r\n\r\n0\r\n",
    b"fF\r\n" + b"x" * 255 + b"\r\n0\r\n",
]
# Row of the fault table, bytes, and the number of them before the fault is certain.
BROKEN = [
    ("9-hex-prefix", b"0x5\r\nhello\r\n", 1),
    ("9-sign", b"+5\r\nhello\r\n", 0),
    ("9-minus", b"-5\r\nhello\r\n", 0),
    ("9-underscore", b"5_0\r\n", 1),
    ("9-leading-space", b" 5\r\nhello\r\n", 0),
    ("9-trailing-space", b"5 \r\nhello\r\n", 1),
    ("9-trailing-tab", b"5\t\r\nhello\r\n", 1),
    ("9-space-before-an-extension", b"5 ;a\r\nhello\r\n", 1),
    ("9-sixteen-digits", b"0000000000000005\r\nhello\r\n", 15),
    ("9-too-large", b"fffffffffffffffff\r\n", 15),
    ("9-no-digit", b"\r\n", 0),
    ("9-no-hex", b"g\r\n", 0),
    ("9-comma", b"5,5\r\nhello\r\n", 1),
    ("9-nul", b"5\0\r\nhello\r\n", 1),
    ("9-beyond-ascii", b"\xb2\r\n", 0),
    ("10-no-crlf-behind-data", b"5\r\nhello5\r\nhello\r\n0\r\n", 8),
    ("10-bare-lf-behind-data", b"5\r\nhello\n0\r\n", 8),
    ("10-bare-cr-behind-data", b"5\r\nhello\r0\r\n", 9),
    ("10-bare-lf-behind-a-size", b"5\nhello\r\n", 1),
    ("10-bare-cr-behind-a-size", b"5\rhello\r\n", 2),
    ("10-cr-cr-lf", b"5\r\r\nhello\r\n", 2),
    ("10-lf-behind-an-extension", b"5;a\nhello\r\n", 3),
    ("11-cr-in-an-extension", b"5;a\rb\r\nhello\r\n", 4),
    ("11-nul-in-an-extension", b"5;a\0b\r\nhello\r\n", 3),
    ("11-control-in-an-extension", b"5;a\x01\r\nhello\r\n", 3),
    ("11-delete-in-an-extension", b"5;a\x7f\r\nhello\r\n", 3),
    ("11-extension-too-long", b"5;" + b"x" * 256 + b"\r\nhello\r\n", 257),
    ("11-last-extension-too-long", b"0;" + b"x" * 300, 257),
    ("10-lf-first", b"\n5\r\nhello\r\n", 0),
]


def fed(codec: ModuleType, pieces: list[bytes]) -> tuple[int, str, int]:
    """Return the bytes passed on, the state, and the bytes of data."""
    body = codec.Body("chunked")
    passed = 0
    for piece in pieces:
        used = body.feed(piece)
        passed += used
        if used < len(piece):
            break
    return passed, body.state, body.data_bytes


@pytest.mark.parametrize("text", GOOD)
def test_chunks_pass_whole_up_to_the_trailers_however_they_are_cut(
    codec: ModuleType, text: bytes
) -> None:
    whole = fed(codec, [text + b"\r\n"])
    assert whole[:2] == (len(text), "trailers")
    for cut in range(len(text) + 1):
        assert fed(codec, [text[:cut], text[cut:] + b"\r\n"]) == whole
    assert fed(codec, [bytes([byte]) for byte in text + b"\r\n"]) == whole


@pytest.mark.parametrize("text", GOOD)
def test_truncated_chunks_need_more(codec: ModuleType, text: bytes) -> None:
    for cut in range(len(text)):
        passed, state, _ = fed(codec, [text[:cut]])
        assert passed == cut
        assert state not in {"broken", "complete", "trailers"}


@pytest.mark.parametrize(("row", "text", "good_bytes"), BROKEN, ids=[row for row, *_ in BROKEN])
def test_broken_framing_passes_nothing_from_the_fault_on(
    codec: ModuleType, row: str, text: bytes, good_bytes: int
) -> None:
    assert row
    whole = fed(codec, [text])
    assert whole[:2] == (good_bytes, "broken")
    for cut in range(len(text) + 1):
        assert fed(codec, [text[:cut], text[cut:]]) == whole
    assert fed(codec, [bytes([byte]) for byte in text]) == whole
    for cut in range(good_bytes + 1):
        assert fed(codec, [text[:cut]])[:2] == (cut, fed(codec, [text[:cut]])[1])
        assert fed(codec, [text[:cut]])[1] != "broken"


def test_framing_that_broke_stays_broken(codec: ModuleType) -> None:
    body = codec.Body("chunked")
    body.feed(b"x")
    assert body.feed(b"5\r\nhello\r\n0\r\n\r\n") == 0
    assert body.state == "broken"


def test_the_largest_chunk_is_counted_and_not_added_up(codec: ModuleType) -> None:
    body = codec.Body("chunked")
    assert body.feed(b"f" * 15 + b"\r\nabc") == 20
    assert body.run == 0xFFF_FFFF_FFFF_FFFF - 3
    body.ran(body.run)
    assert body.state == "data_cr"


@pytest.mark.parametrize("length", [1, 2, 100])
def test_a_body_of_known_length_ends_with_its_last_byte(codec: ModuleType, length: int) -> None:
    for cut in range(length + 1):
        body = codec.Body("length", length)
        assert body.feed(b"x" * cut) == cut
        assert body.state == ("complete" if cut == length else "data")
        assert body.run == length - cut
        assert body.feed(b"x" * length + b"GET") == length - cut
        assert (body.state, body.data_bytes) == ("complete", length)


def test_what_has_no_body_takes_no_byte(codec: ModuleType) -> None:
    body = codec.Body("none")
    assert body.feed(b"GET / HTTP/1.1\r\n") == 0
    assert body.state == "complete"


@pytest.mark.parametrize("kind", ["until_close", "tunnel"])
def test_what_ends_with_the_connection_takes_every_byte(codec: ModuleType, kind: str) -> None:
    body = codec.Body(kind)
    for _ in range(100):
        assert body.feed(b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") == 24
    assert (body.state, body.data_bytes) == ("data", 2_400)


def test_bytes_that_pass_unseen_are_counted_as_if_they_had_been_read(codec: ModuleType) -> None:
    seen, unseen = codec.Body("chunked"), codec.Body("chunked")
    seen.feed(b"A\r\n0123456789")
    unseen.feed(b"A\r\n")
    assert unseen.run == 10
    unseen.ran(4)
    unseen.ran(6)
    assert (seen.state, seen.data_bytes) == (unseen.state, unseen.data_bytes) == ("data_cr", 10)
    assert unseen.run == 0


# ---- trailers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "section",
    [b"\r\n", b"A: b\r\n\r\n", b"A: b\r\nC:\r\nHost: x\r\n\r\n", b"A" * 999 + b":\r\n\r\n"],
)
def test_the_end_of_trailers_is_found_in_every_cut(codec: ModuleType, section: bytes) -> None:
    assert codec.scan_trailers(section + b"GET") == len(section)
    assert codec.scan_trailers(section, is_low=True) == len(section)
    for cut in range(len(section)):
        assert codec.scan_trailers(section[:cut]) == 0
        assert codec.scan_trailers(section, cut) == len(section)


@pytest.mark.parametrize(
    "section",
    [
        *(b"A: b\n\r\n", b"\nA: b\r\n\r\n", b"A: b\r\n\n", b"no colon\r\n\r\n", b" A: b\r\n\r\n"),
        *(b"A : b\r\n\r\n", b"A: b\r\n folded\r\n\r\n", b"A: \0\r\n\r\n", b": b\r\n\r\n"),
        *(b"\n", b"A: b\rC: d\r\n\r\n", b"A: b\r\n" * 101 + b"\r\n"),
    ],
)
def test_faulty_trailers_break_the_framing_however_they_are_cut(
    codec: ModuleType, section: bytes
) -> None:
    def is_taken(cut: int) -> bool:
        found = codec.scan_trailers(section[:cut]) or codec.scan_trailers(section, cut)
        return found > 0 and not isinstance(codec.trailers(section[:found]), int)

    assert not any(is_taken(cut) for cut in range(len(section) + 1))


def test_a_trailer_may_not_frame_route_or_authenticate(codec: ModuleType) -> None:
    names = [*codec.HEADERS[1:], "x-checksum", "server-timing"]
    section = b"".join(name.title().encode() + b": 1\r\n" for name in names) + b"\r\n"
    kept = [f.name.lower().decode() for f in codec.trailers(section) if not f.is_dropped]
    assert kept == ["user-agent", "x-checksum", "server-timing"]


def test_the_same_framing_twice_in_trailers_is_refused(codec: ModuleType) -> None:
    assert codec.trailers(b"Host: a\r\nHost: b\r\n\r\n") == 400


def test_trailers_are_written_without_the_forbidden_ones(codec: ModuleType) -> None:
    text = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"1\r\nx\r\n0\r\n"
    messages, end, _ = codec.requests(text + chunks + b"A: 1\r\nContent-Length: 7\r\nb:2\r\n\r\n")
    assert end == "more"
    assert messages[0].wire == text + chunks + b"A: 1\r\nb:2\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        (b"4\r\nabcd\r\n0\r\n", 12),
        (b"5\r\nabcde\r\n0\r\n", 2),
        (b"4\r\nabcd\r\n1\r\ne\r\n0\r\n", 11),
        (b"fffffffffffffff\r\n", 16),
    ],
    ids=["at-the-limit", "above", "above-with-the-second", "far-above"],
)
def test_a_chunk_that_exceeds_the_limit_stops_before_its_first_byte(
    codec: ModuleType, text: bytes, passed: int
) -> None:
    body = codec.Body("chunked", bytes_max=4)
    assert body.feed(text) == passed
    assert body.state == ("trailers" if passed == len(text) else "too_large")
    assert body.data_bytes <= 4


def test_a_length_above_the_limit_is_known_at_once(codec: ModuleType) -> None:
    assert codec.Body("length", 4, bytes_max=4).state == "data"
    assert codec.Body("length", 5, bytes_max=4).state == "too_large"
