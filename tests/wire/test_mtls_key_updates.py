"""A peer that changes keys all the time and reads none of the answers: memory stays bounded.

pyOpenSSL cannot change keys; the system's own OpenSSL is called for it.
"""

import ctypes
import ctypes.util
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.memory import allowance
from tests.support.mtls import FarProxy, MeshKit
from tests.support.rig import Rig
from tests.support.svids import SHOP
from tests.support.transfers import MIB

UPDATES_MAX = 1_000_000  # far more than what both kernels hold of their answers
ALPN = b"\x0aremora-tcp"


class Changer:
    """A downstream in TLS that never reads after its handshake."""

    def __init__(self, fd: int, directory: Path) -> None:
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

    def free(self) -> None:
        self._library.SSL_free(self._ssl)
        self._library.SSL_CTX_free(self._context)


@pytest.mark.slow
def test_a_peer_that_changes_keys_and_reads_nothing_is_cut_off(rig: Rig, tmp_path: Path) -> None:
    far = FarProxy(kit := MeshKit(rig, tmp_path))
    sock = far.dial()
    sock.settimeout(None)
    changer = Changer(sock.fileno(), kit.directory(SHOP))
    up = far.accept()
    heard = threading.Thread(target=_drain, args=[up])
    heard.start()
    before = far.proxy.private_bytes()
    count = 0
    while count < UPDATES_MAX and changer.change():
        count += 1
    changer.free()
    heard.join()
    assert 1_000 < count < UPDATES_MAX
    assert far.proxy.private_bytes() - before < allowance(2 * MIB)
    far.proxy.wait_closed("tls_broken")
    far.check_serves()


def _drain(sock: Any) -> None:  # noqa: ANN401 - a socket
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
