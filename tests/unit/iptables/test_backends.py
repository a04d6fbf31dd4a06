"""Which backend holds the rules, for every state a machine can be in."""

import pytest

from iptables import backends, tools
from iptables.backends import Backend
from iptables.exits import Exit, InitError
from iptables.held import Held
from iptables.spec import Family
from iptables.stores import NftStore, Store, XtablesStore
from iptables.tools import Command, ToolError

BOTH = tuple(Family)
OURS = Held({"REMORA_INBOUND": ()})
FOREIGN = Held(has_foreign=True)
EMPTY = Held()
BROKEN = ToolError(Command(("iptables-save",)), "Failed to initialize nft: Protocol not supported")


def backend(
    name: str,
    held: Held | ToolError = EMPTY,
    *,
    is_default: bool = False,
    families: tuple[Family, ...] = BOTH,
) -> Backend:
    if name == backends.NFTABLES:
        return Backend(name, is_default, ((NftStore("nft"), held),))
    stores: list[Store] = [
        XtablesStore(family, name, "save", "restore", knows_wait=True) for family in families
    ]
    return Backend(name, is_default, tuple((store, held) for store in stores))


def chosen(*found: Backend, requested: str = "auto") -> str:
    return backends.choose(found, requested, BOTH)[0].name


def refused(*found: Backend, requested: str = "auto") -> InitError:
    with pytest.raises(InitError) as raised:
        backends.choose(found, requested, BOTH)
    return raised.value


def test_the_default_iptables_is_used_in_an_empty_namespace() -> None:
    assert chosen(backend("nft"), backend("legacy", is_default=True)) == "legacy"
    assert chosen(backend("nft", is_default=True), backend("legacy")) == "nft"


@pytest.mark.parametrize("name", ["nft", "legacy", "nftables"])
def test_where_our_rules_are_they_stay(name: str) -> None:
    found = [backend("nft", is_default=True), backend("legacy", FOREIGN), backend("nftables")]
    with_ours = [backend(each.name, OURS) if each.name == name else each for each in found]
    assert chosen(*with_ours) == name


def test_the_variant_that_others_use_comes_before_the_default() -> None:
    assert chosen(backend("nft", is_default=True), backend("legacy", FOREIGN)) == "legacy"


def test_rules_of_others_in_both_variants_decide_nothing() -> None:
    assert chosen(backend("nft", FOREIGN), backend("legacy", FOREIGN, is_default=True)) == "legacy"


def test_a_variant_that_does_not_work_here_is_passed_over() -> None:
    assert chosen(backend("nft", BROKEN, is_default=True), backend("legacy")) == "legacy"


def test_nft_itself_is_used_where_there_is_no_iptables() -> None:
    assert chosen(backend("nftables")) == "nftables"


def test_a_variant_without_ipv6_is_passed_over_where_ipv6_is_needed() -> None:
    lame = backend("nft", is_default=True, families=(Family.IPV4,))
    assert chosen(lame, backend("nftables")) == "nftables"


def test_a_missing_ip6tables_is_fatal_and_named() -> None:
    error = refused(backend("nft", is_default=True, families=(Family.IPV4,)))
    assert error.code == Exit.UNAVAILABLE
    assert "ip6tables-nft-restore" in error.causes[0]
    assert "--families" in error.causes[0]


def test_ipv4_alone_does_not_need_ip6tables() -> None:
    lame = backend("nft", families=(Family.IPV4,))
    assert backends.choose([lame], "nft", (Family.IPV4,))[0] is lame


def test_what_is_asked_for_is_used_whatever_is_there() -> None:
    found = (backend("nft", OURS, is_default=True), backend("legacy", FOREIGN), backend("nftables"))
    assert chosen(*found, requested="nftables") == "nftables"


@pytest.mark.parametrize(
    ("requested", "program"),
    [("nft", "iptables-nft-restore"), ("legacy", "iptables-legacy-restore"), ("nftables", "nft ")],
)
def test_a_backend_that_is_not_installed_is_refused_by_name(requested: str, program: str) -> None:
    error = refused(requested=requested)
    assert error.code == Exit.UNAVAILABLE
    assert program in error.causes[0]


def test_no_tool_at_all_is_said() -> None:
    assert "neither iptables nor nft" in refused().causes[0]


def test_a_kernel_without_nf_tables_is_named() -> None:
    error = refused(backend("nft", BROKEN, is_default=True), requested="nft")
    assert error.code == Exit.UNAVAILABLE
    assert "missing: nf_tables (module nf_tables)" in error.causes


@pytest.mark.parametrize(
    ("said", "variant", "knows_wait"),
    [
        ("iptables-restore v1.8.9 (nf_tables)", "nft", True),
        ("ip6tables-restore v1.8.11 (legacy)", "legacy", True),
        ("iptables-restore v1.6.2", "legacy", True),
        ("iptables-restore v1.6.1", "legacy", False),
    ],
)
def test_the_version_tells_the_variant_and_what_it_knows(
    said: str, variant: str, *, knows_wait: bool
) -> None:
    version = tools.version(said)
    assert version is not None
    assert (version.variant, version.knows_wait) == (variant, knows_wait)


def test_a_tool_that_says_no_version_is_none_of_ours() -> None:
    assert tools.version("busybox") is None


def test_an_old_tool_is_not_told_to_wait() -> None:
    store = XtablesStore(Family.IPV4, "legacy", "save", "restore", knows_wait=False)
    (command,) = store.commands(EMPTY, OURS)
    assert command.argv == ("restore", "--noflush")
