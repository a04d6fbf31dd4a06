"""What may come behind a TLS handshake, and what may not: whoever reads the records.

Both readers are asked the same: ours, and OpenSSL (`--tls-records openssl`), whose answers show
that ours are no opinion of our own.
"""

import socket
from collections.abc import Callable
from typing import Final

import pytest
from OpenSSL import SSL

from tests.support import tls
from tests.support.mtls import FarProxy, MeshKit, NearProxy, check_talk
from tests.support.records import (
    ALERT,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    KEY_UPDATE,
    KEY_UPDATE_REQUESTED,
    Forger,
    head,
    listening,
)
from tests.support.sockets import expect_end, expect_reset, receive_exactly
from tests.support.svids import GOOD, SHOP, WEB
from tests.support.system_tls import Client

READERS: Final = ("auto", "openssl")
PLAIN_MAX: Final = 1 << 14
ROUNDS: Final = 5
WORD: Final = b"\0word"
TICKET: Final = b"\4\0\0\x14" + bytes(4) + bytes(4) + b"\1n" + b"\0\6ticket" + b"\0\0"
UNEXPECTED, BAD_MAC, OVERFLOW, ILLEGAL = 10, 20, 22, 47
REFUSED: Final = b"\2\x2a"  # bad_certificate
CANCELED: Final = b"\1\x5a"

Said = Callable[[Forger], None]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def aes128(made: SSL.Context) -> SSL.Context:
    made.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    return made


def downstream(far: FarProxy) -> tuple[Forger, socket.socket]:
    """A client whose records are forged, and the application behind the proxy."""
    made = aes128(tls.context(far.kit.svid()))
    lines = listening(made)
    end = far.end(made=made, alpn=tls.ALPN_TCP).shake()
    return Forger(end, lines), far.accept()


def upstream(near: NearProxy) -> tuple[Forger, socket.socket]:
    """A server whose records are forged, and who spoke to it through the proxy."""
    made = aes128(tls.context(near.kit.svid(GOOD.but(uris=(WEB,)))))
    lines = listening(made)
    down = near.dial()
    return Forger(near.accept(made=made).shake(), lines, is_server=True), down


def handshake(text: bytes) -> Said:
    return lambda forger: forger.say(HANDSHAKE, text)


def raw(text: bytes) -> Said:
    return lambda forger: forger.sock.sendall(text)


def in_two(text: bytes, at: int) -> Said:
    def say(forger: Forger) -> None:
        forger.say(HANDSHAKE, text[:at])
        forger.say(HANDSHAKE, text[at:])

    return say


def empty_records(count: int) -> Said:
    def say(forger: Forger) -> None:
        for _ in range(count):
            forger.say(DATA, b"")

    return say


def damaged(forger: Forger) -> None:
    record = forger.ours.seal(WORD + bytes([DATA]))
    forger.sock.sendall(record[:-1] + bytes([record[-1] ^ 1]))


BAD: Final[dict[str, tuple[int, Said]]] = {
    "new keys of a third kind": (ILLEGAL, handshake(b"\x18\0\0\1\2")),
    "new keys and more": (UNEXPECTED, handshake(KEY_UPDATE + KEY_UPDATE)),
    "a ticket of a client": (UNEXPECTED, handshake(TICKET)),
    "a wish for a certificate": (UNEXPECTED, handshake(b"\x0d\0\0\3\0\0\0")),
    "a hello": (UNEXPECTED, handshake(b"\1\0\0\1\0")),
    "a message of nothing": (UNEXPECTED, handshake(b"")),
    "an alert of nothing": (UNEXPECTED, lambda forger: forger.say(ALERT, b"")),
    "half an alert": (UNEXPECTED, lambda forger: forger.say(ALERT, b"\1")),
    "an alert and a half": (UNEXPECTED, lambda forger: forger.say(ALERT, CLOSE_NOTIFY + b"\1")),
    "nothing but padding": (UNEXPECTED, lambda forger: forger.say(0, b"", 40)),
    "a change of ciphers inside": (UNEXPECTED, lambda forger: forger.say(20, b"\1")),
    "a content of no type": (UNEXPECTED, lambda forger: forger.say(99, WORD)),
    "too much inside": (OVERFLOW, lambda forger: forger.say(DATA, bytes(PLAIN_MAX + 1))),
    "a record that is too short": (BAD_MAC, raw(head(16) + bytes(16))),
    "a record that is too long": (OVERFLOW, raw(head(PLAIN_MAX + 257) + bytes(100))),
    "a wrong tag": (BAD_MAC, damaged),
    "empty records without an end": (UNEXPECTED, empty_records(33)),
    "a plaintext change of ciphers": (UNEXPECTED, raw(head(1, 20) + b"\1")),
    "a plaintext alert": (UNEXPECTED, raw(head(2, ALERT) + CLOSE_NOTIFY)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_may_not_come_ends_the_connection_with_the_alert_for_it(
    kit: MeshKit, reader: str, name: str
) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    forger, app = downstream(far)
    alert, say = BAD[name]
    say(forger)
    assert forger.hear() == (ALERT, bytes([2, alert]))
    assert expect_reset(app) == b""
    far.proxy.wait_closed("tls_broken")
    far.check_serves()


def test_padding_counts_as_much_as_what_it_hides(kit: MeshKit) -> None:
    """RFC 8446 section 5.4; OpenSSL bears it."""
    far = FarProxy(kit)
    forger, app = downstream(far)
    forger.say(DATA, WORD, PLAIN_MAX - len(WORD))
    assert receive_exactly(app, len(WORD)) == WORD
    forger.say(DATA, WORD, PLAIN_MAX - len(WORD) + 1)
    assert forger.hear() == (ALERT, bytes([2, OVERFLOW]))
    assert expect_reset(app) == b""


def test_half_a_ticket_may_not_be_followed_by_data(kit: MeshKit, reader: str) -> None:
    near = NearProxy(kit, "--tls-records", reader)
    forger, down = upstream(near)
    forger.say(HANDSHAKE, TICKET[:7])
    forger.say(DATA, WORD)
    assert forger.hear() == (ALERT, bytes([2, UNEXPECTED]))
    assert expect_reset(down) == b""
    near.check_serves()


# --- what may come -------------------------------------------------------------------------------


def both_ways(forger: Forger, plain: socket.socket, number: int) -> None:
    word = b"\0word %d" % number
    forger.say(DATA, word)
    assert receive_exactly(plain, len(word)) == word
    plain.sendall(word)
    assert forger.hear_data(len(word)) == word


def test_tickets_whole_or_in_pieces_are_passed_over(kit: MeshKit, reader: str) -> None:
    near = NearProxy(kit, "--tls-records", reader)
    forger, down = upstream(near)
    down.sendall(WORD)
    assert forger.hear_data(len(WORD)) == WORD
    for at in (1, 4, 7):
        in_two(TICKET, at)(forger)
    forger.say(HANDSHAKE, TICKET + TICKET, 10)
    both_ways(forger, down, 1)


def test_the_peer_changes_its_keys_by_messages_whole_or_in_pieces(
    kit: MeshKit, reader: str
) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    forger, app = downstream(far)
    for number in range(ROUNDS):
        say = in_two(KEY_UPDATE, number) if number else handshake(KEY_UPDATE)
        say(forger)
        forger.ours.update()
        both_ways(forger, app, number)


def test_the_peer_asks_for_new_keys_of_ours_and_gets_them_before_the_next_word(
    kit: MeshKit, reader: str
) -> None:
    near = NearProxy(kit, "--tls-records", reader)
    forger, down = upstream(near)
    for number in range(ROUNDS):
        forger.say(HANDSHAKE, KEY_UPDATE_REQUESTED)
        forger.ours.update()
        down.sendall(WORD)
        assert forger.hear() == (HANDSHAKE, KEY_UPDATE)
        forger.theirs.update()
        assert forger.hear_data(len(WORD)) == WORD
        both_ways(forger, down, number)


def test_padding_and_a_few_empty_records_are_borne(kit: MeshKit, reader: str) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    forger, app = downstream(far)
    for number in range(ROUNDS):
        empty_records(32)(forger)
        forger.say(DATA, WORD, 5_000)
        assert receive_exactly(app, len(WORD)) == WORD
        both_ways(forger, app, number)


def test_the_largest_record_there_is_arrives_whole(kit: MeshKit, reader: str) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    forger, app = downstream(far)
    text = bytes(range(256)) * (PLAIN_MAX // 256)
    for _ in range(ROUNDS):
        forger.say(DATA, text)
        assert receive_exactly(app, PLAIN_MAX) == text


def test_an_alert_of_the_peer_is_an_end_that_is_not_answered(kit: MeshKit, reader: str) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    forger, app = downstream(far)
    forger.say(ALERT, CANCELED)
    both_ways(forger, app, 1)
    forger.say(ALERT, REFUSED)
    assert expect_reset(app) == b""
    assert expect_reset(forger.sock) == b""


def test_many_tickets_and_new_keys_without_a_word_are_borne(kit: MeshKit, reader: str) -> None:
    near = NearProxy(kit, "--tls-records", reader)
    forger, down = upstream(near)
    for _ in range(60):
        forger.say(HANDSHAKE, TICKET)
        both_ways(forger, down, 1)
    for _ in range(60):
        forger.say(HANDSHAKE, KEY_UPDATE)
        forger.ours.update()
    both_ways(forger, down, 2)


def test_who_has_said_its_end_still_hears_and_says_no_more(kit: MeshKit) -> None:
    """RFC 8446 section 6.1: nothing follows close_notify, not even new keys; OpenSSL sends them."""
    far = FarProxy(kit)
    forger, app = downstream(far)
    app.shutdown(socket.SHUT_WR)
    assert forger.hear() == (ALERT, CLOSE_NOTIFY)
    expect_end(forger.sock)
    for number in range(ROUNDS):
        word = b"\0word %d" % number
        text = forger.ours.seal(word + bytes([DATA]))
        text += forger.ours.seal(KEY_UPDATE_REQUESTED + bytes([HANDSHAKE]))
        forger.ours.update()
        forger.sock.sendall(text)
        assert receive_exactly(app, len(word)) == word
    forger.say(ALERT, CLOSE_NOTIFY)
    expect_end(app)


def test_records_are_as_short_as_the_peer_asked_for(kit: MeshKit, reader: str) -> None:
    """RFC 6066 section 4: OpenSSL agrees to it, and its client refuses longer ones then."""
    far = FarProxy(kit, "--tls-records", reader)
    sock = far.dial()
    sock.settimeout(None)
    client = Client(sock.fileno(), kit.directory(SHOP), fragment_mode=1)
    client.write(WORD)
    app = far.accept()
    assert receive_exactly(app, len(WORD)) == WORD
    text = bytes(range(256)) * 40
    app.sendall(text)
    assert client.read(len(text)) == text
    client.free()


def test_close_notify_ends_one_direction(kit: MeshKit, reader: str) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    forger, app = downstream(far)
    forger.say(ALERT, CLOSE_NOTIFY)
    expect_end(app)
    app.sendall(WORD)
    assert forger.hear_data(len(WORD)) == WORD
    app.close()
    assert forger.hear() == (ALERT, CLOSE_NOTIFY)


@pytest.mark.parametrize(
    "suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
)
def test_every_cipher_carries_words_and_bulk(kit: MeshKit, reader: str, suite: str) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    made = tls.context(kit.svid())
    made.set_tls13_ciphersuites(suite.encode())
    end = far.end(made=made, alpn=tls.ALPN_TCP).shake()
    app = far.accept()
    assert end.ssl.get_cipher_name() == suite
    check_talk(end, app)
    text = bytes(range(256)) * 1_000
    kit.rig.background(end.sendall, text)
    assert receive_exactly(app, len(text)) == text


def test_who_reads_the_records_is_said(kit: MeshKit, reader: str) -> None:
    far = FarProxy(kit, "--tls-records", reader)
    said = far.proxy.logged("identity")
    assert said
    assert ("OpenSSL" in said["records"]) == (reader == "auto")
