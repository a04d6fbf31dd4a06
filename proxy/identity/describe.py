"""Certificates in words, for `remora identity show` and later `remora ctl identity`."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.identity.material import Material


def material_as_text(material: Material, now: datetime | None = None) -> str:
    """Return an identity as a page: who, until when, signed by whom, trusting whom."""
    now = now or datetime.now(UTC)
    lines = [
        f"identity   {material.identity}",
        f"expires    {_moment(material.not_after)} ({_left(material.not_after - now)})",
        f"key        {_key(material.leaf)}",
        "chain",
        *(_certificate(certificate, now) for certificate in material.chain),
        "trusted roots",
        *(_certificate(certificate, now) for certificate in material.bundle),
    ]
    return "\n".join(lines)


def _certificate(certificate: x509.Certificate, now: datetime) -> str:
    name = certificate.subject.rfc4514_string() or "(no subject)"
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()[:16]
    until = certificate.not_valid_after_utc
    return f"  {fingerprint}  {name}, until {_moment(until)} ({_left(until - now)})"


def _key(certificate: x509.Certificate) -> str:
    public = certificate.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        return f"ECDSA {public.curve.name}"
    if isinstance(public, rsa.RSAPublicKey):
        return f"RSA {public.key_size}"
    return "Ed25519"


def _moment(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _left(span: timedelta) -> str:
    """Say how long, in the two units that matter."""
    seconds = int(abs(span.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        text = f"{days}d {hours % 24}h"
    elif hours:
        text = f"{hours}h {minutes % 60}m"
    else:
        text = f"{minutes}m {seconds % 60}s"
    return f"{text} ago" if span.total_seconds() < 0 else f"{text} left"
