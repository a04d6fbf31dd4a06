"""Certificates of any shape, good and bad, made with `cryptography` and not with our own code."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

WEB: Final = "spiffe://cluster.local/ns/shop/sa/web"
SHOP: Final = "spiffe://cluster.local/ns/shop/sa/front"
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Shape:
    """What a leaf says; the default is a good SVID."""

    uris: tuple[str, ...] = (SHOP,)
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    is_ca: bool = False
    uses: tuple[str, ...] = ("digital_signature",)
    extended: tuple[x509.ObjectIdentifier, ...] = (SERVER, CLIENT)
    begins: timedelta = -HOUR  # from now
    ends: timedelta = HOUR
    curve: type[ec.EllipticCurve] = ec.SECP256R1

    def but(self, **changed: Any) -> "Shape":  # noqa: ANN401 - each field has its own type
        return replace(self, **changed)


GOOD: Final = Shape()


@dataclass(frozen=True)
class Svid:
    """A key, and its chain with the leaf first."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def der(self) -> bytes:
        return self.leaf.public_bytes(serialization.Encoding.DER)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def chain_pem(self) -> bytes:
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.chain)


@dataclass(frozen=True)
class Signer:
    """A CA and what of its chain goes beside a leaf: nothing for a root."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    beside: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str = "some root") -> "Signer":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        built = _ca(_begun(subject, subject, key, -HOUR, 24 * HOUR)).sign(key, hashes.SHA256())
        return cls(key, built)

    @classmethod
    def of_authority(cls, folder: Path) -> "Signer":
        """Read the intermediate of an authority of ours."""
        key = serialization.load_pem_private_key((folder / "intermediate.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        found = x509.load_pem_x509_certificate((folder / "intermediate.crt").read_bytes())
        return cls(key, found, (found,))

    def below(self, name: str) -> "Signer":
        """Make a CA that this one signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _begun(_named(name), self.certificate.subject, key, -HOUR, 24 * HOUR)
        built = _ca(builder).sign(self.key, hashes.SHA256())
        return Signer(key, built, (built, *self.beside))

    def issue(self, shape: Shape = GOOD) -> Svid:
        key = ec.generate_private_key(shape.curve())
        builder = _begun(
            x509.Name([]), self.certificate.subject, key, shape.begins, shape.ends
        ).add_extension(x509.BasicConstraints(ca=shape.is_ca, path_length=None), critical=True)
        if shape.uses:
            builder = builder.add_extension(key_usage(shape.uses), critical=True)
        if shape.extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(shape.extended), critical=False)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in shape.uris]
        names += [x509.DNSName(name) for name in shape.dns]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in shape.ips]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return Svid(key, (builder.sign(self.key, hashes.SHA256()), *self.beside))


def key_usage(allowed: Iterable[str]) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in set(allowed) for name in names})


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _ca(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    ).add_extension(key_usage(["key_cert_sign", "crl_sign"]), critical=True)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: timedelta,
    ends: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
