"""The end of a proxy that has HTTP connections: none is cut that could be finished."""

import signal

from tests.support.http import Stream, Talk, request, response, talk_once
from tests.support.process import ctl
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_reset
from tests.support.waiting import eventually


def begin_drain(route: Route) -> None:
    route.proxy.signal(signal.SIGTERM)
    eventually("the drain", lambda: route.proxy.logged("draining"))


def test_idle_keep_alive_connections_do_not_hold_up_the_end(route: Route) -> None:
    talk, up = talk_once(route)
    others = [Talk(route) for _ in range(5)]
    for other in others:
        other.exchange(up, request(), response(b""))
    route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit(seconds=3) == 0
    for each in (talk, *others):
        each.down.expect_end()
    up.expect_end()


def test_a_request_under_way_is_finished_and_then_its_connection_closed(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/slow"))
    up.request()
    begin_drain(route)
    up.send(response(b"finished"))
    answered = talk.down.response()
    assert (answered.body, answered.get(b"connection")) == (b"finished", b"close")
    talk.down.expect_end()
    assert route.proxy.wait_exit() == 0


def drain_with_time(rig: Rig) -> tuple[Talk, Stream]:
    """A proxy whose preStop hook was called, and that takes newcomers in for a long time yet."""
    talk, up = talk_once(rig.route("--drain-delay", "20s"))
    ctl(talk.route.proxy, "drain")
    return talk, up


def test_while_newcomers_are_taken_in_each_answer_ends_its_connection(rig: Rig) -> None:
    talk, up = drain_with_time(rig)
    _, answered = talk.exchange(up, request("/next"), response(b"the last"))
    assert (answered.body, answered.get(b"connection")) == (b"the last", b"close")
    talk.down.expect_end()


def test_a_newcomer_during_the_delay_is_answered_once(rig: Rig) -> None:
    talk, up = drain_with_time(rig)
    late = Talk(talk.route)
    _, answered = late.exchange(up, request("/late"), response(b"welcome"))
    assert (answered.body, answered.get(b"connection")) == (b"welcome", b"close")
    late.down.expect_end()


def test_an_idle_connection_is_left_alone_while_newcomers_are_taken_in(rig: Rig) -> None:
    """A request may be on its way to it."""
    talk, up = drain_with_time(rig)
    late = Talk(talk.route)
    late.exchange(up, request("/late"), response(b""))
    late.down.expect_end()
    _, answered = talk.exchange(up, request("/still"), response(b"here"))
    assert answered.body == b"here"
    talk.route.proxy.signal(signal.SIGTERM)
    assert talk.route.proxy.wait_exit() == 0


def test_a_long_answer_under_way_is_finished(rig: Rig) -> None:
    talk, up = talk_once(rig.route())
    talk.down.send(request("/long"))
    up.request()
    size = 20 << 20
    up.send(response(None, f"Content-Length: {size}"))
    talk.down.head()
    begin_drain(talk.route)
    sending = rig.background(up.send, bytes(size))
    assert talk.down.exactly(size) == bytes(size)
    sending.result()
    talk.down.expect_end()
    assert talk.route.proxy.wait_exit() == 0


def test_a_body_under_way_is_taken_and_answered(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/up", "Content-Length: 10", method="POST") + b"12345")
    up.head()
    begin_drain(route)
    talk.down.send(b"67890")
    assert up.exactly(10) == b"1234567890"
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"
    talk.down.expect_end()
    assert route.proxy.wait_exit() == 0


def test_a_request_that_waits_for_a_connection_is_served(rig: Rig) -> None:
    route = rig.route("--http-pool-max", "1")
    talk, up = talk_once(route)
    talk.down.send(request("/1"))
    up.request()
    late = Talk(route)
    late.down.send(request("/2"))
    waiting = "remora_http_pool_waiting_requests"
    eventually("the wait", lambda: route.proxy.metrics()(waiting) == 1)
    begin_drain(route)
    up.send(response(b"1"))
    assert talk.down.response().body == b"1"
    up.request()
    up.send(response(b"2"))
    assert late.down.response().body == b"2"
    assert route.proxy.wait_exit() == 0


def test_at_the_deadline_the_rest_is_reset(rig: Rig) -> None:
    talk, up = talk_once(rig.route("--drain-deadline", "300ms"))
    talk.down.send(request("/never"))
    up.request()
    begin_drain(talk.route)
    expect_reset(talk.down.sock)
    expect_reset(up.sock)
    assert talk.route.proxy.wait_exit() == 0


def test_a_tunnel_lasts_until_the_deadline(rig: Rig) -> None:
    route = rig.route("--drain-deadline", "1s")
    talk = Talk(route)
    _, up = talk.ask(request("/", "Connection: upgrade", "Upgrade: x"))
    up.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    assert talk.down.head().status == 101
    begin_drain(route)
    talk.down.send(b"still here")
    assert up.exactly(10) == b"still here"
    expect_reset(talk.down.sock)
    assert route.proxy.wait_exit() == 0


def test_a_stop_in_the_middle_of_everything_leaves_nothing(rig: Rig) -> None:
    """The rig looks at the last words: every counter of live objects is zero."""
    route = rig.route("--drain-deadline", "0", "--http-pool-max", "3")
    _, idle = talk_once(route)
    half_head, half_body, answering, waiting = (Talk(route) for _ in range(4))
    half_head.down.send(b"GET / HT")
    half_body.down.send(request("/", "Content-Length: 10", method="POST") + b"123")
    idle.head()
    answering.down.send(request())
    up = answering.accept()
    up.request()
    up.send(response(None, "Transfer-Encoding: chunked") + b"5\r\nhel")
    answering.down.head()
    third = Talk(route)
    third.ask(request())
    waiting.down.send(request())
    metric = "remora_http_pool_waiting_requests"
    eventually("the wait", lambda: route.proxy.metrics()(metric) == 1)
    route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit(seconds=3) == 0
    route.proxy.check_nothing_left()
