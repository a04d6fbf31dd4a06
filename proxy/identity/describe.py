"""Certificates in plain words and numbers, for `remora identity show` and `remora ctl identity`."""

from datetime import UTC, datetime
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.identity.material import Material
from proxy.identity.page import identity_page

Facts: TypeAlias = dict[str, object]


def material_as_text(material: Material, now: datetime | None = None) -> str:
    """Return an identity as a page."""
    return identity_page(material_facts(material, now))


def material_facts(material: Material, now: datetime | None = None) -> Facts:
    """Return an identity as JSON shows it; times are RFC 3339 in UTC."""
    now = now or datetime.now(UTC)
    return {
        "identity": str(material.identity),
        "trust_domain": material.identity.trust_domain,
        "not_after": moment(material.not_after),
        "seconds_left": (material.not_after - now).total_seconds(),
        "key": _key(material.leaf),
        "chain": [_certificate(certificate, now) for certificate in material.chain],
        "roots": [_certificate(certificate, now) for certificate in material.bundle],
    }


def moment(when: datetime) -> str:
    """Return a time as RFC 3339, to the second."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _certificate(certificate: x509.Certificate, now: datetime) -> Facts:
    return {
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex()[:16],
        "subject": certificate.subject.rfc4514_string() or "(no subject)",
        "not_before": moment(certificate.not_valid_before_utc),
        "not_after": moment(certificate.not_valid_after_utc),
        "seconds_left": (certificate.not_valid_after_utc - now).total_seconds(),
    }


def _key(certificate: x509.Certificate) -> str:
    public = certificate.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        return f"ECDSA {public.curve.name}"
    if isinstance(public, rsa.RSAPublicKey):
        return f"RSA {public.key_size}"
    return "Ed25519"
