"""Key, chain and bundle hold together, or are refused whole with the part that is wrong."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.identity import spiffe
from proxy.identity.authority import Authority, Issued
from proxy.identity.material import MaterialError, load
from tests.unit.identity.certificates import leaf, pem

ID = spiffe.of_service_account("cluster.local", "shop", "web")
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca") / "ca", "cluster.local")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("other") / "ca", "cluster.local")


@pytest.fixture
def issued(authority: Authority) -> Issued:
    return authority.issue(ID, HOUR)


def test_what_the_authority_issues_holds(issued: Issued) -> None:
    material = load(issued.key, issued.chain, issued.bundle)
    assert material.identity == ID
    assert material.leaf == issued.leaf
    assert len(material.chain) == 2
    assert material.not_after == issued.leaf.not_valid_after_utc


def test_one_file_with_key_and_chain_will_do(issued: Issued) -> None:
    combined = issued.key + issued.chain
    assert load(combined, combined, issued.bundle).identity == ID


def test_a_bundle_may_hold_the_roots_of_yesterday_and_tomorrow(
    issued: Issued, other: Authority
) -> None:
    assert len(load(issued.key, issued.chain, other.bundle + issued.bundle).bundle) == 2


def test_the_key_of_somebody_else_is_refused(issued: Issued, authority: Authority) -> None:
    stolen = authority.issue(ID, HOUR)
    with pytest.raises(MaterialError, match="key is not that of the first certificate"):
        load(stolen.key, issued.chain, issued.bundle)


def test_a_chain_under_another_root_is_refused(issued: Issued, other: Authority) -> None:
    with pytest.raises(MaterialError, match="chain does not hold"):
        load(issued.key, issued.chain, other.bundle)


def test_a_chain_without_its_intermediate_is_refused(issued: Issued) -> None:
    with pytest.raises(MaterialError, match="chain does not hold"):
        load(issued.key, pem(issued.leaf), issued.bundle)


@pytest.mark.parametrize(("later", "why"), [(2 * HOUR, "expired"), (-HOUR, "not yet valid")])
def test_a_certificate_out_of_its_time_is_refused(
    issued: Issued, later: timedelta, why: str
) -> None:
    with pytest.raises(MaterialError, match=why):
        load(issued.key, issued.chain, issued.bundle, datetime.now(UTC) + later)


def test_a_leaf_that_names_nobody_is_refused(issued: Issued) -> None:
    nobody = leaf([])
    with pytest.raises(MaterialError, match="key is not"):
        load(issued.key, pem(nobody), issued.bundle)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["key", "chain", "bundle"])
@pytest.mark.parametrize("text", [b"", b"-----BEGIN", b"\0" * 100], ids=["empty", "torn", "zeros"])
def test_a_torn_part_is_refused(issued: Issued, part: int, text: bytes) -> None:
    parts = [issued.key, issued.chain, issued.bundle]
    parts[part] = text
    with pytest.raises(MaterialError, match=("the key", "chain", "bundle")[part]):
        load(parts[0], parts[1], parts[2])


def test_a_chain_without_end_is_refused(issued: Issued) -> None:
    with pytest.raises(MaterialError, match="8 are the most"):
        load(issued.key, issued.chain * 5, issued.bundle)


def test_rotated_roots_count_until_they_are_retired(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", "cluster.local")
    before = authority.issue(ID, HOUR)
    authority.rotate()
    after = authority.issue(ID, HOUR)
    for issued in (before, after):
        assert load(issued.key, issued.chain, authority.bundle).identity == ID
    authority.retire()
    assert load(after.key, after.chain, authority.bundle).identity == ID
    with pytest.raises(MaterialError, match="chain does not hold"):
        load(before.key, before.chain, authority.bundle)
