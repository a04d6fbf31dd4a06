"""TCP urgent data (RFC 6093: do not use it) is passed on as plain bytes, and stalls nothing."""

import socket

import pytest

from tests.support.rig import Pair, Rig
from tests.support.sockets import expect_silence, receive_exactly, receive_until_end
from tests.support.transfers import MIB

URGENT = b"!"


def test_urgent_bytes_stay_in_the_stream_in_their_place(pair: Pair) -> None:
    pair.downstream.sendall(b"before")
    pair.downstream.send(URGENT, socket.MSG_OOB)
    pair.downstream.sendall(b"after")
    pair.downstream.shutdown(socket.SHUT_WR)
    assert receive_until_end(pair.upstream) == b"before!after"


def test_an_urgent_byte_with_nothing_behind_it_arrives(pair: Pair) -> None:
    for _ in range(20):
        pair.upstream.send(URGENT, socket.MSG_OOB)
        assert receive_exactly(pair.downstream, 1) == URGENT


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
    assert receive_until_end(pair.upstream) == (part + URGENT) * 5 + b"last words"
    sending.result()


def test_a_waiting_urgent_byte_does_not_keep_the_proxy_busy(rig: Rig) -> None:
    route = rig.route()
    pair = route.pair()
    pair.downstream.sendall(b"hello")
    receive_exactly(pair.upstream, 5)
    pair.downstream.send(URGENT, socket.MSG_OOB)
    pair.downstream.sendall(b"more")
    receive_exactly(pair.upstream, 5)
    before = route.proxy.cpu_seconds()
    expect_silence(pair.downstream, 1.0)
    assert route.proxy.cpu_seconds() - before < 0.2
