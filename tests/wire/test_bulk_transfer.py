"""100 MiB arrive as they were sent, each way and both ways at once, spliced and copied."""

import contextlib
import socket

import pytest

from tests.support.rig import Pair, Rig, Route
from tests.support.sockets import (
    accepted,
    expect_reset,
    receive_exactly,
    receive_until_end,
    reset,
)
from tests.support.tools import listening_for, two_sidecars
from tests.support.transfers import MIB, Payload, receive_all, send_all
from tests.support.waiting import eventually

UP = Payload(1, 100 * MIB)
DOWN = Payload(2, 100 * MIB)
FRAGMENT_BYTES = 2_000

pytestmark = pytest.mark.slow


@pytest.fixture(params=[[], ["--no-splice"]], ids=["splice", "copy"])
def bulk_route(rig: Rig, request: pytest.FixtureRequest) -> Route:
    return rig.route(*request.param)


def check(rig: Rig, sender: socket.socket, receiver: socket.socket, payload: Payload) -> None:
    sending = rig.background(send_all, sender, payload)
    assert receive_all(receiver) == payload.digest()
    sending.result()


def test_a_hundred_mebibytes_reach_the_upstream(bulk_route: Route) -> None:
    pair = bulk_route.pair()
    check(bulk_route.rig, pair.downstream, pair.upstream, UP)


def test_a_hundred_mebibytes_reach_the_downstream(bulk_route: Route) -> None:
    pair = bulk_route.pair()
    check(bulk_route.rig, pair.upstream, pair.downstream, DOWN)


def test_a_hundred_mebibytes_each_way_at_once(bulk_route: Route) -> None:
    rig, pair = bulk_route.rig, bulk_route.pair()
    upwards = rig.background(check, rig, pair.downstream, pair.upstream, UP)
    check(rig, pair.upstream, pair.downstream, DOWN)
    upwards.result()
    bulk_route.proxy.wait_closed("ok")


def test_bulk_goes_by_splice_unless_it_is_switched_off(rig: Rig) -> None:
    for flags, spliced in (((), True), (("--no-splice",), False)):
        route = rig.route(*flags)
        pair = route.pair()
        check(rig, pair.downstream, pair.upstream, Payload(3, 8 * MIB))
        assert route.proxy.connections()[0]["spliced"] is spliced
        started = route.proxy.metrics()("remora_events_total", event="splice_started")
        assert (started > 0) is spliced


def test_a_download_goes_on_after_the_downstream_has_ended(bulk_route: Route) -> None:
    rig, pair = bulk_route.rig, bulk_route.pair()
    pair.downstream.sendall(b"GET everything\r\n")
    pair.downstream.shutdown(socket.SHUT_WR)
    assert receive_until_end(pair.upstream) == b"GET everything\r\n"
    check(rig, pair.upstream, pair.downstream, DOWN)


def test_a_reader_that_resets_in_full_flow_cuts_the_writer_off(bulk_route: Route) -> None:
    for turn in range(20):
        source, target = bulk_route.pair()[:: 1 if turn % 2 else -1]
        sending = bulk_route.rig.background(send_until_reset, source)
        receive_exactly(target, MIB)
        reset(target)
        sending.result()
    check_nothing_held(bulk_route)


def test_a_writer_that_resets_in_full_flow_is_no_end_for_the_reader(bulk_route: Route) -> None:
    text = b"".join(Payload(6, 4 * MIB).blocks())
    for turn in range(20):
        source, target = bulk_route.pair()[:: 1 if turn % 2 else -1]
        sending = bulk_route.rig.background(send_and_reset, source, text)
        assert text.startswith(expect_reset(target))
        sending.result()
    check_nothing_held(bulk_route)


def send_until_reset(sock: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            sock.sendall(bytes(MIB))


def send_and_reset(sock: socket.socket, text: bytes) -> None:
    sock.sendall(text)
    reset(sock)


def check_nothing_held(route: Route) -> None:
    def nothing_held() -> bool:
        live = route.proxy.live()
        return live["connections"] == live["buffers"] == live["pipes"] == 0

    eventually("no connection, buffer or pipe in use", nothing_held)


def test_small_messages_still_pass_one_by_one_after_bulk(rig: Rig) -> None:
    route = rig.route()
    pair = route.pair()
    payload = Payload(4, 8 * MIB)
    for _ in range(3):
        sending = rig.background(send_without_end, pair.downstream, payload)
        received = receive_exactly(pair.upstream, payload.size)
        sending.result()
        assert received == b"".join(payload.blocks())
        ping_pong(pair)


def send_without_end(sock: socket.socket, payload: Payload) -> None:
    for block in payload.blocks():
        sock.sendall(block)


def ping_pong(pair: Pair) -> None:
    for number in range(200):
        message = number.to_bytes(2)
        pair.downstream.sendall(message)
        assert receive_exactly(pair.upstream, 2) == message
        pair.upstream.sendall(message)
        assert receive_exactly(pair.downstream, 2) == message


def test_messages_of_a_megabyte_in_small_fragments_are_echoed_through_two_proxies(
    rig: Rig,
) -> None:
    """Fragments fill a pipe's slots long before its bytes: "again" does not mean "nothing left"."""
    listener, target = listening_for(rig)
    rig.background(echo_one, listener)
    sock = rig.connect(two_sidecars(rig, target))
    for seed in range(20):
        message = b"".join(Payload(seed, MIB - 999 * seed).blocks())
        sending = rig.background(send_in_fragments, sock, message)
        assert receive_exactly(sock, len(message)) == message
        sending.result()


def echo_one(listener: socket.socket) -> None:
    with accepted(listener) as sock:
        while text := sock.recv(FRAGMENT_BYTES):
            sock.sendall(text)


def send_in_fragments(sock: socket.socket, message: bytes) -> None:
    for at in range(0, len(message), FRAGMENT_BYTES):
        sock.sendall(message[at : at + FRAGMENT_BYTES])


def test_more_bulk_flows_at_once_than_there_are_pipes(rig: Rig) -> None:
    """64 pipes a worker: the other flows go on by copying, and none loses a byte."""
    route = rig.route()
    payload = Payload(5, 2 * MIB)
    checks = [rig.background(check_both_ends, rig, pair, payload) for pair in route.pairs(50)]
    for done in checks:
        done.result()


def check_both_ends(rig: Rig, pair: Pair, payload: Payload) -> None:
    upwards = rig.background(check, rig, pair.downstream, pair.upstream, payload)
    check(rig, pair.upstream, pair.downstream, payload)
    upwards.result()
