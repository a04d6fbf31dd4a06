"""Silence has a bound, and only silence: each timer closes what it should and nothing else."""

import socket

from tests.support.rig import Rig
from tests.support.sockets import (
    expect_end,
    expect_reset,
    expect_silence,
    receive_exactly,
)
from tests.support.waiting import eventually


def test_a_silent_connection_is_closed_after_the_idle_timeout(rig: Rig) -> None:
    route = rig.route("--idle-timeout", "300ms")
    pair = route.pair()
    expect_silence(pair.downstream, 0.2)
    expect_reset(pair.downstream)
    expect_reset(pair.upstream)
    route.proxy.wait_closed("idle_timeout")


def test_bytes_of_either_side_put_the_idle_timeout_off(rig: Rig) -> None:
    route = rig.route("--idle-timeout", "600ms")
    pair = route.pair()
    for source, target in (pair, pair[::-1]) * 3:
        expect_silence(target, 0.3)
        source.sendall(b"still here")
        assert receive_exactly(target, 10) == b"still here"


def test_the_idle_timeout_of_one_connection_spares_the_others(rig: Rig) -> None:
    route = rig.route("--idle-timeout", "500ms")
    silent, lively = route.pair(), route.pair()

    def silent_is_gone() -> bool:
        lively.downstream.sendall(b".")
        receive_exactly(lively.upstream, 1)
        return route.proxy.closed("idle_timeout") == 1

    eventually("the silent connection to time out", silent_is_gone)
    expect_reset(silent.downstream)


def test_a_half_open_connection_ends_after_its_own_silence(rig: Rig) -> None:
    route = rig.route("--half-open-timeout", "300ms")
    pair = route.pair()
    pair.downstream.shutdown(socket.SHUT_WR)
    expect_end(pair.upstream)
    expect_reset(pair.downstream)
    route.proxy.wait_closed("half_open_timeout")


def test_a_half_open_connection_lives_as_long_as_bytes_flow(rig: Rig) -> None:
    route = rig.route("--half-open-timeout", "600ms")
    pair = route.pair()
    pair.downstream.shutdown(socket.SHUT_WR)
    expect_end(pair.upstream)
    for _ in range(5):
        expect_silence(pair.downstream, 0.3)
        pair.upstream.sendall(b"more")
        assert receive_exactly(pair.downstream, 4) == b"more"


def test_an_open_connection_is_not_subject_to_the_half_open_timeout(rig: Rig) -> None:
    pair = rig.route("--half-open-timeout", "200ms").pair()
    expect_silence(pair.downstream, 0.6)
