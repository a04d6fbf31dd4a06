"""The webhook's certificate: until when it is good, for whom, and who vouches for it."""

import base64
import binascii
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from inject.cluster.snapshot import FAILURE, OK, WARNING, Result

NOTICE: Final = timedelta(days=60)
# Certificates of less than 200 days are renewed by a program, at a third of their time before their
# end. Below this part of it the program is late.
NOTICE_PART: Final = 0.3
_RENEW: Final = (
    "cert-manager: `kubectl -n remora-system describe certificate`; --self-signed: restart the"
    " webhook; a Secret made by hand: make a new one, which is taken up without a restart"
)


def decoded(text: object) -> bytes:
    """Return what is written in base64; nothing if it is not."""
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except binascii.Error:
        return b""


def judged(chain: bytes, host: str, now: datetime) -> Result:
    """Return what is to be said of a certificate that serves as `host`."""
    found = _read(chain)
    if not found:
        return Result(FAILURE, "there is no certificate in tls.crt", _RENEW)
    leaf = found[0]
    if now < leaf.not_valid_before_utc:
        hint = "is the clock right, here and where it was made? see clock-skew of --pre"
        return Result(FAILURE, f"is good from {_day(leaf.not_valid_before_utc)} on", hint)
    names = _names(leaf)
    if host not in names:
        told = ", ".join(names) or "nobody"
        return Result(FAILURE, f"is for {told}, and not for {host}", _RENEW)
    end, whole = leaf.not_valid_after_utc, leaf.not_valid_after_utc - leaf.not_valid_before_utc
    left = end - now
    if left <= timedelta(0):
        return Result(FAILURE, f"ended on {_day(end)}: the API server refuses it", _RENEW)
    text = f"ends on {_day(end)}, in {left.days} days"
    is_late = left < min(NOTICE, whole * NOTICE_PART)
    return Result(WARNING, text, _RENEW) if is_late else Result(OK, text)


def distrust(chain: bytes, bundle: bytes, now: datetime) -> str:
    """Return why who trusts `bundle` does not trust the first of `chain`; "" if it does."""
    served, roots = _read(chain), _read(bundle)
    if not roots:
        return "holds no certificate"
    if not served:
        return "there is no certificate to compare it with"
    at, others = served[0], served[1:]
    while True:
        vouching = [root for root in roots if root == at or _issued(at, root)]
        if any(root.not_valid_after_utc > now for root in vouching):
            return ""
        if vouching:
            return f"ended on {_day(vouching[0].not_valid_after_utc)}"
        above = next((each for each in others if _issued(at, each)), None)
        if above is None:
            return "did not issue it"
        at, others = above, [each for each in others if each != above]


def _read(text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        return []


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d")
