"""An upstream that cannot be had: the downstream is reset, and the reason is counted by name."""

from tests.support.rig import Rig
from tests.support.sockets import (
    accepted,
    address_of,
    connected,
    expect_refusal,
    expect_reset,
    expect_silence,
    receive_exactly,
    reset,
)
from tests.support.waiting import eventually

# RFC 5771: all hosts on this link. TCP to a group is refused by every kernel, route or not.
UNREACHABLE = ("224.0.0.1", 9)


def test_a_refused_connect_resets_the_downstream(rig: Rig) -> None:
    closed_port = rig.bind()
    proxy = rig.start_to(address_of(closed_port))
    expect_refusal(proxy.listeners("explicit")[0])
    proxy.wait_closed("connect_refused")


def test_an_unreachable_upstream_resets_the_downstream(rig: Rig) -> None:
    proxy = rig.start_to(UNREACHABLE)
    expect_refusal(proxy.listeners("explicit")[0])
    proxy.wait_closed("connect_unreachable")


def test_an_upstream_that_never_answers_is_given_up_after_the_connect_timeout(rig: Rig) -> None:
    full = rig.full_listener()
    proxy = rig.start_to(address_of(full), "--connect-timeout", "300ms")
    downstream = rig.connect(proxy.listeners("explicit")[0])
    expect_silence(downstream, 0.2)
    expect_reset(downstream)
    proxy.wait_closed("connect_timeout")


def test_an_upstream_that_comes_up_later_is_reached(rig: Rig) -> None:
    upstream = rig.bind()
    proxy = rig.start_to(address_of(upstream))
    address = proxy.listeners("explicit")[0]
    expect_refusal(address)
    upstream.listen()
    downstream = rig.connect(address)
    rig.keep(accepted(upstream)).sendall(b"up now")
    assert receive_exactly(downstream, 6) == b"up now"


def test_an_upstream_that_answers_late_gets_what_was_sent_meanwhile(rig: Rig) -> None:
    """Its backlog frees up after the first SYN was dropped; TCP retries after a second."""
    full = rig.full_listener()
    proxy = rig.start_to(address_of(full))
    downstream = rig.connect(proxy.listeners("explicit")[0])
    downstream.sendall(b"patience")
    eventually("the dial to begin", lambda: proxy.metrics()("tcp_open_connections") == 1)
    expect_silence(downstream)
    accepted(full).close()
    assert receive_exactly(rig.keep(accepted(full)), 8) == b"patience"


def test_a_downstream_that_resets_during_the_dial_ends_the_dial(rig: Rig) -> None:
    full = rig.full_listener()
    proxy = rig.start_to(address_of(full))
    downstream = connected(proxy.listeners("explicit")[0])
    eventually("the dial to begin", lambda: proxy.metrics()("tcp_open_connections") == 1)
    reset(downstream)
    proxy.wait_closed("downstream_reset")


def test_an_upstream_that_resets_right_after_accepting_resets_the_downstream(rig: Rig) -> None:
    route = rig.route()
    for _ in range(20):
        downstream = route.connect()
        reset(route.accept())
        expect_reset(downstream)
    route.proxy.wait_closed("upstream_reset", count=20)


def test_failed_dials_leave_nothing_open(rig: Rig) -> None:
    closed_port = rig.bind()
    proxy = rig.start_to(address_of(closed_port))
    before = proxy.fds()
    address = proxy.listeners("explicit")[0]
    for _ in range(4):
        for future in [rig.background(expect_refusal, address) for _ in range(50)]:
            future.result()
    proxy.wait_closed("connect_refused", count=200)
    eventually("the descriptors to be back", lambda: len(proxy.fds()) <= len(before) + 1)
