"""What makes a certificate an X.509-SVID, beyond a valid chain, which is OpenSSL's to verify.

Source: X509-SVID.md sections 2, 4 and 5 (facts in the order of section 5.2).
"""

from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from proxy.identity import spiffe
from proxy.identity.spiffe import SpiffeError, SpiffeId

# Why a peer's certificate is refused: words of metrics and logs.
UNREADABLE: Final = "unreadable"
NO_URI: Final = "no_uri_san"
MANY_URIS: Final = "many_uri_sans"
BAD_ID: Final = "bad_spiffe_id"
LEAF_IS_CA: Final = "leaf_is_ca"
KEY_USAGE: Final = "key_usage"
EXTENDED_KEY_USAGE: Final = "extended_key_usage"
SUBJECT: Final = "empty_subject"

REASONS: Final = (
    *(UNREADABLE, NO_URI, MANY_URIS, BAD_ID, LEAF_IS_CA, KEY_USAGE, EXTENDED_KEY_USAGE, SUBJECT),
)


class SvidError(ValueError):
    """A certificate is no SVID. `reason` is one of REASONS; the text tells people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def identity_of(certificate: x509.Certificate) -> SpiffeId:
    """Return whom a leaf names; raises SvidError unless it is a well-formed X.509-SVID.

    Signature, chain and validity are not looked at here.
    """
    try:
        extensions = certificate.extensions
        identity = _identity(certificate, extensions)
        _check_not_a_ca(extensions)
        _check_key_usage(extensions)
        _check_extended_key_usage(extensions)
    except (ValueError, x509.DuplicateExtension) as fault:
        if isinstance(fault, SvidError):
            raise
        raise SvidError(UNREADABLE, f"the certificate cannot be read: {fault}") from fault
    return identity


def _identity(certificate: x509.Certificate, extensions: x509.Extensions) -> SpiffeId:
    try:
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise SvidError(NO_URI, "the certificate has no subject alternative name") from None
    uris = found.value.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris:
        raise SvidError(NO_URI, "the certificate has no URI among its names")
    if len(uris) > 1:
        raise SvidError(MANY_URIS, f"the certificate has {len(uris)} URIs among its names")
    if not list(certificate.subject) and not found.critical:
        raise SvidError(SUBJECT, "an empty subject needs a critical subject alternative name")
    try:
        identity = spiffe.parse(uris[0])
    except SpiffeError as fault:
        raise SvidError(BAD_ID, f"{uris[0]!r} {fault}") from None
    if not identity.path:
        raise SvidError(BAD_ID, f"{identity} names a trust domain, not a workload")
    return identity


def _check_not_a_ca(extensions: x509.Extensions) -> None:
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return
    if constraints.value.ca:
        raise SvidError(LEAF_IS_CA, "the certificate is that of a CA")


def _check_key_usage(extensions: x509.Extensions) -> None:
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        raise SvidError(KEY_USAGE, "the certificate has no key usage") from None
    if not usage.critical or not usage.value.digital_signature:
        raise SvidError(KEY_USAGE, "key usage must be critical and allow digital signatures")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise SvidError(KEY_USAGE, "the key may sign certificates or revocation lists")


def _check_extended_key_usage(extensions: x509.Extensions) -> None:
    try:
        usages = extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    except x509.ExtensionNotFound:
        return
    wanted = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    if not isinstance(usages, x509.ExtendedKeyUsage) or not wanted <= set(usages):
        raise SvidError(
            EXTENDED_KEY_USAGE, "extended key usage must hold both server and client authentication"
        )
