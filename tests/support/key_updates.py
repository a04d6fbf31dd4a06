"""A TLS client that asks for new keys, again and again: OpenSSL of the system, by ctypes.

Neither pyOpenSSL nor Python's ssl has a name for SSL_key_update (RFC 8446 section 4.6.3).
"""

import ctypes
import socket
from pathlib import Path
from typing import Final

UPDATE_NOT_REQUESTED: Final = 0
UPDATE_REQUESTED: Final = 1

_PEM: Final = 1
_VERIFY_NONE: Final = 0


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libssl.so.3")
    for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


class Updater:
    """Shakes hands over `sock`, which is blocking, with the identity in `directory`."""

    def __init__(self, sock: socket.socket, directory: Path, alpn: bytes) -> None:
        sock.settimeout(None)
        self._ssl = _library()
        made = ctypes.c_void_p(
            self._ssl.SSL_CTX_new(ctypes.c_void_p(self._ssl.TLS_client_method()))
        )
        chain, key = (str(directory / name).encode() for name in ("tls.crt", "tls.key"))
        assert self._ssl.SSL_CTX_use_certificate_chain_file(made, chain) == 1
        assert self._ssl.SSL_CTX_use_PrivateKey_file(made, key, _PEM) == 1
        self._ssl.SSL_CTX_set_verify(made, _VERIFY_NONE, None)
        self._session = ctypes.c_void_p(self._ssl.SSL_new(made))
        self._ssl.SSL_CTX_free(made)
        names = bytes([len(alpn)]) + alpn
        assert self._ssl.SSL_set_alpn_protos(self._session, names, len(names)) == 0
        assert self._ssl.SSL_set_fd(self._session, sock.fileno()) == 1
        assert self._ssl.SSL_connect(self._session) == 1

    def close(self) -> None:
        self._ssl.SSL_free(self._session)

    def update(self, kind: int) -> bool:
        """Say KeyUpdate; whether the other side still takes it."""
        self._ssl.SSL_key_update(self._session, kind)
        return bool(self._ssl.SSL_do_handshake(self._session) == 1)

    def write(self, text: bytes) -> bool:
        return bool(self._ssl.SSL_write(self._session, text, len(text)) == len(text))
