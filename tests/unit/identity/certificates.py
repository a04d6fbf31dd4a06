"""Certificates as attackers and mistaken people make them: a leaf with any part changed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ID = "spiffe://cluster.local/ns/shop/sa/web"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def usage(*allowed: str) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in allowed for name in names})


PROVES = usage("digital_signature")


def leaf(  # noqa: PLR0913 - one word for each part that may be wrong
    uris: Sequence[str] = (ID,),
    *,
    dns: Sequence[str] = (),
    key_usage: x509.KeyUsage | None = PROVES,
    is_usage_critical: bool = True,
    extended: Sequence[x509.ObjectIdentifier] | None = BOTH,
    is_ca: bool | None = False,
    subject: str = "",
    is_name_critical: bool = True,
) -> x509.Certificate:
    """Return a certificate that signs itself: only its own fields are looked at."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
    )
    names: list[x509.GeneralName] = [x509.DNSName(text) for text in dns]
    names += [x509.UniformResourceIdentifier(text) for text in uris]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), is_name_critical)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, is_usage_critical)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    return builder.sign(key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)
