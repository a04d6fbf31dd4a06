"""A CA and a certificate of the webhook's own, and the Secret that keeps them. Pure.

A certificate is renewed by the same CA, so that nothing changes for API servers. A new CA comes in
front of the old ones in the bundle: whoever still shows a certificate of an old one is still known.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inject.webhook.pair import Pair, PairError, checked
from proxy.identity.authority import authority_key, key_pem, key_usage, pem

CA_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(days=365)
# Four months are left then: checks complain below 60 days.
RENEW_AT: Final = LEAF_LIFE / 3
BUNDLE_MAX: Final = 4  # certificates
BACKDATED: Final = timedelta(minutes=5)  # clocks differ

_CURVE: Final = ec.SECP256R1


class IssuerError(Exception):
    """What the Secret holds is not usable; the text says why."""


@dataclass(frozen=True)
class Kept:
    """What the Secret keeps: a pair, the CAs that may have signed it (newest first), a CA's key."""

    pair: Pair
    bundle: bytes
    ca_key: bytes = b""  # of the first of the bundle; without it the next certificate has a new CA


def make(names: Sequence[str], now: datetime, before: Kept | None = None) -> Kept:
    """Return a fresh certificate: of the CA from before if that has time left, or of a new one."""
    ca_key, bundle = _signer(before, now) or _new_signer(before, now)
    key = ec.generate_private_key(_CURVE())
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    leaf = (
        _builder(f"{names[0]}"[:64], bundle[0].subject, key, now, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(authority_key(ca_key), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pair = checked(pem(leaf), key_pem(key), now)
    return Kept(pair, b"".join(map(pem, bundle)), key_pem(ca_key))


def why_due(kept: Kept, names: Sequence[str], now: datetime) -> str:
    """Return why a certificate is to be renewed, or ""."""
    if missing := [name for name in names if name not in kept.pair.names]:
        return f"it is not for {missing[0]}"
    if kept.pair.not_after - now < RENEW_AT:
        return f"it ends on {kept.pair.not_after:%Y-%m-%d}"
    return ""


def data_of(kept: Kept) -> dict[str, str]:
    """Return the data of the Secret."""
    parts = {
        "tls.crt": kept.pair.chain,
        "tls.key": kept.pair.key,
        "ca.crt": kept.bundle,
        "ca.key": kept.ca_key,
    }
    return {name: base64.b64encode(text).decode() for name, text in parts.items() if text}


def read(data: Mapping[str, Any], now: datetime) -> Kept:
    """Read the data of the Secret; raises IssuerError."""
    try:
        parts = {name: base64.b64decode(data.get(name) or "", validate=True) for name in _FIELDS}
    except (binascii.Error, TypeError, ValueError) as fault:
        raise IssuerError(f"is no base64: {fault}") from fault
    if missing := [name for name in _FIELDS[:3] if not parts[name]]:
        raise IssuerError(f"has no {missing[0]}")
    try:
        pair = checked(parts["tls.crt"], parts["tls.key"], now)
        bundle = x509.load_pem_x509_certificates(parts["ca.crt"])
        leaf = x509.load_pem_x509_certificate(pair.chain)
        _check_signed(leaf, bundle)
    except (PairError, ValueError) as fault:
        raise IssuerError(str(fault)) from fault
    return Kept(pair, parts["ca.crt"], parts["ca.key"])


_FIELDS: Final = ("tls.crt", "tls.key", "ca.crt", "ca.key")


def _check_signed(leaf: x509.Certificate, bundle: Sequence[x509.Certificate]) -> None:
    for authority in bundle:
        try:
            leaf.verify_directly_issued_by(authority)
        except Exception:  # noqa: BLE001, S112 - of many kinds; another one of the bundle may do
            continue
        return
    raise IssuerError("tls.crt is of none of the authorities in ca.crt")


def _signer(
    before: Kept | None, now: datetime
) -> tuple[ec.EllipticCurvePrivateKey, list[x509.Certificate]] | None:
    """Return the CA from before, if it is ours and lives long enough."""
    if before is None or not before.ca_key:
        return None
    bundle = _still_good(before, now)
    try:
        key = serialization.load_pem_private_key(before.ca_key, password=None)
    except (ValueError, TypeError):
        return None
    if not bundle or not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    is_its = key.public_key() == bundle[0].public_key()
    has_time = bundle[0].not_valid_after_utc - now > LEAF_LIFE
    return (key, bundle) if is_its and has_time else None


def _new_signer(
    before: Kept | None, now: datetime
) -> tuple[ec.EllipticCurvePrivateKey, list[x509.Certificate]]:
    key = ec.generate_private_key(_CURVE())
    # Each has a name of its own: verifiers look for an issuer by its name first.
    name = f"remora webhook CA {x509.random_serial_number():x}"[:48]
    authority = (
        _builder(name, None, key, now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    older = _still_good(before, now) if before else []
    return key, [authority, *older][:BUNDLE_MAX]


def _still_good(kept: Kept, now: datetime) -> list[x509.Certificate]:
    return [
        each
        for each in x509.load_pem_x509_certificates(kept.bundle)
        if each.not_valid_after_utc > now
    ]


def _builder(
    name: str,
    issuer: x509.Name | None,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def now_utc() -> datetime:
    """Return the time in whole seconds, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)
