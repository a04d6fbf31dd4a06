"""ClientHellos: one that OpenSSL makes, and ones put together by hand (RFC 8446, section 4.1.2)."""

import ssl
from collections.abc import Sequence
from typing import Final

SERVER_NAME: Final = 0
PADDING: Final = 21
KEY_SHARE: Final = 51
# A hybrid post-quantum key share: X25519MLKEM768 takes 1,216 bytes, with its frame 1,222.
BIG_KEY_SHARE_BYTES: Final = 1222


def openssl_hello(name: str | None, *, alpn: Sequence[str] = ()) -> bytes:
    """Return what a real TLS client says first; `name` becomes the SNI."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2) + len(body).to_bytes(2) + body


def server_name(name: bytes) -> bytes:
    entry = b"\0" + len(name).to_bytes(2) + name
    return extension(SERVER_NAME, len(entry).to_bytes(2) + entry)


def handshake_message(extensions: Sequence[bytes]) -> bytes:
    joined = b"".join(extensions)
    body = b"\x03\x03" + bytes(range(32)) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += len(joined).to_bytes(2) + joined
    return b"\x01" + len(body).to_bytes(3) + body


def hello(extensions: Sequence[bytes], *, record_bytes: int = 16384) -> bytes:
    """Return a ClientHello in records of at most `record_bytes` (RFC 8446, section 5.1)."""
    message = handshake_message(extensions)
    pieces = [message[at : at + record_bytes] for at in range(0, len(message), record_bytes)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)
