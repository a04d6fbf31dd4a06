"""Small pieces: one byte is passed on when it comes, and order is kept."""

import socket

from tests.support.rig import Pair
from tests.support.sockets import receive_exactly
from tests.support.transfers import Payload, receive_all

MESSAGE = bytes(range(256))


def test_each_byte_reaches_the_upstream_before_the_next_is_sent(pair: Pair) -> None:
    for byte in MESSAGE:
        pair.downstream.sendall(bytes([byte]))
        assert receive_exactly(pair.upstream, 1) == bytes([byte])


def test_each_byte_reaches_the_downstream_before_the_next_is_sent(pair: Pair) -> None:
    for byte in MESSAGE:
        pair.upstream.sendall(bytes([byte]))
        assert receive_exactly(pair.downstream, 1) == bytes([byte])


def test_bytes_cross_in_both_directions_in_turns(pair: Pair) -> None:
    for byte in MESSAGE:
        pair.downstream.sendall(bytes([byte]))
        pair.upstream.sendall(bytes([255 - byte]))
        assert receive_exactly(pair.upstream, 1) == bytes([byte])
        assert receive_exactly(pair.downstream, 1) == bytes([255 - byte])


def test_twenty_thousand_writes_of_one_byte_keep_their_order(pair: Pair) -> None:
    text = b"".join(Payload(7, 20_000).blocks())
    for byte in text:
        pair.downstream.sendall(bytes([byte]))
    pair.downstream.shutdown(socket.SHUT_WR)
    assert receive_all(pair.upstream) == Payload(7, 20_000).digest()


def test_writes_of_every_size_around_the_buffers_arrive_whole(pair: Pair) -> None:
    sizes = [base + off for base in (1, 4096, 8192, 16384, 32768, 65536) for off in (-1, 0, 1)]
    for size in sizes:
        pair.downstream.sendall(b"s" * size)
        assert receive_exactly(pair.upstream, size) == b"s" * size
