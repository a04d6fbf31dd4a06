"""TCP urgent data (RFC 6093: do not use it) is not passed on as such, and stalls nothing."""

import socket

import pytest

from tests.support.rig import Pair, Rig
from tests.support.sockets import expect_silence, receive_exactly, receive_until_end
from tests.support.transfers import MIB

# The urgent byte itself may be dropped or arrive in line: it is removed before comparing.
URGENT = b"!"


def plain(received: bytes) -> bytes:
    return received.replace(URGENT, b"")


def test_bytes_before_and_after_urgent_data_arrive_in_order(pair: Pair) -> None:
    pair.downstream.sendall(b"before ")
    pair.downstream.send(URGENT, socket.MSG_OOB)
    pair.downstream.sendall(b"after")
    pair.downstream.shutdown(socket.SHUT_WR)
    assert plain(receive_until_end(pair.upstream)) == b"before after"


def test_urgent_data_alone_does_not_end_or_stall_the_connection(pair: Pair) -> None:
    for turn in range(20):
        pair.upstream.send(URGENT, socket.MSG_OOB)
        pair.upstream.sendall(bytes([65 + turn]))
        received = pair.downstream.recv(1)
        if received == URGENT:
            received = pair.downstream.recv(1)
        assert received == bytes([65 + turn])


@pytest.mark.parametrize("flags", [[], ["--no-splice"]], ids=["splice", "copy"])
def test_urgent_data_inside_bulk_loses_nothing(rig: Rig, flags: list[str]) -> None:
    pair = rig.route(*flags).pair()
    part = b"x" * (2 * MIB)

    def send() -> None:
        for _ in range(5):
            pair.downstream.sendall(part)
            pair.downstream.send(URGENT, socket.MSG_OOB)
        pair.downstream.sendall(b"last words")
        pair.downstream.shutdown(socket.SHUT_WR)

    sending = rig.background(send)
    assert plain(receive_until_end(pair.upstream)) == part * 5 + b"last words"
    sending.result()


def test_a_waiting_urgent_byte_does_not_keep_the_proxy_busy(rig: Rig) -> None:
    route = rig.route()
    pair = route.pair()
    pair.downstream.sendall(b"hello")
    receive_exactly(pair.upstream, 5)
    pair.downstream.send(URGENT, socket.MSG_OOB)
    pair.downstream.sendall(b"more")
    pair.upstream.recv(1)
    before = route.proxy.cpu_seconds()
    expect_silence(pair.downstream, 1.0)
    assert route.proxy.cpu_seconds() - before < 0.2
