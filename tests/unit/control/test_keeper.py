"""Our own identity while the proxy runs: what is bad never takes the place of what is good."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from proxy import engine, symbols
from proxy.identity import contexts, material
from proxy.identity.files import read_directory
from proxy.identity.keeper import Keeper
from proxy.identity.material import MaterialError
from tests.support.mtls import Identities, put
from tests.support.svids import GOOD, Shape
from tests.unit.control.conftest import ReadableLog

OTHER_DOMAIN = GOOD.but(uris=("spiffe://other.example/ns/shop/sa/front",))
WEAK = GOOD.but(curve=ec.SECP192R1)


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


def put_svid(identities: Identities, shape: Shape = GOOD) -> Path:
    folder = identities.folder / "svid"
    svid = identities.svid(shape)
    put(folder, svid.key_pem(), svid.chain_pem(), identities.authority.bundle)
    return folder


def kept(identities: Identities, log: ReadableLog) -> Keeper:
    return Keeper(put_svid(identities), engine.load_openssl(own_records=True), log.log)


def test_another_trust_domain_begins_a_new_generation(
    identities: Identities, readable_log: ReadableLog
) -> None:
    """What was said of peers was said by the trust domain before."""
    keeper = kept(identities, readable_log)
    keeper._on_new(read_directory(put_svid(identities)))
    assert keeper.contexts.bundle_generation == 1
    keeper._on_new(read_directory(put_svid(identities, OTHER_DOMAIN)))
    assert keeper.contexts.bundle_generation == 2


def test_a_curve_that_tls_has_no_signature_for_is_refused(identities: Identities) -> None:
    with pytest.raises(MaterialError, match="curve secp192r1"):
        read_directory(put_svid(identities, WEAK))


def test_what_openssl_refuses_leaves_the_identity_before(
    identities: Identities, readable_log: ReadableLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = kept(identities, readable_log)
    before = keeper.contexts
    monkeypatch.setattr(material, "CURVES", ("secp192r1",))
    weak = read_directory(put_svid(identities, WEAK))
    with pytest.raises(MaterialError, match="OpenSSL refuses"):
        contexts.build(weak, 1, symbols.Callbacks(0, 0, 0, ""))
    keeper._on_new(weak)
    assert keeper.contexts is before
    assert keeper.counts.failures == 1
