"""What a ServerHello says, read from real ones."""

import ssl
from pathlib import Path

import pytest

from bench.hello import Hello, parse
from bench.identities import CLIENT, SERVER, context


def first_flight(identities: Path, version: ssl.TLSVersion) -> bytes:
    """What a server sends first to a client that speaks no newer version than this."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(identities / SERVER / "tls.crt", identities / SERVER / "tls.key")
    asking = context(identities / CLIENT, None)
    asking.maximum_version = version
    said, answered = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        asking.wrap_bio(answered, said).do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        tls.wrap_bio(said, answered, server_side=True).do_handshake()
    return answered.read()


def test_version_cipher_and_group_are_told(identities: Path) -> None:
    flight = first_flight(identities, ssl.TLSVersion.TLSv1_3)
    assert parse(flight) == Hello("TLS 1.3", "AES-256-GCM", "X25519")  # OpenSSL's first choices


def test_an_older_version_is_not_taken_for_a_new_one(identities: Path) -> None:
    hello = parse(first_flight(identities, ssl.TLSVersion.TLSv1_2))
    assert hello is not None
    assert hello.version == "TLS 1.2"


def test_a_hello_that_is_not_there_as_a_whole_is_none(identities: Path) -> None:
    flight = first_flight(identities, ssl.TLSVersion.TLSv1_3)
    whole = 5 + int.from_bytes(flight[3:5])
    assert parse(flight[:whole]) is not None
    assert {parse(flight[:end]) for end in range(whole)} == {None}


@pytest.mark.parametrize(
    "stream",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x16\x03\x03\x00\x01\x02",
    ],
)
def test_what_is_no_hello_is_none(stream: bytes) -> None:
    assert parse(stream) is None
