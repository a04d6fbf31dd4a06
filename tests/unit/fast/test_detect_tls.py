"""TLS by a whole ClientHello, byte for byte, and the server name that it carries."""

import string
from types import ModuleType

import pytest

from tests.support.hellos import (
    BIG_KEY_SHARE_BYTES,
    KEY_SHARE,
    PADDING,
    SERVER_NAME,
    extension,
    handshake_message,
    hello,
    openssl_hello,
    server_name,
)
from tests.unit.fast.looking import (
    NAME,
    Hello,
    assert_same_in_every_cut,
    in_pieces,
    label,
    looked,
)

HOST_CHARS = set((string.ascii_letters + string.digits + "-._").encode())
HELLO_BYTES_MAX = 16_384
NAME_BYTES_MAX = 255

HELLOS = {
    "openssl": (openssl_hello(NAME.decode(), alpn=["h2", "http/1.1"]), NAME),
    "openssl without a name": (openssl_hello(None), b""),
    "no extensions": (hello([]), b""),
    "name first": (hello([server_name(NAME), extension(PADDING, bytes(30))]), NAME),
    "name last": (hello([extension(PADDING, bytes(30)), server_name(NAME)]), NAME),
    "empty extensions": (hello([extension(kind, b"") for kind in range(1, 40)]), b""),
}


def records(message: bytes, record_bytes: int) -> bytes:
    return b"".join(
        b"\x16\x03\x01" + len(piece).to_bytes(2) + piece
        for piece in in_pieces(message, record_bytes)
    )


@pytest.mark.parametrize(("text", "name"), HELLOS.values(), ids=HELLOS.keys())
def test_a_hello_is_tls_with_its_name_however_it_is_cut(
    probe: ModuleType, text: bytes, name: bytes
) -> None:
    assert assert_same_in_every_cut(probe, text) == ("tls", name)


@pytest.mark.parametrize(("text", "name"), HELLOS.values(), ids=HELLOS.keys())
def test_a_truncated_hello_is_pending_and_nothing_else(
    probe: ModuleType, text: bytes, name: bytes
) -> None:
    for cut in range(len(text)):
        for pieces in ([text[:cut]], in_pieces(text[:cut], 5)):
            assert looked(probe, pieces)[0] == "pending"
        assert looked(probe, [text[:cut], text[cut:]]) == ("tls", name)


def test_a_hello_without_the_extensions_field_is_tls(probe: ModuleType) -> None:
    """As TLS 1.2 allows (RFC 5246, section 7.4.1.2)."""
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    text = records(b"\x01" + len(body).to_bytes(3) + body, 1000)
    assert assert_same_in_every_cut(probe, text) == ("tls", b"")


@pytest.mark.parametrize("record_bytes", [1, 2, 3, 4, 5, 8, 13, 50, 90, 200])
def test_a_hello_in_records_of_any_size_is_tls_with_its_name(
    probe: ModuleType, record_bytes: int
) -> None:
    message = handshake_message([extension(PADDING, bytes(20)), server_name(NAME)])
    text = records(message, record_bytes)
    for size in (1, 2, 5, 7, 100, len(text)):
        assert looked(probe, in_pieces(text, size)) == ("tls", NAME)
    for cut in range(1, len(text)):
        assert looked(probe, [text[:cut]])[0] == "pending"


@pytest.mark.parametrize("share_bytes", [BIG_KEY_SHARE_BYTES, 8_000, 16_000])
def test_a_huge_extension_hides_neither_the_end_nor_the_name(
    probe: ModuleType, share_bytes: int
) -> None:
    share = extension(KEY_SHARE, bytes(share_bytes))
    for extensions in ([share, server_name(NAME)], [server_name(NAME), share]):
        text = hello(extensions, record_bytes=4_000)
        for size in (1, 1448, len(text)):
            assert looked(probe, in_pieces(text, size)) == ("tls", NAME)


def test_the_biggest_hello_is_tls_and_a_bigger_one_is_not(probe: ModuleType) -> None:
    room = HELLO_BYTES_MAX - (len(handshake_message([])) - 4) - 4
    assert looked(probe, [hello([extension(PADDING, bytes(room))])]) == ("tls", b"")
    assert looked(probe, [hello([extension(PADDING, bytes(room + 1))])]) == ("opaque", b"")


def test_the_first_bytes_limit_does_not_cut_a_hello(probe: ModuleType) -> None:
    text = hello([extension(KEY_SHARE, bytes(4_000)), server_name(NAME)])
    assert looked(probe, [text], bytes_max=64) == ("tls", NAME)


# --- what only resembles a hello -----------------------------------------------------------------


@pytest.mark.parametrize("byte", range(256))
def test_only_record_version_3_is_tls(probe: ModuleType, byte: int) -> None:
    text = hello([])
    major = text[:1] + bytes([byte]) + text[2:]
    minor = text[:2] + bytes([byte]) + text[3:]
    assert looked(probe, [major])[0] == ("tls" if byte == 3 else "opaque")
    assert looked(probe, [minor])[0] == "tls"


@pytest.mark.parametrize("kind", [0, 20, 21, 23, 24, 255])
def test_another_record_in_the_middle_of_a_hello_is_opaque(probe: ModuleType, kind: int) -> None:
    text = hello([server_name(NAME)], record_bytes=50)
    spoiled = text[:55] + bytes([kind]) + text[56:]
    assert looked(probe, [spoiled])[0] == looked(probe, in_pieces(spoiled, 1))[0] == "opaque"


@pytest.mark.parametrize("length", [0, HELLO_BYTES_MAX + 1, 0xFFFF])
def test_a_record_of_an_impossible_length_is_opaque(probe: ModuleType, length: int) -> None:
    assert looked(probe, [Hello().with_length("record", length)])[0] == "opaque"


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0", b"\0\3\0\0\0", b"\0\4\1\0\1x", b"\0\4\0\0\1xy", b"\0\x08\0\0\1x\0\0\1y"],
    ids=["empty", "no name", "an empty name", "another type", "a rest", "two names"],
)
def test_a_server_name_extension_that_is_not_one_host_name_is_opaque(
    probe: ModuleType, body: bytes
) -> None:
    """RFC 6066, section 3; OpenSSL refuses these, too."""
    text = hello([extension(SERVER_NAME, body), extension(PADDING, bytes(5))])
    for size in (1, 3, 1000):
        assert looked(probe, in_pieces(text, size)) == ("opaque", b"")


def wrong_lengths(field: str) -> list[int]:
    length = Hello().length(field)
    highest = (1 << 8 * Hello().fields[field].width) - 1
    candidates = {0, 1, length - 2, length - 1, length + 1, length + 2, length + 256, highest}
    return sorted(n for n in candidates - {length} if 0 <= n <= highest)


FIELDS = [
    *["message", "session", "ciphers", "compression", "extensions"],
    *["extension", "list", "name"],
]


@pytest.mark.parametrize("field", FIELDS)
def test_a_wrong_length_is_opaque_wherever_it_stands(probe: ModuleType, field: str) -> None:
    """Behind the hello come bytes without end: whoever waits for more of them gets them."""
    found = []
    for length in wrong_lengths(field):
        text = Hello().with_length(field, length) + bytes(70_000 - len(Hello().text))
        verdict = looked(probe, in_pieces(text, 60_000))
        assert looked(probe, in_pieces(text, 1)) == verdict
        assert looked(probe, in_pieces(text, 7), is_low=True) == verdict
        assert looked(probe, in_pieces(text, 7), keeps_name=False)[0] == verdict[0]
        if verdict[0] != "opaque":
            found.append((length, verdict))
    assert not found


# --- the name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 63, 64, 254, NAME_BYTES_MAX])
def test_a_name_of_any_length_is_kept_whole(probe: ModuleType, length: int) -> None:
    name = (b"abcdefgh.j" * 26)[:length]
    for size in (1, 100, 1000):
        assert looked(probe, in_pieces(hello([server_name(name)]), size)) == ("tls", name)


def test_a_name_longer_than_any_host_has_is_opaque(probe: ModuleType) -> None:
    assert looked(probe, [hello([server_name(b"x" * 256)])]) == ("opaque", b"")


@pytest.mark.parametrize("byte", sorted(set(range(256)) - HOST_CHARS))
def test_a_name_with_a_byte_that_no_host_has_is_not_reported(probe: ModuleType, byte: int) -> None:
    for at in (0, 5, len(NAME) - 1):
        name = NAME[:at] + bytes([byte]) + NAME[at + 1 :]
        text = hello([extension(PADDING, bytes(9)), server_name(name), extension(PADDING, b"")])
        for size in (1, 3, 1000):
            assert looked(probe, in_pieces(text, size)) == ("tls", b"")


def test_a_name_of_every_byte_that_hosts_have_is_reported(probe: ModuleType) -> None:
    name = bytes(sorted(HOST_CHARS))
    assert looked(probe, [hello([server_name(name)])]) == ("tls", name)


def test_where_there_is_no_place_for_the_name_the_verdict_is_the_same(probe: ModuleType) -> None:
    text = hello([server_name(NAME)])
    assert looked(probe, [text], keeps_name=False) == ("tls", b"")


def test_a_name_with_a_wrong_byte_is_not_reported_when_the_look_is_cut_short(
    probe: ModuleType,
) -> None:
    text = hello([server_name(b"a\0" + NAME)])
    for cut in range(9, len(text)):
        look = probe.Look()
        look.feed(text[:cut])
        look.finish()
        assert b"\0" not in label(look)[1]


def test_part_of_a_name_is_not_reported_when_the_look_is_cut_short(probe: ModuleType) -> None:
    """Half of a name is another name."""
    text = hello([server_name(NAME)])
    for cut in range(text.index(NAME) + 1, text.index(NAME) + len(NAME)):
        look = probe.Look()
        look.feed(text[:cut])
        look.finish()
        assert label(look) == ("tls", b"")


def test_a_second_name_does_not_take_the_place_of_the_first(probe: ModuleType) -> None:
    """RFC 8446, section 4.2: at most one extension of a type. No peer takes it; we do not guess."""
    for first, second in ((NAME, b"evil.example"), (b"a\0b", b"evil.example")):
        text = hello([server_name(first), server_name(second)])
        assert looked(probe, [text]) == ("opaque", b"")
