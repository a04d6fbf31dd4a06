"""SPIFFE IDs: what is one, and what is refused (facts of SPIFFE-ID.md section 2)."""

import pytest

from proxy.identity import spiffe
from proxy.identity.spiffe import SpiffeError, SpiffeId


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("spiffe://cluster.local", SpiffeId("cluster.local", "")),
        ("spiffe://cluster.local/ns/a/sa/b", SpiffeId("cluster.local", "/ns/a/sa/b")),
        ("SPIFFE://Cluster.LOCAL/ns/A", SpiffeId("cluster.local", "/ns/A")),
        ("spiffe://a_b-c.d/...", SpiffeId("a_b-c.d", "/...")),
        ("spiffe://example..org/a", SpiffeId("example..org", "/a")),
        ("spiffe://a/" + "x" * 2037, SpiffeId("a", "/" + "x" * 2037)),
    ],
)
def test_an_identity_is_read_whole_and_written_in_lower_case(text: str, identity: SpiffeId) -> None:
    assert spiffe.parse(text) == identity
    assert spiffe.parse(str(identity)) == identity


@pytest.mark.parametrize(
    "text",
    [
        *("", "spiffe:", "spiffe:/a/b", "http://a/b", "spiffe//a", " spiffe://a", "spiffe://a/b "),
        *("spiffe://", "spiffe:///ns/a", "spiffe://a b/c", "spiffe://a:443/b", "spiffe://u@a/b"),
        *("spiffe://%61/b", "spiffe://a/%62", "spiffe://a/b?c", "spiffe://a/b#c", "spiffe://a?b"),
        *("spiffe://a/", "spiffe://a/b/", "spiffe://a//b", "spiffe://a/.", "spiffe://a/../b"),
        *("spiffe://a\0b/c", "spiffe://a/b\0", "spiffe://a/b\n", "spiffe://ä/b", "spiffe://a/ä"),
        "spiffe://\N{KELVIN SIGN}/a",
        "spiffe://" + "a" * 256 + "/b",
        "spiffe://a/" + "x" * 2038,
    ],
)
def test_what_is_not_exactly_an_identity_is_refused(text: str) -> None:
    with pytest.raises(SpiffeError):
        spiffe.parse(text)


def test_a_service_account_has_istios_form() -> None:
    identity = spiffe.of_service_account("cluster.local", "shop", "web")
    assert str(identity) == "spiffe://cluster.local/ns/shop/sa/web"
    assert identity.principal == "cluster.local/ns/shop/sa/web"
    assert (identity.namespace, identity.service_account) == ("shop", "web")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0"])
def test_a_name_cannot_bring_a_path_of_its_own(name: str) -> None:
    with pytest.raises(SpiffeError):
        spiffe.of_service_account("cluster.local", name, "web")
    with pytest.raises(SpiffeError):
        spiffe.of_service_account("cluster.local", "shop", name)


@pytest.mark.parametrize("path", ["", "/ns/a", "/ns/a/sa", "/sa/a/ns/b", "/ns/a/sa/b/c"])
def test_other_paths_have_no_namespace(path: str) -> None:
    identity = SpiffeId("cluster.local", path)
    assert identity.namespace is None
    assert identity.service_account is None
