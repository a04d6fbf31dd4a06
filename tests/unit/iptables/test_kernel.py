"""What is missing in the kernel, found from the words of the tools and the kernel's own lists.

The messages are spelled as in the sources of iptables 1.8 and nft 1.0.
"""

import gzip
from pathlib import Path

import pytest

from iptables import kernel
from iptables.kernel import COMMENT, MULTIPORT, NEEDS, NFT_REDIR, OWNER, REDIRECT, Facts

SILENT = Facts({}, frozenset(), frozenset())
BUILT_IN = {feature.option: "y" for features in NEEDS.values() for feature in features}


@pytest.mark.parametrize(
    ("place", "message", "named"),
    [
        (
            "iptables-legacy",
            "can't initialize iptables table `nat': Table does not exist (do you need to insmod?)",
            "missing: legacy table nat of IPv4 (module iptable_nat)",
        ),
        (
            "ip6tables-legacy",
            "can't initialize ip6tables table `nat': Table does not exist (do you need to insmod?)",
            "missing: legacy table nat of IPv6 (module ip6table_nat)",
        ),
        (
            "iptables-nft",
            "Failed to initialize nft: Protocol not supported",
            "missing: nf_tables (module nf_tables)",
        ),
        (
            "iptables-nft",
            "Warning: Extension owner revision 0 not supported, missing kernel module?",
            "missing: match owner (module xt_owner)",
        ),
        (
            "iptables-nft",
            "Warning: Extension comment is not supported, missing kernel module?",
            "missing: match comment (module xt_comment)",
        ),
        (
            "iptables-nft",
            "Warning: Extension REDIRECT revision 0 not supported, missing kernel module?",
            "missing: target REDIRECT (module xt_REDIRECT)",
        ),
        (
            "iptables-legacy",
            "Couldn't load match `multiport':No such file or directory",
            "missing: match multiport (module xt_multiport)",
        ),
    ],
)
def test_the_tools_words_name_the_feature(place: str, message: str, named: str) -> None:
    assert kernel.named(message, place) == [named]


def test_other_words_name_nothing() -> None:
    assert kernel.named("line 7: CHAIN_DEL failed (Device or resource busy)", "iptables-nft") == []


@pytest.mark.parametrize("place", list(NEEDS))
def test_a_kernel_with_everything_lacks_nothing(place: str) -> None:
    facts = Facts(BUILT_IN, frozenset(), frozenset())
    assert kernel.built_without(NEEDS[place], facts) == []
    assert kernel.not_loaded(NEEDS[place], facts) == []


@pytest.mark.parametrize("place", list(NEEDS))
def test_an_option_that_is_not_set_is_named(place: str) -> None:
    for feature in NEEDS[place]:
        options = {name: value for name, value in BUILT_IN.items() if name != feature.option}
        (lack,) = kernel.built_without(NEEDS[place], Facts(options, frozenset(), frozenset()))
        assert feature.option in lack


def test_a_kernel_that_does_not_say_how_it_was_built_is_not_blamed() -> None:
    assert kernel.built_without(NEEDS["iptables-nft"], SILENT) == []


def test_a_module_that_is_not_loaded_is_named() -> None:
    facts = Facts({OWNER.option: "m"}, frozenset({"xt_comment"}), frozenset())
    (lack,) = kernel.not_loaded([OWNER], facts)
    assert "module xt_owner is not loaded" in lack


@pytest.mark.parametrize(
    "facts",
    [
        Facts({}, frozenset({"xt_owner"}), frozenset()),
        Facts({}, frozenset(), frozenset({"owner"})),
        Facts({OWNER.option: "y"}, frozenset(), frozenset()),
    ],
    ids=["module", "registered", "built in"],
)
def test_a_feature_that_is_there_in_any_way_is_not_blamed(facts: Facts) -> None:
    assert kernel.not_loaded([OWNER], facts) == []


TEXT = "*nat\n:REMORA_INBOUND - [0:0]\n-A REMORA_INBOUND -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("iptables-restore: line 3 failed", "-A REMORA_INBOUND -p tcp -j REDIRECT --to-ports 1"),
        ("line 4: RULE_APPEND failed (No such file or directory)", "COMMIT"),
        ("/dev/stdin:2:3-5: Error: Could not process rule", ":REMORA_INBOUND - [0:0]"),
        ("line 99 failed", ""),
        ("no line at all", ""),
    ],
)
def test_the_refused_line_is_found_by_its_number(message: str, line: str) -> None:
    assert kernel.refused_line(message, TEXT) == line


def test_a_line_shows_what_it_needs() -> None:
    line = "-A X -p tcp -m multiport --dports 1 -m owner --uid-owner 7 -m comment -j REDIRECT"
    assert kernel.needed_by(line, "iptables-nft") == [REDIRECT, OWNER, MULTIPORT, COMMENT]
    assert kernel.needed_by("meta l4proto tcp redirect to :7", "nftables") == [NFT_REDIR]


def test_missing_rights_are_told_from_a_missing_lock_file() -> None:
    lock = "Fatal: can't open lock file /run/xtables.lock: Read-only file system"
    assert "XTABLES_LOCKFILE" in kernel.rights(lock)
    assert "CAP_NET_ADMIN" in kernel.rights("Permission denied (you must be root)")
    assert "CAP_NET_ADMIN" in kernel.rights(
        "Error: Could not process rule: Operation not permitted"
    )
    assert kernel.rights("line 3 failed") == ""


def test_the_kernels_files_are_read(tmp_path: Path) -> None:
    config = b"CONFIG_NF_NAT=m\n# CONFIG_NFT_REDIR is not set\n"
    (tmp_path / "config.gz").write_bytes(gzip.compress(config))
    (tmp_path / "modules").write_text("xt_owner 16384 2 - Live 0x0\nnf_nat 1 1 - Live 0x0\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "ip_tables_targets").write_text("REDIRECT\nERROR\n")
    (tmp_path / "net" / "ip6_tables_matches").write_text("comment\n")
    assert kernel.gather(tmp_path, tmp_path) == Facts(
        {"CONFIG_NF_NAT": "m"},
        frozenset({"xt_owner", "nf_nat"}),
        frozenset({"REDIRECT", "ERROR", "comment"}),
    )


def test_a_kernel_that_says_nothing_is_read_as_nothing(tmp_path: Path) -> None:
    assert kernel.gather(tmp_path, tmp_path) == SILENT
