"""A small certificate authority for development, demos and tests: a root, an intermediate, SVIDs.

It keeps its keys as files that only its owner may read. That is good enough to try a mesh, not to
run one: use cert-manager, SPIRE or the cluster's signer for that.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.identity import spiffe
from proxy.identity.spiffe import SpiffeId

ROOT_DAYS: Final = 3650
INTERMEDIATE_DAYS: Final = 365
# Clocks of pods differ: a certificate is valid a little before it was made (Linkerd allows 20 s).
BACKDATED: Final = timedelta(seconds=60)

_SIGNS: Final = {"key_cert_sign": True, "crl_sign": True}
_PROVES: Final = {"digital_signature": True}


class AuthorityError(Exception):
    """The authority's folder is not usable; the text says what to do."""


@dataclass(frozen=True)
class Signer:
    """A CA certificate and its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True)
class Issued:
    """A fresh SVID as PEM: what goes into tls.key, tls.crt and ca.crt."""

    key: bytes
    chain: bytes
    bundle: bytes
    leaf: x509.Certificate


class Authority:
    """Root, intermediate and bundle in one folder: root.*, intermediate.*, bundle.crt."""

    def __init__(self, folder: Path) -> None:
        """Open what `create` made; raises AuthorityError."""
        self._folder = folder
        self._signer = _read_signer(folder, "intermediate")
        self.trust_domain = spiffe.parse(_uri_of(self._signer.certificate)).trust_domain

    @classmethod
    def create(cls, folder: Path, trust_domain: str) -> "Authority":
        """Make a root and an intermediate in a folder without any; raises AuthorityError."""
        if (folder / "root.key").exists():
            raise AuthorityError(f"{folder} has an authority already (`rotate` adds a new root)")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        _make_signers(folder, spiffe.parse_trust_domain(trust_domain))
        (folder / "bundle.crt").write_bytes((folder / "root.crt").read_bytes())
        return cls(folder)

    def rotate(self) -> None:
        """Make a new root and intermediate; the bundle gets the new root and keeps the old ones."""
        _make_signers(self._folder, self.trust_domain)
        bundle = self._folder / "bundle.crt"
        _write(bundle, (self._folder / "root.crt").read_bytes() + bundle.read_bytes())
        self._signer = _read_signer(self._folder, "intermediate")

    def retire(self) -> None:
        """Leave only the newest root in the bundle: certificates of older ones count no more."""
        _write(self._folder / "bundle.crt", (self._folder / "root.crt").read_bytes())

    @property
    def bundle(self) -> bytes:
        """Every root that is trusted now, as PEM."""
        return (self._folder / "bundle.crt").read_bytes()

    def issue(self, identity: SpiffeId, lifetime: timedelta, dns: Sequence[str] = ()) -> Issued:
        """Make a key and an SVID for `identity`, which must be of this trust domain."""
        if identity.trust_domain != self.trust_domain:
            raise AuthorityError(f"{identity} is not in the trust domain {self.trust_domain}")
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _sign_leaf(self._signer, key.public_key(), identity, lifetime, dns)
        chain = pem(leaf) + pem(self._signer.certificate)
        return Issued(key_pem(key), chain, self.bundle, leaf)


def write_svid(folder: Path, issued: Issued) -> None:
    """Put tls.key, tls.crt and ca.crt in place at once, as the kubelet does: by swapping a link."""
    _swap(folder, {"tls.key": issued.key, "tls.crt": issued.chain, "ca.crt": issued.bundle})


def write_bundle(folder: Path, bundle: bytes) -> None:
    """Give an identity another trust bundle; its key and certificate stay."""
    files = {name: (folder / name).read_bytes() for name in ("tls.key", "tls.crt")}
    _swap(folder, {**files, "ca.crt": bundle})


def _swap(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"..{secrets.token_hex(8)}"
    data.mkdir(mode=0o755)
    for name, text in files.items():
        _write(data / name, text, mode=0o600 if name.endswith(".key") else 0o644)
    before = (folder / "..data").resolve() if (folder / "..data").is_symlink() else None
    fresh = folder / "..data_tmp"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(data.name)
    fresh.replace(folder / "..data")
    for name in files:
        link = folder / name
        if not link.is_symlink():
            link.unlink(missing_ok=True)
            link.symlink_to(f"..data/{name}")
    if before is not None and before.is_dir():
        for file in before.iterdir():
            file.unlink()
        before.rmdir()


def _make_signers(folder: Path, trust_domain: str) -> None:
    root_key = ec.generate_private_key(ec.SECP384R1())
    root = _sign_ca(None, root_key, "remora development root", trust_domain, ROOT_DAYS)
    key = ec.generate_private_key(ec.SECP256R1())
    name = "remora development intermediate"
    intermediate = _sign_ca(Signer(root_key, root), key, name, trust_domain, INTERMEDIATE_DAYS)
    made = (("root", root_key, root), ("intermediate", key, intermediate))
    for stem, secret, certificate in made:
        _write(folder / f"{stem}.key", key_pem(secret), mode=0o600)
        _write(folder / f"{stem}.crt", pem(certificate))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _sign_ca(
    parent: Signer | None,
    key: ec.EllipticCurvePrivateKey,
    name: str,
    trust_domain: str,
    days: int,
) -> x509.Certificate:
    # Each has a name of its own: verifiers look for an issuer by name first.
    common_name = f"{name} {secrets.token_hex(4)}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer, signing_key = (parent.certificate.subject, parent.key) if parent else (subject, key)
    uri = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
    path_length = None if parent is None else 0
    return (
        _builder(subject, issuer, key.public_key(), timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(**_SIGNS), critical=True)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(authority_key(signing_key), critical=False)
        .sign(signing_key, hashes.SHA256())
    )


def _sign_leaf(
    signer: Signer,
    public: ec.EllipticCurvePublicKey,
    identity: SpiffeId,
    lifetime: timedelta,
    dns: Sequence[str],
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(identity))]
    names += [x509.DNSName(name) for name in dns]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(x509.Name([]), signer.certificate.subject, public, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(**_PROVES), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(authority_key(signer.key), critical=False)
        .sign(signer.key, hashes.SHA256())
    )


def key_usage(**allowed: bool) -> x509.KeyUsage:
    """Return a key usage that allows what is named, and nothing else."""
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def authority_key(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    """Return the extension that says whose key signs."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _uri_of(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


def _read_signer(folder: Path, stem: str) -> Signer:
    try:
        key = serialization.load_pem_private_key((folder / f"{stem}.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / f"{stem}.crt").read_bytes())
    except (OSError, ValueError) as fault:
        raise AuthorityError(
            f"{folder} holds no authority (`remora identity ca`): {fault}"
        ) from fault
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{folder / stem}.key is not one of ours: not an ECDSA key")
    return Signer(key, certificate)


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as text, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, text: bytes, mode: int = 0o644) -> None:
    """Replace a file at once; nobody sees half of it, nor a key with a wider mode."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    fresh.replace(path)
