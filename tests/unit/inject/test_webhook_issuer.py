"""The webhook's own authority: what it makes, and when it makes a new one."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509

from inject.webhook import issuer
from inject.webhook.issuer import IssuerError, Kept

NAMES = ("remora-webhook.remora-system.svc", "remora-webhook")
DAY = timedelta(days=1)
NOW = issuer.now_utc()


def authorities(kept: Kept) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(kept.bundle)


def test_a_secret_gives_back_what_was_put_in() -> None:
    kept = issuer.make(NAMES, NOW)
    assert issuer.read(issuer.data_of(kept), NOW) == kept


def test_a_fresh_certificate_is_not_due_until_a_third_of_its_life_is_left() -> None:
    kept = issuer.make(NAMES, NOW)
    assert issuer.why_due(kept, NAMES, NOW) == ""
    assert issuer.why_due(kept, NAMES, NOW + 240 * DAY) == ""
    assert issuer.why_due(kept, NAMES, NOW + 250 * DAY).startswith("it ends on ")


def test_a_certificate_without_a_name_is_due() -> None:
    kept = issuer.make(NAMES, NOW)
    assert issuer.why_due(kept, (*NAMES, "other"), NOW) == "it is not for other"


def test_a_certificate_is_renewed_by_the_same_authority() -> None:
    first = issuer.make(NAMES, NOW)
    second = issuer.make(NAMES, NOW + 250 * DAY, first)
    assert second.bundle == first.bundle
    assert second.pair.key != first.pair.key


def test_an_authority_that_would_end_before_its_certificate_gets_a_successor() -> None:
    first = issuer.make(NAMES, NOW)
    second = issuer.make(NAMES, NOW + 3400 * DAY, first)
    assert authorities(second)[1:] == authorities(first)
    assert len(authorities(second)) == 2


def test_an_authority_that_has_ended_is_no_longer_shown() -> None:
    first = issuer.make(NAMES, NOW)
    assert len(authorities(issuer.make(NAMES, NOW + 3700 * DAY, first))) == 1


def test_a_bundle_does_not_grow_without_bound() -> None:
    kept = issuer.make(NAMES, NOW)
    for _ in range(8):
        kept = issuer.make(NAMES, NOW, Kept(kept.pair, kept.bundle))  # its key was lost
    assert len(authorities(kept)) == 4
    x509.load_pem_x509_certificate(kept.pair.chain).verify_directly_issued_by(authorities(kept)[0])


def test_a_key_that_is_not_the_authoritys_signs_nothing() -> None:
    first, other = issuer.make(NAMES, NOW), issuer.make(NAMES, NOW)
    made = issuer.make(NAMES, NOW, Kept(first.pair, first.bundle, other.ca_key))
    assert authorities(made)[0] not in (*authorities(first), *authorities(other))


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("tls.crt", "", "has no tls.crt"),
        ("tls.key", "", "has no tls.key"),
        ("ca.crt", "", "has no ca.crt"),
        ("tls.crt", "%", "is no base64"),
        ("tls.crt", "eA==", "the certificate cannot be read"),
        ("tls.key", "eA==", "the key cannot be read"),
        ("ca.crt", "eA==", "PEM"),
    ],
)
def test_a_secret_that_is_damaged_is_told_of(name: str, text: str, fault: str) -> None:
    data = {**issuer.data_of(issuer.make(NAMES, NOW)), name: text}
    with pytest.raises(IssuerError, match=fault):
        issuer.read(data, NOW)


def test_a_certificate_of_another_authority_is_told_of() -> None:
    data = issuer.data_of(issuer.make(NAMES, NOW))
    data["ca.crt"] = base64.b64encode(issuer.make(NAMES, NOW).bundle).decode()
    with pytest.raises(IssuerError, match="of none of the authorities"):
        issuer.read(data, NOW)


def test_a_certificate_that_has_ended_is_told_of() -> None:
    with pytest.raises(IssuerError, match="has ended"):
        issuer.read(issuer.data_of(issuer.make(NAMES, NOW)), NOW + 400 * DAY)
