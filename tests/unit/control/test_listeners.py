"""Listening sockets of the data plane: bound by our rules, or refused with a hint."""

import socket
from collections.abc import Iterator

import pytest

from proxy import listeners
from proxy.config import Config, read_config
from proxy.errors import EXIT_OS, StartError
from proxy.listeners import Listener, bound_address, close_all, open_listeners, open_tcp, resolve
from proxy.values import Address
from tests.unit.control.conftest import ReadableLog


def explicit(*listens: str, workers: int = 1) -> Config:
    flags = [f"--listen={listen}=127.0.0.1:9" for listen in listens]
    return read_config(["--no-interception", f"--workers={workers}", *flags], {})


@pytest.fixture
def taken() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield bound_address(sock)


@pytest.fixture
def opened(readable_log: ReadableLog) -> Iterator[list[Listener]]:
    """Two addresses for three workers."""
    made = open_listeners(explicit("127.0.0.1:0", "[::1]:0", workers=3), readable_log.log)
    yield made
    close_all(made)


def test_each_worker_has_its_own_socket_of_the_same_address(opened: list[Listener]) -> None:
    for listener in opened:
        assert len(listener.sockets) == 3
        assert {bound_address(sock) for sock in listener.sockets} == {listener.address}


def test_port_0_becomes_the_port_that_the_system_chose(opened: list[Listener]) -> None:
    assert all(listener.address.port for listener in opened)


def test_sockets_do_not_block(opened: list[Listener]) -> None:
    assert not any(sock.getblocking() for listener in opened for sock in listener.sockets)


def test_an_ipv6_socket_leaves_ipv4_to_its_neighbour(opened: list[Listener]) -> None:
    (sock, *_) = opened[1].sockets
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_sockets_for_workers_are_given_once(opened: list[Listener]) -> None:
    fds = opened[0].give()
    assert len(fds) == 3
    assert opened[0].give() == []
    for fd in fds:
        socket.close(fd)


def test_a_second_proxy_cannot_share_the_port(
    opened: list[Listener], readable_log: ReadableLog
) -> None:
    """Its sockets carry SO_REUSEPORT as ours do, and have the same uid."""
    with pytest.raises(StartError, match="Address already in use"):
        open_listeners(explicit(str(opened[0].address), workers=3), readable_log.log)


def test_a_taken_port_is_named_with_what_to_do(taken: Address, readable_log: ReadableLog) -> None:
    with pytest.raises(StartError) as caught:
        open_listeners(explicit(str(taken)), readable_log.log)
    assert str(caught.value) == f"cannot listen on {taken}: Address already in use"
    assert "--listen" in caught.value.hint
    assert caught.value.exit_code == EXIT_OS


def test_every_address_that_cannot_be_had_is_named(
    taken: Address, readable_log: ReadableLog
) -> None:
    with pytest.raises(StartError) as caught:
        open_listeners(explicit(str(taken), "192.0.2.1:80"), readable_log.log)
    assert str(taken) in str(caught.value)
    assert "192.0.2.1:80" in str(caught.value)


def test_after_a_refusal_nothing_is_left_open(taken: Address, readable_log: ReadableLog) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = bound_address(free)
    with pytest.raises(StartError):
        open_listeners(explicit(str(address), str(taken)), readable_log.log)
    close_all(open_listeners(explicit(str(address)), readable_log.log))


def test_without_ipv6_a_default_address_is_left_out_and_logged(
    monkeypatch: pytest.MonkeyPatch, readable_log: ReadableLog
) -> None:
    """An address that this host has not stands in for a namespace without IPv6."""
    monkeypatch.setattr(
        listeners, "_wishes", lambda _: iter([_wish("2001:db8::1", is_optional=True)])
    )
    assert open_listeners(explicit("[::1]:0"), readable_log.log) == []
    assert readable_log.events() == ["listener_skipped"]


def test_without_ipv6_an_address_that_was_asked_for_is_an_error(
    monkeypatch: pytest.MonkeyPatch, readable_log: ReadableLog
) -> None:
    monkeypatch.setattr(
        listeners, "_wishes", lambda _: iter([_wish("2001:db8::1", is_optional=False)])
    )
    with pytest.raises(StartError, match="Cannot assign requested address"):
        open_listeners(explicit("[::1]:0"), readable_log.log)


def _wish(host: str, *, is_optional: bool) -> object:
    return listeners._Wish("inbound", Address(host, 0), "--inbound", is_optional)


def test_a_target_that_is_a_name_is_resolved() -> None:
    assert resolve(Address("localhost", 80)).host in {"127.0.0.1", "::1"}


def test_a_target_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(StartError, match=r"'no\.such\.name\.invalid'"):
        resolve(Address("no.such.name.invalid", 80))


def test_a_servers_port_is_shared_with_nobody(taken: Address) -> None:
    with pytest.raises(StartError) as caught:
        open_tcp(taken, "--admin")
    assert "--admin" in caught.value.hint
