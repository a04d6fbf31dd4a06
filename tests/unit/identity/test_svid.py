"""X.509-SVIDs: which leaves name somebody, and the reason why others do not."""

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from proxy.identity import svid
from proxy.identity.svid import SvidError
from tests.unit.identity.certificates import ID, leaf, usage

SIGNS = "digital_signature"


@pytest.mark.parametrize(
    "certificate",
    [
        leaf(),
        leaf(dns=["web.shop", "web"]),
        leaf(extended=None),
        leaf(is_ca=None),
        leaf(subject="web", is_name_critical=False),
        leaf(key_usage=usage(SIGNS, "key_encipherment", "key_agreement")),
    ],
    ids=["plain", "dns-beside", "no-eku", "no-constraints", "a-subject", "more-usages"],
)
def test_a_leaf_with_one_uri_names_its_workload(certificate: x509.Certificate) -> None:
    assert str(svid.identity_of(certificate)) == ID


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (leaf([]), "no_uri_san"),
        (leaf([], dns=["web"]), "no_uri_san"),
        (leaf([ID, ID]), "many_uri_sans"),
        (leaf([ID, "https://a.example"]), "many_uri_sans"),
        (leaf(["https://a.example"]), "bad_spiffe_id"),
        (leaf(["spiffe://cluster.local"]), "bad_spiffe_id"),
        (leaf([ID + "\0.evil.example"]), "bad_spiffe_id"),
        (leaf(["spiffe://cluster.local\0/ns/shop/sa/web"]), "bad_spiffe_id"),
        (leaf([ID + "/"]), "bad_spiffe_id"),
        (leaf(is_ca=True), "leaf_is_ca"),
        (leaf(key_usage=None), "key_usage"),
        (leaf(is_usage_critical=False), "key_usage"),
        (leaf(key_usage=usage("key_agreement")), "key_usage"),
        (leaf(key_usage=usage(SIGNS, "key_cert_sign")), "key_usage"),
        (leaf(key_usage=usage(SIGNS, "crl_sign")), "key_usage"),
        (leaf(extended=[ExtendedKeyUsageOID.SERVER_AUTH]), "extended_key_usage"),
        (leaf(extended=[ExtendedKeyUsageOID.CLIENT_AUTH]), "extended_key_usage"),
        (leaf(is_name_critical=False), "empty_subject"),
    ],
)
def test_any_other_leaf_is_refused_with_its_reason(
    certificate: x509.Certificate, reason: str
) -> None:
    with pytest.raises(SvidError) as refused:
        svid.identity_of(certificate)
    assert refused.value.reason == reason
    assert reason in svid.REASONS
