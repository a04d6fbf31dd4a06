"""TLS by the system's own OpenSSL, for what pyOpenSSL cannot do: new keys, short records."""

import ctypes
import ctypes.util
from pathlib import Path
from typing import Any, Final

ALPN: Final = b"\x0aremora-tcp"


class Client:
    """A downstream in TLS. `fragment_mode`: records must be of 2^(8 + mode) bytes at most."""

    def __init__(self, fd: int, directory: Path, *, fragment_mode: int = 0) -> None:
        name = ctypes.util.find_library("ssl")
        assert name is not None, "no OpenSSL of the system (.ci/packages names it)"
        self._library = ctypes.CDLL(name)
        for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(self._library, function).restype = ctypes.c_void_p
        self._context = self._made("SSL_CTX_new", self._made("TLS_client_method"))
        chain, key = (str(directory / file).encode() for file in ("tls.crt", "tls.key"))
        assert self._call("SSL_CTX_use_certificate_chain_file", self._context, chain) == 1
        assert self._call("SSL_CTX_use_PrivateKey_file", self._context, key, 1) == 1
        self._ssl = self._made("SSL_new", self._context)
        if fragment_mode:
            mode = ctypes.c_ubyte(fragment_mode)
            assert self._call("SSL_set_tlsext_max_fragment_length", self._ssl, mode) == 1
        assert self._call("SSL_set_alpn_protos", self._ssl, ALPN, len(ALPN)) == 0
        assert self._call("SSL_set_fd", self._ssl, fd) == 1
        assert self._call("SSL_connect", self._ssl) == 1

    def _call(self, name: str, *arguments: Any) -> int:  # noqa: ANN401 - of any function
        return int(getattr(self._library, name)(*arguments))

    def _made(self, name: str, *arguments: Any) -> ctypes.c_void_p:  # noqa: ANN401
        return ctypes.c_void_p(getattr(self._library, name)(*arguments))

    def change(self) -> bool:
        """Ask for new keys of both sides, and say a byte, so that it counts as a conversation."""
        asked = self._call("SSL_key_update", self._ssl, 1) == 1
        return asked and self._call("SSL_write", self._ssl, b"x", 1) == 1

    def write(self, text: bytes) -> None:
        assert self._call("SSL_write", self._ssl, text, len(text)) == len(text)

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer when the connection ends or fails."""
        room, read = ctypes.create_string_buffer(size), b""
        while len(read) < size and (count := self._call("SSL_read", self._ssl, room, size)) > 0:
            read += room.raw[:count]
        return read

    def free(self) -> None:
        self._library.SSL_free(self._ssl)
        self._library.SSL_CTX_free(self._context)
