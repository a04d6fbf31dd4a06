"""Who is behind a certificate whose chain OpenSSL has verified: asked once for each of them."""

from typing import Final, NamedTuple

from cryptography import x509

from proxy.identity import svid
from proxy.identity.spiffe import SpiffeId
from proxy.identity.svid import SvidError

# The data plane's words of why a handshake failed.
IDENTITY: Final = "identity"
USAGE: Final = "usage"
TRUST_DOMAIN: Final = "trust_domain"

_SCHEME_BYTES: Final = len("spiffe://")
_USAGES: Final = frozenset({svid.LEAF_IS_CA, svid.KEY_USAGE, svid.EXTENDED_KEY_USAGE})


class Places(NamedTuple):
    """Where the parts of an identity stand in its text, for whoever matches them."""

    trust_domain_bytes: int
    namespace_at: int = 0
    namespace_bytes: int = 0
    account_at: int = 0
    account_bytes: int = 0


class Verdict(NamedTuple):
    """An identity, or why there is none (`failure`, with a sentence for people)."""

    identity: SpiffeId | None
    failure: str = ""
    text: str = ""


def judge(der: bytes, trust_domain: str) -> Verdict:
    """Look at a certificate in DER; its chain is known to hold."""
    try:
        identity = svid.identity_of(x509.load_der_x509_certificate(der))
    except SvidError as fault:
        return Verdict(None, USAGE if fault.reason in _USAGES else IDENTITY, str(fault))
    except Exception as fault:  # noqa: BLE001 - a stranger's bytes; not all faults are ValueErrors
        return Verdict(None, IDENTITY, f"the certificate cannot be read: {fault}")
    if identity.trust_domain != trust_domain:
        return Verdict(None, TRUST_DOMAIN, f"{identity} is not of the trust domain {trust_domain}")
    return Verdict(identity)


def places(identity: SpiffeId) -> Places:
    """Return where namespace and service account stand in the text of an identity."""
    trust_domain_bytes = len(identity.trust_domain)
    namespace, account = identity.namespace, identity.service_account
    if namespace is None or account is None:
        return Places(trust_domain_bytes)
    namespace_at = _SCHEME_BYTES + trust_domain_bytes + len("/ns/")
    account_at = namespace_at + len(namespace) + len("/sa/")
    return Places(trust_domain_bytes, namespace_at, len(namespace), account_at, len(account))
