"""A certificate of a version that does not exist is refused, as any other that cannot be read."""

import base64

import pytest

from proxy.identity import material, peers
from tests.support.svids import Signer

V3, V4 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"


def der_of_version_4() -> bytes:
    der = Signer.root().issue().der
    assert der.count(V3) == 1
    return der.replace(V3, V4)


def test_a_peer_with_one_is_nobody() -> None:
    verdict = peers.judge(der_of_version_4(), "cluster.local")
    assert (verdict.identity, verdict.failure) == (None, peers.IDENTITY)


def test_one_of_ours_is_bad_material() -> None:
    text = base64.encodebytes(der_of_version_4())
    pem = b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
    with pytest.raises(material.MaterialError):
        material.load(Signer.root().issue().key_pem(), pem, pem)
