"""TLS 1.3 records made by hand, under the keys of a handshake that OpenSSL made (RFC 8446).

So a test can say what no TLS library would: messages cut in two, wrong lengths, wrong contents.
"""

import hmac
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from tests.support.sockets import receive_exactly
from tests.support.tls import TlsEnd

ALERT: Final = 21
HANDSHAKE: Final = 22
DATA: Final = 23
HEAD_BYTES: Final = 5
TAG_BYTES: Final = 16
# Tickets that OpenSSL sends as a server, under its first record numbers.
SERVER_TICKETS: Final = 2
TICKET: Final = b"\4"  # how a message begins that is one
CLOSE_NOTIFY: Final = b"\1\0"
KEY_UPDATE: Final = b"\x18\0\0\1\0"
KEY_UPDATE_REQUESTED: Final = b"\x18\0\0\1\1"


def listening(made: SSL.Context) -> list[bytes]:
    """Return where the secrets of its handshakes will be told, in lines of the NSS key log."""
    lines: list[bytes] = []
    made.set_keylog_callback(lambda _, line: lines.append(line))
    return lines


def head(length: int, content: int = DATA) -> bytes:
    return bytes([content, 3, 3]) + length.to_bytes(2, "big")


class Keys:
    """One direction, AES-128-GCM with SHA-256."""

    def __init__(self, secret: bytes, sequence: int = 0) -> None:
        self.secret = secret
        self._begin(sequence)

    def _begin(self, sequence: int) -> None:
        self._cipher = AESGCM(self._expand(b"key", 16))
        self._iv = int.from_bytes(self._expand(b"iv", 12), "big")
        self._sequence = sequence

    def _expand(self, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label without a context (section 7.1)."""
        info = length.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\0\1"
        return hmac.digest(self.secret, info, "sha256")[:length]

    def update(self) -> None:
        self.secret = self._expand(b"traffic upd", 32)
        self._begin(0)

    def _nonce(self) -> bytes:
        self._sequence += 1
        return (self._iv ^ (self._sequence - 1)).to_bytes(12, "big")

    def seal(self, inner: bytes) -> bytes:
        """Return a record of any inside: what it holds, its content type, padding."""
        opening = head(len(inner) + TAG_BYTES)
        return opening + self._cipher.encrypt(self._nonce(), inner, opening)

    def open(self, opening: bytes, text: bytes) -> tuple[int, bytes]:
        """Return content type and what it holds."""
        inner = self._cipher.decrypt(self._nonce(), text, opening).rstrip(b"\0")
        return inner[-1], inner[:-1]


class Forger:
    """Speaks over the socket of an end whose handshake is over, instead of its OpenSSL."""

    def __init__(self, end: TlsEnd, lines: Sequence[bytes], *, is_server: bool = False) -> None:
        said = {line.split()[0]: bytes.fromhex(line.split()[2].decode()) for line in lines}
        client, server = (said[name + b"_TRAFFIC_SECRET_0"] for name in (b"CLIENT", b"SERVER"))
        self.sock = end.sock
        self.ours = Keys(server, SERVER_TICKETS) if is_server else Keys(client)
        self.theirs = Keys(client if is_server else server)

    def say(self, content: int, text: bytes, padding: int = 0) -> None:
        self.sock.sendall(self.ours.seal(text + bytes([content]) + bytes(padding)))

    def hear(self) -> tuple[int, bytes]:
        """Return content type and text of the next record that is no ticket."""
        while True:
            opening = receive_exactly(self.sock, HEAD_BYTES)
            text = receive_exactly(self.sock, int.from_bytes(opening[3:], "big"))
            content, said = self.theirs.open(opening, text)
            if content != HANDSHAKE or not said.startswith(TICKET):
                return content, said

    def hear_data(self, size: int) -> bytes:
        """Return so many bytes of data, in whatever records; nothing else may come."""
        heard = b""
        while len(heard) < size:
            content, text = self.hear()
            assert content == DATA, (content, text)
            heard += text
        return heard
