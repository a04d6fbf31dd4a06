"""What a workload proves itself with: key, chain, trusted roots; loaded whole or not at all."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import crypto

from proxy.identity import svid
from proxy.identity.spiffe import SpiffeId
from proxy.identity.svid import SvidError

CHAIN_MAX: Final = 8  # certificates of one chain, or roots of one bundle: more is a mistake
RSA_BITS_MIN: Final = 2048
CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")  # RFC 8446 section 4.2.3

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class MaterialError(ValueError):
    """Key, chain and bundle do not make an identity; the text says which of them and why."""


@dataclass(frozen=True)
class Material:
    """A key, the chain of its certificate (leaf first) and the trust bundle, checked together."""

    identity: SpiffeId
    key: PrivateKey
    chain: tuple[x509.Certificate, ...]
    bundle: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate of the key."""
        return self.chain[0]

    @property
    def not_after(self) -> datetime:
        """When the first certificate of the chain ends, in UTC."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    @property
    def fingerprint(self) -> str:
        """Names this material: SHA-256 over chain and bundle, in hex. The key is not in it."""
        digest = hashlib.sha256()
        for certificate in (*self.chain, *self.bundle):
            digest.update(certificate.public_bytes(serialization.Encoding.DER))
        return digest.hexdigest()


def load(key: bytes, chain: bytes, bundle: bytes, now: datetime | None = None) -> Material:
    """Read PEM and check that it holds together; raises MaterialError.

    The key must be the leaf's, the leaf an SVID, and the chain valid at `now` under one root.
    """
    certificates = _certificates(chain, "the certificate chain")
    roots = _certificates(bundle, "the trust bundle")
    private = _private_key(key)
    if private.public_key() != certificates[0].public_key():
        raise MaterialError("the key is not that of the first certificate of the chain")
    try:
        identity = svid.identity_of(certificates[0])
    except SvidError as fault:
        raise MaterialError(f"the first certificate is no SVID: {fault}") from fault
    verify_chain(certificates, roots, now)
    return Material(identity, private, certificates, roots)


def verify_chain(
    chain: tuple[x509.Certificate, ...],
    roots: tuple[x509.Certificate, ...],
    now: datetime | None = None,
) -> None:
    """Let OpenSSL verify a chain (leaf first) as it does in a handshake; raises MaterialError."""
    store = crypto.X509Store()
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    store.set_time(now or datetime.now(UTC))
    leaf, *others = (crypto.X509.from_cryptography(certificate) for certificate in chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as fault:
        raise MaterialError(f"the chain does not hold: {fault}") from fault


def _certificates(pem: bytes, what: str) -> tuple[x509.Certificate, ...]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion) as fault:
        raise MaterialError(f"{what} cannot be read as PEM: {fault}") from fault
    if len(found) > CHAIN_MAX:
        raise MaterialError(f"{what} has {len(found)} certificates; {CHAIN_MAX} are the most")
    return tuple(found)


def _private_key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as fault:
        raise MaterialError(f"the key cannot be read as PEM without a password: {fault}") from fault
    if not isinstance(key, PrivateKey):
        raise MaterialError("the key must be ECDSA, Ed25519 or RSA")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS_MIN:
        raise MaterialError(f"an RSA key needs {RSA_BITS_MIN} bits, not {key.key_size}")
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in CURVES:
        raise MaterialError(f"TLS 1.3 cannot sign with the curve {key.curve.name}")
    return key
