"""A key and its certificate: checked together, and made into a context for TLS."""

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization


class PairError(Exception):
    """Key and certificate are not usable; the text says why."""


@dataclass(frozen=True)
class Pair:
    """A key and the chain of its certificate, leaf first, as PEM."""

    chain: bytes
    key: bytes
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]


def checked(chain: bytes, key: bytes, now: datetime | None = None) -> Pair:
    """Return the pair that these make; raises PairError.

    Files are changed one after the other: a new key is seen beside the old certificate.
    """
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, IndexError) as fault:
        raise PairError(f"the certificate cannot be read as PEM: {fault}") from fault
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as fault:
        raise PairError(f"the key cannot be read as PEM without a password: {fault}") from fault
    if private.public_key() != leaf.public_key():
        raise PairError("the key is not that of the certificate")
    if leaf.not_valid_after_utc <= (now or datetime.now(UTC)):
        raise PairError(
            f"the certificate has ended on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )
    return Pair(chain, key, leaf.not_valid_before_utc, leaf.not_valid_after_utc, _names(leaf))


def context_of(pair: Pair) -> ssl.SSLContext:
    """Return a context for connections that begin now; raises PairError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])  # all that the API server offers to webhooks
    # OpenSSL is handed a name. The file has none on any disk, so both parts are of one reading.
    file = os.memfd_create("remora-webhook")
    try:
        os.write(file, pair.key.rstrip() + b"\n" + pair.chain)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    except (ssl.SSLError, OSError) as fault:
        raise PairError(f"TLS does not take them: {fault}") from fault
    finally:
        os.close(file)
    return context


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(found.get_values_for_type(x509.DNSName))
