"""SIGTERM: nothing new comes in, everything that was taken in is finished, exit 0."""

import signal
import socket
import time

import pytest

from tests.support.rig import Rig, Route
from tests.support.sockets import (
    connected,
    expect_end,
    expect_reset,
    expect_silence,
    receive_exactly,
)
from tests.support.transfers import MIB, Digest, Payload, receive_all, send_all
from tests.support.waiting import eventually


def wait_deaf(route: Route) -> None:
    """Wait until the proxy has closed its listener. (Asking by a connection would be one more.)"""
    eventually("the listener to close", lambda: route.proxy.live()["listeners"] == 0)
    with pytest.raises(ConnectionRefusedError):
        connected(route.address)


def test_an_idle_proxy_exits_within_two_seconds(rig: Rig) -> None:
    route = rig.route()
    begin = time.monotonic()
    route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit() == 0
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_connections_are_finished_and_then_it_exits(rig: Rig, number: signal.Signals) -> None:
    route = rig.route()
    pair = route.pair()
    route.proxy.signal(number)
    wait_deaf(route)
    pair.downstream.sendall(b"unfinished business")
    assert receive_exactly(pair.upstream, 19) == b"unfinished business"
    assert route.proxy.running()
    pair.downstream.close()
    expect_end(pair.upstream)
    pair.upstream.close()
    assert route.proxy.wait_exit() == 0


@pytest.mark.slow
def test_a_drain_under_load_loses_no_byte(rig: Rig) -> None:
    """Sixteen transfers are in full flow at the signal; all of them arrive whole."""
    route = rig.route("--workers", "2")
    payloads = [Payload(seed, 16 * MIB) for seed in range(16)]
    sent, received = [], []
    for number, (payload, pair) in enumerate(zip(payloads, route.pairs(16), strict=True)):
        source, target = pair if number % 2 else reversed(pair)
        sent.append(rig.background(send_all, source, payload))
        received.append(rig.background(receive_then_end, target))
    eventually("bytes to flow", lambda: route.proxy.metrics()("tcp_read_bytes_total") > MIB)
    route.proxy.signal(signal.SIGTERM)
    for payload, sending, receiving in zip(payloads, sent, received, strict=True):
        sending.result()
        assert receiving.result() == payload.digest()
    assert route.proxy.wait_exit() == 0


def receive_then_end(sock: socket.socket) -> Digest:
    digest = receive_all(sock)
    sock.shutdown(socket.SHUT_WR)
    return digest


def test_connections_in_the_backlog_at_the_signal_are_served(rig: Rig) -> None:
    """The kernel has told these downstreams that they are connected: nobody may drop them."""
    for turn in range(6):
        route = rig.route("--workers", str(1 + turn % 2))
        with route.proxy.held():
            downstreams = [route.connect() for _ in range(100)]
            for downstream in downstreams:
                downstream.sendall(b"let me in")
            route.proxy.signal(signal.SIGTERM)
        for _ in downstreams:
            upstream = route.accept()
            assert receive_exactly(upstream, 9) == b"let me in"
            upstream.close()
        for downstream in downstreams:
            expect_end(downstream)
            downstream.close()
        assert route.proxy.wait_exit() == 0


def test_what_is_open_at_the_deadline_is_reset_and_it_exits_0(rig: Rig) -> None:
    route = rig.route("--drain-deadline", "500ms")
    pair = route.pair()
    route.proxy.signal(signal.SIGTERM)
    expect_silence(pair.downstream, 0.2)
    expect_reset(pair.downstream)
    expect_reset(pair.upstream)
    assert route.proxy.wait_exit() == 0


def test_the_drain_delay_keeps_the_listener_open_for_so_long(rig: Rig) -> None:
    route = rig.route("--drain-delay", "600ms")
    route.proxy.signal(signal.SIGTERM)
    eventually("the drain to begin", lambda: route.proxy.readiness()[0] == 503)
    pair = route.pair()
    pair.upstream.sendall(b"welcome")
    assert receive_exactly(pair.downstream, 7) == b"welcome"
    wait_deaf(route)
    pair.downstream.close()
    pair.upstream.close()
    assert route.proxy.wait_exit() == 0


def test_a_second_signal_forces_the_end(rig: Rig) -> None:
    route = rig.route()
    route.proxy.ended_as_planned = True
    pair = route.pair()
    route.proxy.signal(signal.SIGTERM)
    wait_deaf(route)
    route.proxy.signal(signal.SIGTERM)
    expect_reset(pair.downstream)
    expect_reset(pair.upstream)
    assert route.proxy.wait_exit() == 1
    route.proxy.check_nothing_left()
