"""No file descriptor left: the proxy waits without spinning, and recovers by itself."""

import contextlib
import itertools
import resource
import socket

import pytest

from tests.support.rig import Pair, Rig, Route
from tests.support.sockets import expect_silence, receive_exactly, receive_until_end
from tests.support.waiting import eventually

WAITING = 20


def limit_fds(route: Route, count: int) -> None:
    """Leave the proxy `count` more descriptors than it has now, gaps in their numbers included."""
    free = itertools.filterfalse(route.proxy.fds().__contains__, itertools.count())
    limit = next(itertools.islice(free, count, None))
    resource.prlimit(route.proxy.pid, resource.RLIMIT_NOFILE, (limit, limit))


@pytest.fixture(params=[4, 5], ids=["none-left", "one-left"])
def starved(rig: Rig, request: pytest.FixtureRequest) -> Route:
    """Two connections take four descriptors; the fifth is enough to accept, not to dial."""
    route = rig.route()
    limit_fds(route, request.param)
    return route


def knock(route: Route) -> list[socket.socket]:
    """Twenty more downstreams; whom the proxy has refused already is not among the returned."""
    waiting = []
    for _ in range(WAITING):
        with contextlib.suppress(ConnectionResetError):
            waiting.append(route.connect())
    return waiting


def leave(pairs: list[Pair]) -> None:
    for pair in pairs:
        pair.downstream.close()
        pair.upstream.close()


def answer_everybody(route: Route) -> None:
    """Play an upstream that answers "yes" to all who speak, until the listener is closed."""
    while True:
        try:
            upstream = route.accept()
        except OSError:
            return
        with upstream, contextlib.suppress(ConnectionResetError):
            if upstream.recv(64):
                upstream.sendall(b"yes")


def answer_to(downstream: socket.socket) -> bytes:
    """Return what came of a question: "yes", or "reset"."""
    with downstream:
        try:
            downstream.sendall(b"anyone?")
            return receive_until_end(downstream)
        except (ConnectionResetError, BrokenPipeError):
            return b"reset"


def is_served(route: Route) -> bool:
    try:
        return answer_to(route.connect()) == b"yes"
    except ConnectionResetError:
        return False


def test_open_connections_are_unharmed_while_others_find_no_descriptor(starved: Route) -> None:
    pairs = starved.pairs(2)
    knock(starved)
    for pair in pairs:
        pair.downstream.sendall(b"unharmed")
        assert receive_exactly(pair.upstream, 8) == b"unharmed"


def test_the_wait_for_descriptors_takes_no_processor_time(starved: Route) -> None:
    pairs = starved.pairs(2)
    knock(starved)
    before = starved.proxy.cpu_seconds()
    expect_silence(pairs[0].upstream, 1.0)
    assert starved.proxy.cpu_seconds() - before < 0.1


def test_whoever_waits_in_the_backlog_keeps_the_place_there(rig: Rig) -> None:
    """One descriptor short of a connection is no reason to refuse it: there will be others."""
    route = rig.route()
    limit_fds(route, 5)
    pairs = route.pairs(2)
    rig.background(answer_everybody, route)
    waiting = knock(route)
    expect_silence(pairs[0].upstream, 1.0)
    leave(pairs)
    answers = [answer_to(sock) for sock in waiting]
    assert answers.count(b"yes") >= WAITING - 1


def test_it_recovers_when_descriptors_are_free_again(starved: Route) -> None:
    pairs = starved.pairs(2)
    starved.rig.background(answer_everybody, starved)
    waiting = knock(starved)
    leave(pairs)
    for sock in waiting:
        sock.close()
    eventually("a new connection to be served", lambda: is_served(starved))


def test_those_who_waited_are_served_or_told_in_the_end(starved: Route) -> None:
    pairs = starved.pairs(2)
    starved.rig.background(answer_everybody, starved)
    waiting = knock(starved)
    leave(pairs)
    answers = [answer_to(sock) for sock in waiting]
    assert set(answers) <= {b"yes", b"reset"}
    assert b"yes" in answers


def test_the_wait_is_counted(starved: Route) -> None:
    pairs = starved.pairs(2)
    starved.rig.background(answer_everybody, starved)
    waiting = knock(starved)
    leave(pairs)
    for sock in waiting:
        sock.close()
    eventually("a new connection to be served", lambda: is_served(starved))
    assert starved.proxy.metrics()("remora_events_total", event="accept_paused") > 0
