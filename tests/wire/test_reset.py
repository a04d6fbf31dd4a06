"""An RST passes on as an RST: whoever reads learns that the stream was cut, not that it ended."""

import socket

import pytest

from tests.support.rig import Pair, Route
from tests.support.sockets import (
    expect_end,
    expect_hang_up,
    expect_reset,
    fill_until_blocked,
    receive_exactly,
    reset,
)


def test_a_reset_by_the_downstream_reaches_the_upstream(pair: Pair) -> None:
    reset(pair.downstream)
    assert expect_reset(pair.upstream) == b""


def test_a_reset_by_the_upstream_reaches_the_downstream(pair: Pair) -> None:
    reset(pair.upstream)
    assert expect_reset(pair.downstream) == b""


def test_the_reason_names_the_side_that_reset(route: Route) -> None:
    downstream, upstream = route.pair()
    reset(downstream)
    expect_reset(upstream)
    route.proxy.wait_closed("downstream_reset")
    downstream, upstream = route.pair()
    reset(upstream)
    expect_reset(downstream)
    metrics = route.proxy.metrics()
    assert metrics("tcp_close_total", reason="upstream_reset") == 1
    assert metrics("tcp_close_total", reason="downstream_reset") == 1


def test_a_reset_after_an_exchange_passes_on_after_the_delivered_bytes(pair: Pair) -> None:
    pair.downstream.sendall(b"ping")
    assert receive_exactly(pair.upstream, 4) == b"ping"
    pair.upstream.sendall(b"pong")
    assert receive_exactly(pair.downstream, 4) == b"pong"
    reset(pair.upstream)
    assert expect_reset(pair.downstream) == b""


@pytest.mark.parametrize("who", ["downstream", "upstream"])
def test_a_reset_right_behind_data_is_still_a_reset(route: Route, who: str) -> None:
    for _ in range(100):
        pair = route.pair()
        ours, theirs = (pair.downstream, pair.upstream)[:: 1 if who == "downstream" else -1]
        ours.sendall(b"x" * 1000)
        reset(ours)
        assert (b"x" * 1000).startswith(expect_reset(theirs))
    route.proxy.wait_closed(f"{who}_reset", count=100)


def test_a_reset_by_the_upstream_reaches_a_half_closed_downstream(pair: Pair) -> None:
    pair.downstream.shutdown(socket.SHUT_WR)
    expect_end(pair.upstream)
    reset(pair.upstream)
    assert expect_reset(pair.downstream) == b""


def test_a_reset_by_the_downstream_reaches_a_half_closed_upstream(pair: Pair) -> None:
    pair.upstream.shutdown(socket.SHUT_WR)
    expect_end(pair.downstream)
    reset(pair.downstream)
    assert expect_reset(pair.upstream) == b""


def test_a_reset_after_the_own_end_reaches_the_other_side(pair: Pair) -> None:
    """The upstream has seen the end already: an error on its socket is all it can learn."""
    pair.downstream.shutdown(socket.SHUT_WR)
    expect_end(pair.upstream)
    reset(pair.downstream)
    expect_hang_up(pair.upstream)


def test_a_close_with_unread_data_is_a_reset_for_the_other_side(pair: Pair) -> None:
    """The kernel makes an RST of a close that throws received data away (RFC 2525, 2.17)."""
    pair.upstream.sendall(b"never read")
    assert pair.downstream.recv(1, socket.MSG_PEEK) == b"n"
    pair.downstream.close()
    assert expect_reset(pair.upstream) == b""


def test_a_reset_passes_a_direction_that_is_blocked(pair: Pair) -> None:
    """The upstream does not read and the buffers are full: it learns of the reset all the same."""
    fill_until_blocked(pair.downstream, b"x" * 65536, seconds=0.3)
    reset(pair.downstream)
    expect_reset(pair.upstream)


def test_a_reset_by_the_reader_of_a_blocked_direction_frees_the_writer(pair: Pair) -> None:
    fill_until_blocked(pair.downstream, b"x" * 65536, seconds=0.3)
    reset(pair.upstream)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        pair.downstream.sendall(b"x" * (1 << 24))
