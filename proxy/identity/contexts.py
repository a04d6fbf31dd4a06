"""OpenSSL contexts out of key, chain and bundle: what both sides of a handshake are given.

TLS 1.3 only, one order of ciphers and groups, a certificate of the peer always, its chain verified
by OpenSSL against our bundle. No sessions are resumed: a resumed one would skip the look at the
peer's certificate, and with it the trust bundle of today (nginx CVE-2025-23419 was of this kind).
"""

from datetime import datetime
from typing import Any, Final, NamedTuple

from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL, crypto

from proxy.identity.material import CHAIN_MAX, Material, MaterialError
from proxy.symbols import Callbacks

CIPHERS: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
GROUPS: Final = b"X25519MLKEM768:X25519:P-256"

_ffi, _lib = _openssl.ffi, _openssl.lib


class Contexts(NamedTuple):
    """Both contexts of an identity. Workers borrow them while a snapshot holds this object."""

    server: SSL.Context
    client: SSL.Context
    own_id: bytes
    bundle_generation: int
    not_after: datetime

    def words(self) -> tuple[int, int, bytes, int, int]:
        """Return what a snapshot holds: addresses, our ID, generation, Unix time of the end."""
        ends_s = int(self.not_after.timestamp())
        return (
            _address(self.server),
            _address(self.client),
            self.own_id,
            self.bundle_generation,
            ends_s,
        )


def build(material: Material, bundle_generation: int, callbacks: Callbacks) -> Contexts:
    """Make the contexts of an identity.

    Raises MaterialError for what OpenSSL will not show to anybody.
    """
    try:
        server, client = _context(material), _context(material)
    except SSL.Error as fault:
        raise MaterialError(f"OpenSSL refuses key or certificate: {fault}") from fault
    select = _ffi.cast(
        "int(*)(SSL *, unsigned char **, unsigned char *, unsigned char *, unsigned int, void *)",
        callbacks.alpn,
    )
    _lib.SSL_CTX_set_alpn_select_cb(_handle(server), select, _ffi.NULL)
    for context in (server, client):
        # In memory only, from OpenSSL's handshake to the worker that it is on: nothing is logged.
        keylog = _ffi.cast("void(*)(const SSL *, const char *)", callbacks.keylog)
        _lib.SSL_CTX_set_keylog_callback(_handle(context), keylog)
        message = _ffi.cast(
            "void(*)(int, int, int, const void *, size_t, SSL *, void *)", callbacks.message
        )
        _lib.SSL_CTX_set_msg_callback(_handle(context), message)
    return Contexts(
        server, client, str(material.identity).encode(), bundle_generation, material.not_after
    )


def _context(material: Material) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(CIPHERS)
    if _lib.SSL_CTX_set1_curves_list(_handle(context), GROUPS) != 1:
        raise RuntimeError(f"this OpenSSL lacks a group of {GROUPS.decode()}")
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # Buffers are given back when they are empty: idle connections stay small.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # pyOpenSSL lets SSL_write stop after one record; the workers write to memory, and all of it.
    context.clear_mode(_lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
    context.use_privatekey(material.key)
    leaf, *others = material.chain
    context.use_certificate(leaf)
    for certificate in others:
        context.add_extra_chain_cert(certificate)
    store = context.get_cert_store()
    if store is None:
        raise RuntimeError("a context has no store")
    for root in material.bundle:
        store.add_cert(crypto.X509.from_cryptography(root))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_verify_depth(CHAIN_MAX)
    return context


def _handle(context: SSL.Context) -> Any:  # noqa: ANN401 - a pointer of cffi
    # pyOpenSSL has no public name for it, and says that it will not change (SSL.Context.__init__).
    return context._context  # noqa: SLF001


def _address(context: SSL.Context) -> int:
    return int(_ffi.cast("uintptr_t", _handle(context)))
