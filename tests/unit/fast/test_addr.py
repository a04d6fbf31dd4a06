"""Addresses on their way from the kernel's words to ours and back."""

import socket
import struct
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.support.sockets import LOOPBACK, bound


def sockaddr(host: str, port: int, *, flow: int = 0, scope: int = 0) -> bytes:
    """Return the bytes of a sockaddr_in or sockaddr_in6: ip(7), ipv6(7)."""
    if ":" not in host:
        packed = socket.inet_pton(socket.AF_INET, host)
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, packed)
    packed = socket.inet_pton(socket.AF_INET6, host)
    family, scope_id = struct.pack("=H", socket.AF_INET6), struct.pack("=I", scope)
    return family + struct.pack("!HI16s", port, flow, packed) + scope_id


def padded(host: str) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.inet_pton(family, host).ljust(16, b"\0")


@pytest.fixture
def addr(probe: ModuleType) -> Callable[..., Any]:
    """Make an address of ours from host and port, through the kernel's form."""
    return lambda host, port=80, **more: probe.Addr(sockaddr(host, port, **more))


def test_an_ipv4_address_is_read(addr: Callable[..., Any]) -> None:
    assert addr("192.0.2.7", 65535).fields == (4, padded("192.0.2.7"), 65535, 0)


def test_an_ipv6_address_is_read_with_its_scope(addr: Callable[..., Any]) -> None:
    assert addr("fe80::7", 1, scope=3).fields == (6, padded("fe80::7"), 1, 3)


def test_a_mapped_address_is_the_ipv4_address_that_was_dialled(addr: Callable[..., Any]) -> None:
    mapped = addr("::ffff:192.0.2.7", 443, scope=3)
    assert mapped.fields == (4, padded("192.0.2.7"), 443, 0)
    assert mapped.is_same_ip(addr("192.0.2.7", 1))
    assert mapped.raw() == sockaddr("192.0.2.7", 443)


@pytest.mark.parametrize("host", ["::192.0.2.7", "::fffe:192.0.2.7", "::1:ffff:192.0.2.7", "::"])
def test_what_only_resembles_a_mapped_address_stays_ipv6(
    addr: Callable[..., Any], host: str
) -> None:
    assert addr(host).fields == (6, padded(host), 80, 0)


@pytest.mark.parametrize("family", [0, socket.AF_UNIX, 0xEEEE])
def test_another_family_is_no_address(probe: ModuleType, family: int) -> None:
    raw = struct.pack("=H", family) + bytes(26)
    assert probe.Addr(raw).fields == (0, bytes(16), 0, 0)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "127.0.0.6", "255.255.255.255", "::", "::6", "ff02::1"]
)
@pytest.mark.parametrize("port", [1, 15006, 65535])
def test_there_and_back_changes_nothing(addr: Callable[..., Any], host: str, port: int) -> None:
    assert addr(host, port).raw() == sockaddr(host, port)


def test_the_scope_goes_back_too_and_the_flow_does_not(addr: Callable[..., Any]) -> None:
    raw = addr("fe80::1", 80, flow=9, scope=4).raw()
    assert raw == sockaddr("fe80::1", 80, scope=4)


@pytest.mark.parametrize("family", list(LOOPBACK))
def test_the_kernel_agrees(addr: Callable[..., Any], family: str) -> None:
    """Bind to the bytes we make; the kernel names the address that was meant."""
    with bound(LOOPBACK[family]) as sock:
        host, port = sock.getsockname()[:2]
        assert addr(host, port).fields == (6 if ":" in host else 4, padded(host), port, 0)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::ffff:127.0.0.6", True),
        ("::1", True),
        ("126.255.255.255", False),
        ("128.0.0.1", False),
        ("0.0.0.0", False),
        ("::6", False),
        ("::", False),
        ("7f00::", False),
    ],
)
def test_loopback_is_what_the_kernel_keeps_at_home(
    addr: Callable[..., Any], host: str, *, is_loopback: bool
) -> None:
    assert addr(host).is_loopback == is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_the_wildcard_is_known(addr: Callable[..., Any], host: str) -> None:
    assert addr(host).is_wildcard


@pytest.mark.parametrize("host", ["0.0.0.1", "1.0.0.0", "::1", "8000::"])
def test_every_other_address_is_no_wildcard(addr: Callable[..., Any], host: str) -> None:
    assert not addr(host).is_wildcard


def test_the_same_address_is_the_same_on_any_port_and_scope(addr: Callable[..., Any]) -> None:
    assert addr("fe80::1", 1, scope=1).is_same_ip(addr("fe80::1", 2, scope=2))


def test_addresses_of_two_families_are_never_the_same(addr: Callable[..., Any]) -> None:
    assert not addr("0.0.0.0").is_same_ip(addr("::"))
    assert not addr("127.0.0.1").is_same_ip(addr("7f00:1::"))
