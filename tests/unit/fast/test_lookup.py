"""Whose destination is it? Asked for every connection, whatever the configuration knows."""

import random
import socket
from types import ModuleType

import pytest

IPV4, IPV6 = b"10.0.0.1", b"fd00::1"


def test_an_address_leads_to_its_service(probe: ModuleType) -> None:
    known = probe.Known([(IPV4, 80, 2), (IPV4, 81, 3), (IPV6, 80, 4)])
    assert [known.find(IPV4, 80), known.find(IPV4, 81), known.find(IPV6, 80)] == [2, 3, 4]


def test_what_nobody_has_leads_nowhere(probe: ModuleType) -> None:
    known = probe.Known([(IPV4, 80, 2)])
    assert known.find(IPV4, 8080) is None
    assert known.find(b"10.0.0.2", 80) is None
    assert known.find(b"a00:1::", 80) is None  # the same first four bytes
    assert probe.Known([]).find(IPV4, 80) is None


def test_an_ipv4_address_is_the_same_however_it_is_written(probe: ModuleType) -> None:
    assert probe.Known([(b"::ffff:10.0.0.1", 80, 2)]).find(IPV4, 80) == 2


def test_a_link_local_address_is_found_whatever_its_scope(probe: ModuleType) -> None:
    assert probe.Known([(b"fe80::1", 80, 2)]).find(b"fe80::1", 80, scope=3) == 2


def test_an_address_cannot_have_two_services(probe: ModuleType) -> None:
    with pytest.raises(ValueError, match="given before"):
        probe.Known([(IPV4, 80, 2), (IPV4, 80, 3)])


def test_all_of_fifty_thousand_addresses_are_found_and_no_other(probe: ModuleType) -> None:
    dice = random.Random(11)  # noqa: S311 - not a secret
    texts = {
        (socket.inet_ntop(socket.AF_INET, dice.randbytes(4)).encode(), dice.randrange(1, 65_536))
        for _ in range(30_000)
    } | {
        (socket.inet_ntop(socket.AF_INET6, b"\xfd" + dice.randbytes(15)).encode(), 80)
        for _ in range(20_000)
    }
    rows = [(*address, number) for number, address in enumerate(sorted(texts), 2)]
    known = probe.Known(rows)
    assert all(known.find(text, port) == number for text, port, number in rows)
    strangers = {(text, port % 65_535 + 1) for text, port in texts} - texts
    assert not [address for address in strangers if known.find(*address) is not None]


def test_a_port_is_opaque_by_itself(probe: ModuleType) -> None:
    ports = {1, 63, 64, 65, 3306, 65_535}
    known = probe.Known([], ports)
    assert {port for port in range(65_536) if known.is_opaque(port)} == ports


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.1.1", "10.0.0.256", "fd00::g", "web", ":"])
def test_what_is_no_address_is_refused(probe: ModuleType, text: str) -> None:
    assert probe.from_text(text.encode()) is None


@pytest.mark.parametrize("text", ["0.0.0.0", "255.255.255.255", "::", "fd00::1", "::1"])
def test_an_address_is_read_and_written_as_it_was(probe: ModuleType, text: str) -> None:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    packed = socket.inet_pton(family, text).ljust(16, b"\0")
    assert probe.from_text(text.encode()) == (6 if ":" in text else 4, packed, text.encode())
