"""Reads a ServerHello of TLS (RFC 8446, 4.1.3): what two sides agreed on, sent in the clear."""

from dataclasses import dataclass
from typing import Final

HANDSHAKE: Final = 22  # type of a record
SERVER_HELLO: Final = 2
SUPPORTED_VERSIONS: Final = 43
KEY_SHARE: Final = 51
RECORD_HEAD_BYTES: Final = 5
HELLO_BYTES_MIN: Final = 42  # with no session id and no extensions
VERSIONS: Final = {0x0304: "TLS 1.3", 0x0303: "TLS 1.2"}
CIPHERS: Final = {0x1301: "AES-128-GCM", 0x1302: "AES-256-GCM", 0x1303: "ChaCha20-Poly1305"}
GROUPS: Final = {0x001D: "X25519", 0x0017: "P-256", 0x11EC: "X25519MLKEM768"}


@dataclass(frozen=True)
class Hello:
    """What two sides agreed on."""

    version: str
    cipher: str
    group: str


def parse(stream: bytes) -> Hello | None:
    """Read the first record of a server; None if it is no ServerHello, or not there as a whole."""
    head, body = stream[:RECORD_HEAD_BYTES], stream[RECORD_HEAD_BYTES:]
    if len(head) < RECORD_HEAD_BYTES or head[0] != HANDSHAKE:
        return None
    body = body[: int.from_bytes(head[3:5])]
    if len(body) < max(HELLO_BYTES_MIN, int.from_bytes(head[3:5])) or body[:1] != bytes(
        [SERVER_HELLO]
    ):
        return None
    at = 4 + 2 + 32  # type and length, the legacy version, random
    at += 1 + body[at]  # session id
    cipher = int.from_bytes(body[at : at + 2])
    extensions = _extensions(body[at + 2 + 1 + 2 :])
    version = int.from_bytes(extensions.get(SUPPORTED_VERSIONS, body[4:6])[:2])
    group = int.from_bytes(extensions.get(KEY_SHARE, b"")[:2])
    return Hello(
        VERSIONS.get(version, f"{version:#06x}"),
        CIPHERS.get(cipher, f"{cipher:#06x}"),
        GROUPS.get(group, f"{group:#06x}"),
    )


def _extensions(block: bytes) -> dict[int, bytes]:
    found = {}
    while len(block) >= 4:  # noqa: PLR2004 - type and length
        end = 4 + int.from_bytes(block[2:4])
        found[int.from_bytes(block[:2])] = block[4:end]
        block = block[end:]
    return found
