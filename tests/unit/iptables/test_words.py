"""Words of the command line: understood exactly, or refused with the reason."""

import ipaddress

import pytest

from iptables import ports
from iptables.ports import Faults, Refused
from iptables.spec import Family, PortRange, merge_ports


@pytest.mark.parametrize(("word", "value"), [("1", 1), ("80", 80), ("65535", 65535)])
def test_a_port_is_a_number_of_16_bits(word: str, value: int) -> None:
    assert ports.port(word) == value


NO_PORTS = [
    "",
    "0",
    "65536",
    "99999999999",
    "-1",
    "+80",
    "080",
    "80.0",
    "0x50",
    "8 0",
    "http",
    "٨٠",
]


@pytest.mark.parametrize("word", NO_PORTS)
def test_what_is_no_port_is_refused(word: str) -> None:
    with pytest.raises(Refused):
        ports.port(word)


@pytest.mark.parametrize(
    ("word", "first", "last"),
    [("80", 80, 80), ("80-90", 80, 90), ("80:90", 80, 90), ("1-65535", 1, 65535), ("7-7", 7, 7)],
)
def test_a_range_has_two_ends(word: str, first: int, last: int) -> None:
    assert ports.port_range(word) == PortRange(first, last)


@pytest.mark.parametrize(
    "word",
    [*NO_PORTS, "0-9", "9-0", "90-80", "80-", "-80", "80-90-100", "80-65536", "80..90", "08-9"],
)
def test_what_is_no_range_is_refused(word: str) -> None:
    with pytest.raises(Refused):
        ports.port_range(word)


def test_a_range_that_ends_before_it_starts_is_told_so() -> None:
    with pytest.raises(Refused, match="ends before it starts"):
        ports.port_range("90-80")


@pytest.mark.parametrize(("word", "value"), [("0", 0), ("1337", 1337), ("4294967294", 2**32 - 2)])
def test_a_user_is_a_number(word: str, value: int) -> None:
    assert ports.identity(word) == value


@pytest.mark.parametrize("word", ["", "-1", "4294967295", "root", "1337x", "1-2"])
def test_what_is_no_user_number_is_refused(word: str) -> None:
    with pytest.raises(Refused):
        ports.identity(word)


@pytest.mark.parametrize(
    ("word", "block"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("fd00::/8", "fd00::/8"),
        ("FD00::1", "fd00::1/128"),
        ("::/0", "::/0"),
    ],
)
def test_a_block_is_an_address_with_a_prefix_length(word: str, block: str) -> None:
    assert ports.network(word) == ipaddress.ip_network(block)


@pytest.mark.parametrize(
    "word",
    [
        *("", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/", "/8", "10.0.0.256"),
        *("fd00::/129", "fe80::1%eth0", "fd00:::", "localhost", "10.0.0.0-10.0.0.9", "010.0.0.1"),
    ],
)
def test_what_is_no_block_is_refused(word: str) -> None:
    with pytest.raises(Refused):
        ports.network(word)


def test_bits_beyond_the_prefix_are_refused_with_the_block_that_was_meant() -> None:
    with pytest.raises(Refused, match=r"10\.0\.0\.0/8 is the block"):
        ports.network("10.1.2.3/8")


def test_ipv4_inside_ipv6_is_refused_as_no_packet_carries_it() -> None:
    with pytest.raises(Refused, match="write the IPv4 block"):
        ports.network("::ffff:10.0.0.0/104")


@pytest.mark.parametrize(
    ("word", "seconds"), [("500ms", 0.5), ("5s", 5.0), ("1m", 60.0), ("1h", 3600.0)]
)
def test_a_duration_has_a_unit(word: str, seconds: float) -> None:
    assert ports.duration(word) == pytest.approx(seconds)


@pytest.mark.parametrize("word", ["", "5", "0s", "s", "-1s", "1.5s", "5 s", "1d", "9999999s"])
def test_what_is_no_duration_is_refused(word: str) -> None:
    with pytest.raises(Refused):
        ports.duration(word)


def test_a_family_is_named_as_in_the_report() -> None:
    assert [ports.family("ipv4"), ports.family("ipv6")] == list(Family)
    with pytest.raises(Refused):
        ports.family("ip6")


def test_every_fault_of_a_list_is_noted_with_its_origin_and_word() -> None:
    faults = Faults()
    found = ports.each(faults, "--some-flag", ["80", "x", "", "90"], ports.port)
    assert found == [80, 90]
    assert [line.partition(" is")[0] for line in faults.lines] == [
        '--some-flag: "x"',
        '--some-flag: ""',
    ]


def test_empty_words_between_commas_stay_so_that_they_are_refused() -> None:
    assert ports.words("80,, 90 ,") == ["80", "", "90", ""]


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ("80,80", "80"),
        ("81,80", "80-81"),
        ("80-90,85-95", "80-95"),
        ("80-90,91", "80-91"),
        ("80-90,92", "80-90,92"),
        ("1-65535,22", "1-65535"),
    ],
)
def test_ports_that_overlap_or_touch_become_one_range(given: str, merged: str) -> None:
    ranges = [ports.port_range(word) for word in ports.words(given)]
    assert ",".join(map(str, merge_ports(ranges))) == merged


def test_blocks_inside_others_are_dropped_and_halves_are_joined() -> None:
    words = ["fd00::/9", "10.1.0.0/16", "fd80::/9", "10.0.0.0/8", "192.0.2.1"]
    merged = ports.merge_networks([ports.network(word) for word in words])
    assert [str(block) for block in merged] == ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]
