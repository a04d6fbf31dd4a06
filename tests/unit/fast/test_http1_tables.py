"""The look-up tables of the codec, compared with the grammar that they come from."""

import string
from types import ModuleType

import pytest

ALNUM = set((string.ascii_letters + string.digits).encode())
VCHAR = set(range(0x21, 0x7F))
GRAMMAR = {
    # RFC 9110, section 5.6.2
    "token": ALNUM | set(b"!#$%&'*+-.^_`|~"),
    # RFC 9110, section 5.5: field-vchar (with obs-text), SP, HTAB
    "value": VCHAR | set(range(0x80, 0x100)) | set(b" \t"),
    # RFC 9112, section 3.2: visible, and no fragment
    "target": VCHAR - set(b"#"),
    # RFC 3986, section 3.2.2: reg-name, IP-literal, and a port; no comma
    "host": ALNUM | set(b"-._~%!$&'()*+;=[]:"),
}


@pytest.mark.parametrize("kind", list(GRAMMAR))
def test_a_class_of_bytes_is_the_one_of_the_grammar(codec: ModuleType, kind: str) -> None:
    assert {byte for byte in range(256) if codec.is_char(byte, kind)} == GRAMMAR[kind]


@pytest.mark.parametrize("filler", [b" ", b"~", b"\x80", b"\xff", b"\t"])
def test_a_value_ends_at_the_first_byte_that_it_may_not_hold(
    codec: ModuleType, filler: bytes
) -> None:
    # It is looked at by eight bytes: each byte at each place of them, and behind the last eight.
    for length in range(20):
        assert codec.value_end(filler * length) == length
        for at in range(length):
            for byte in range(256):
                text = filler * at + bytes([byte]) + filler * (length - at - 1)
                assert codec.value_end(text) == (length if byte in GRAMMAR["value"] else at)


def test_lower_case_is_ascii_only(codec: ModuleType) -> None:
    for byte in range(256):
        assert bytes([codec.lower(byte)]) == bytes([byte]).lower()


def test_words_are_equal_whatever_their_case_and_only_whole(codec: ModuleType) -> None:
    assert codec.is_word(b"ChUnKeD", b"chunked")
    assert not codec.is_word(b"chunke", b"chunked")
    assert not codec.is_word(b"chunkedd", b"chunked")
    # A case folded by a bit would take these for equal.
    assert not codec.is_word(b"chunke\x04", b"chunked")
    assert not codec.is_word(b"x^", b"x~")


def test_known_names_are_known_in_any_case_and_nothing_else_is(codec: ModuleType) -> None:
    for name in codec.HEADERS[1:]:
        text = name.encode()
        for spelling in (text, text.upper(), text.title(), text.swapcase()):
            assert codec.name_id(spelling) == name
        assert codec.name_id(text + b"x") == ""
        assert codec.name_id(text[:-1]) in {"", "x-forwarded-for"} - {name}
        for at in range(len(text)):
            for byte in (text[at] ^ 0x80, text[at] ^ 0x01, ord("_")):
                other = text[:at] + bytes([byte]) + text[at + 1 :]
                assert codec.name_id(other) == ("" if other != text else name)
    assert codec.name_id(b"") == ""
    assert codec.name_id(b"x" * 300) == ""


def test_no_name_may_be_talked_away_that_frames_routes_or_tells_of_the_peer(
    codec: ModuleType,
) -> None:
    kept = {name for name in codec.HEADERS if codec.is_kept(name)}
    assert kept == {
        *("host", "content-length", "transfer-encoding", "authorization", "x-request-id"),
        *("x-forwarded-for", "x-forwarded-proto", "traceparent"),
        *("x-forwarded-client-cert", "remora-client-id"),
    }


@pytest.mark.parametrize("number", [0, 1, 9, 10, 99, 1234567890, 2**63, 2**64 - 1])
def test_numbers_are_written_in_decimal(codec: ModuleType, number: int) -> None:
    assert codec.number_text(number) == b"%d" % number


def test_bits_are_written_in_hex_of_the_width_that_was_asked_for(codec: ModuleType) -> None:
    assert codec.hex_text(0xABC, 5) == b"00abc"
    assert codec.hex_text(2**64 - 1, 16) == b"f" * 16
    assert codec.hex_text(0x123, 2) == b"23"


def test_addresses_are_written_as_people_write_them(codec: ModuleType) -> None:
    assert codec.address_text(bytes([192, 0, 2, 1])) == b"192.0.2.1"
    assert codec.address_text(bytes(15) + b"\1") == b"::1"
    assert codec.address_text(bytes.fromhex("20010db8" + "ff" * 12)) == (
        b"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
    )
