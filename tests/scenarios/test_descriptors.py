"""No file descriptor left: the proxy waits without spinning, and recovers by itself."""

import resource

import pytest

from tests.support.rig import Rig, Route
from tests.support.sockets import expect_silence, receive_exactly, receive_until_end
from tests.support.waiting import eventually

# Enough for two whole connections (two sockets each) and for half of a third one.
FREE_FDS = 5


def limit_fds(route: Route, count: int) -> None:
    """Leave the proxy `count` more descriptors than it has now."""
    highest = max(route.proxy.fds()) + 1
    resource.prlimit(route.proxy.pid, resource.RLIMIT_NOFILE, (highest + count, highest + count))


@pytest.fixture
def starved(rig: Rig) -> Route:
    route = rig.route()
    route.proxy.status()
    limit_fds(route, FREE_FDS)
    return route


def served(route: Route) -> bool:
    """Whether a new connection gets through, now."""
    with route.rig.connect(route.address) as downstream:
        downstream.settimeout(1)
        try:
            downstream.sendall(b"anyone?")
            return receive_until_end(downstream) == b"yes"
        except (TimeoutError, ConnectionResetError):
            return False


def answer_everybody(route: Route) -> None:
    """Play an upstream that answers "yes" to all, until the listener is closed."""
    while True:
        try:
            upstream = route.accept()
        except OSError:
            return
        with upstream:
            try:
                if upstream.recv(64):
                    upstream.sendall(b"yes")
            except ConnectionResetError:
                continue


def test_two_connections_work_while_others_find_no_descriptor(starved: Route) -> None:
    pairs = starved.pairs(2)
    waiting = [starved.connect() for _ in range(20)]
    for pair in pairs:
        pair.downstream.sendall(b"unharmed")
        assert receive_exactly(pair.upstream, 8) == b"unharmed"
    assert waiting


def test_the_wait_for_descriptors_takes_no_processor_time(starved: Route) -> None:
    pairs = starved.pairs(2)
    waiting = [starved.connect() for _ in range(20)]
    before = starved.proxy.cpu_seconds()
    expect_silence(pairs[0].upstream, 2.0)
    assert starved.proxy.cpu_seconds() - before < 0.2
    assert waiting


def test_it_recovers_when_descriptors_are_free_again(starved: Route) -> None:
    pairs = starved.pairs(2)
    waiting = [starved.connect() for _ in range(20)]
    for pair in pairs:
        pair.downstream.close()
        pair.upstream.close()
    for sock in waiting:
        sock.close()
    starved.rig.background(answer_everybody, starved)
    eventually("a new connection to be served", lambda: served(starved))


def test_those_who_waited_are_served_or_told_in_the_end(starved: Route) -> None:
    pairs = starved.pairs(2)
    waiting = [starved.connect() for _ in range(20)]
    for sock in waiting:
        sock.sendall(b"me?")
    for pair in pairs:
        pair.downstream.close()
        pair.upstream.close()
    starved.rig.background(answer_everybody, starved)
    answers = []
    for sock in waiting:
        try:
            answers.append(receive_until_end(sock))
        except ConnectionResetError:
            answers.append(b"reset")
        sock.close()
    assert set(answers) <= {b"yes", b"reset"}
    assert b"yes" in answers


def test_the_pause_is_counted(starved: Route) -> None:
    admin = starved.proxy.admin_address()
    assert admin
    held = [starved.connect() for _ in range(20)]
    for sock in held:
        sock.close()
    eventually(
        "an event accept_paused or a connection closed for want of descriptors",
        lambda: starvation_count(starved) > 0,
    )


def starvation_count(route: Route) -> float:
    metrics = route.proxy.metrics()
    paused = metrics("remora_events_total", event="accept_paused")
    return paused + metrics("tcp_close_total", reason="no_fds")
