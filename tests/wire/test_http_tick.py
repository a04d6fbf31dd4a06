"""HTTP on a worker without its thread: what comes together in one look at the sockets."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.http import Stream, request, response
from tests.support.rig import Rig
from tests.support.sockets import READ_BYTES, accepted, reset
from tests.support.stepper import Stepper
from tests.support.waiting import PATIENCE_S

CHUNK = b"%x\r\n%b\r\n" % (100_000, bytes(100_000))


@pytest.fixture
def stepper(rig: Rig) -> Iterator[Stepper]:
    made = Stepper(rig)
    made.tick()  # takes over the listener
    yield made
    made.engine.stop()


def read_what_is_there(sock: socket.socket) -> int:
    """Without a tick: the proxy learns that there is room, and no more."""
    size = 0
    sock.setblocking(False)  # noqa: FBT003 - the name of the standard library
    with suppress(BlockingIOError):
        while text := sock.recv(READ_BYTES):
            size += len(text)
    sock.settimeout(PATIENCE_S)
    return size


def is_held_back(stepper: Stepper) -> bool:
    live = stepper.live()
    return live["buffers"] + live["pipes"] > 0


@pytest.mark.parametrize("splice", [0, 1], ids=["copy", "splice"])
def test_late_word_of_bytes_that_were_read_already_ends_no_idle_connection(
    stepper: Stepper, splice: int
) -> None:
    """The downstream made room as the last bytes came: its event had them read, theirs is next."""
    stepper.publish(2, splice=splice)
    down = Stream(stepper.connect())
    down.send(request())
    stepper.settle()
    up = Stream(stepper.rig.keep(accepted(stepper.upstream)))
    up.request()
    head = response(None, "Transfer-Encoding: chunked")
    up.send(head)
    sent = len(head)
    while not is_held_back(stepper):
        up.send(CHUNK)
        sent += len(CHUNK)
        stepper.settle()
    up.send(CHUNK)
    stepper.settle()
    received = read_what_is_there(down.sock)
    up.send(b"0\r\n\r\n")
    sent += len(CHUNK) + 5
    stepper.settle()
    while received < sent:
        received += read_what_is_there(down.sock)
        stepper.settle()
    assert stepper.live()["upstreams"] == 1
    down.send(request("/next"))
    stepper.settle()
    assert up.request().line == b"GET /next HTTP/1.1"


def test_room_that_the_last_tick_made_is_used_at_once(stepper: Stepper) -> None:
    """A connection is closed at the end of its tick; no event, and no timer, brings the next."""
    far_ms = 600_000
    stepper.publish(
        2, pool_connections_max=1, detect_ms=far_ms, head_ms=far_ms, connect_explicit_ms=far_ms
    )
    first = Stream(stepper.connect())
    first.send(request("/1"))
    stepper.settle()
    stepper.rig.keep(accepted(stepper.upstream))
    stepper.settle()
    late = Stream(stepper.connect())
    late.send(request("/2"))
    stepper.settle()
    reset(first.sock)
    stepper.tick_until("its end", lambda: stepper.live()["connections"] == 1)
    tick = stepper.rig.background(stepper.engine.tick, 0, int(PATIENCE_S * 1500))
    stepper.rig.keep(accepted(stepper.upstream))
    tick.result(PATIENCE_S)  # accepted is not returned: nothing may end the engine before
