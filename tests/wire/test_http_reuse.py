"""Connections to upstreams: kept, used again, bounded, and dropped as soon as they are doubtful."""

import pytest

from tests.support.http import END, Message, Stream, Talk, refusal, request, response, talk_once
from tests.support.memory import allowance
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_reset, expect_silence, fill_until_blocked, reset
from tests.support.transfers import MIB
from tests.support.waiting import eventually


def serve(up: Stream, body: bytes) -> None:
    up.request()
    up.send(response(body))


def pool(route: Route, state: str) -> float:
    return route.proxy.metrics()("remora_http_pool_connections", state=state)


def retried(route: Route) -> float:
    return route.proxy.metrics()("remora_events_total", event="retried")


# ---- reuse --------------------------------------------------------------------------------------


def test_one_upstream_connection_serves_many_requests_of_many_downstreams(route: Route) -> None:
    talk, up = talk_once(route)
    for number in range(20):
        body = b"%d" % number
        each = talk if number % 3 else Talk(route)
        asked, answered = each.exchange(up, request(f"/{number}"), response(body))
        assert (asked.line, answered.body) == (b"GET /%d HTTP/1.1" % number, body)
    assert pool(route, "idle") == 1
    expect_silence(route.upstream, 0.05)


def test_the_one_that_was_used_last_is_used_next(route: Route) -> None:
    first, second = Talk(route), Talk(route)
    _, up_first = first.ask(request("/1"))
    _, up_second = second.ask(request("/2"))
    for talk, up in ((first, up_first), (second, up_second)):
        up.send(response(b""))
        assert talk.down.response().status == 200
    asked, _ = Talk(route).exchange(up_second, request("/3"), response(b""))
    assert asked.line == b"GET /3 HTTP/1.1"
    expect_silence(up_first.sock, 0.05)


def test_an_idle_connection_is_closed_after_its_time(rig: Rig) -> None:
    route = rig.route("--http-pool-idle-timeout", "300ms")
    _, up = talk_once(route)
    expect_silence(up.sock, 0.1)
    up.expect_end()
    eventually("an empty pool", lambda: pool(route, "idle") == 0)


def test_an_upstream_that_says_close_is_not_used_again(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(response(b"bye", "Connection: close"))
    answered = talk.down.response()
    assert (answered.body, answered.get(b"connection")) == (b"bye", None)
    up.expect_gone()
    _, up = talk.ask(request())
    up.send(response(b"hello again"))
    assert talk.down.response().body == b"hello again"


def test_a_downstream_that_says_close_is_closed_and_the_upstream_kept(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(request("/", "Connection: close"))
    assert asked.get(b"connection") is None
    up.send(response(b"bye"))
    answered = talk.down.response()
    assert (answered.body, answered.get(b"connection")) == (b"bye", b"close")
    talk.down.expect_end()
    asked, _ = Talk(route).exchange(up, request("/other"), response(b""))
    assert asked.line == b"GET /other HTTP/1.1"


def test_two_downstreams_at_once_have_an_upstream_connection_each(route: Route) -> None:
    first, second = Talk(route), Talk(route)
    _, up_first = first.ask(request("/1"))
    _, up_second = second.ask(request("/2"))
    up_second.send(response(b"2"))
    assert second.down.response().body == b"2"
    up_first.send(response(b"1"))
    assert first.down.response().body == b"1"


# ---- doubtful connections -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["fin", "reset"])
def test_an_idle_connection_that_ends_is_forgotten(route: Route, ending: str) -> None:
    talk, up = talk_once(route)
    if ending == "fin":
        up.sock.close()
    else:
        reset(up.sock)
    eventually("an empty pool", lambda: pool(route, "idle") == 0)
    _, up = talk.ask(request("/post", method="POST", body=b"once"))
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"
    assert retried(route) == 0


def test_an_idle_connection_that_speaks_is_dropped_and_its_words_reach_nobody(
    route: Route,
) -> None:
    talk, up = talk_once(route)
    up.send(response(b"poison"))
    up.expect_gone()
    asked, up = talk.ask(request("/clean"))
    assert asked.line == b"GET /clean HTTP/1.1"
    up.send(response(b"clean"))
    assert talk.down.response().body == b"clean"


def test_words_that_come_with_the_next_request_are_not_its_answer(route: Route) -> None:
    """Even when the proxy meets both in one look."""
    talk, up = talk_once(route)
    with route.proxy.held():
        up.send(response(b"poison"))
        talk.down.send(request("/clean"))
    up.expect_gone()
    clean = talk.accept()
    assert clean.request().line == b"GET /clean HTTP/1.1"
    clean.send(response(b"clean"))
    assert talk.down.response().body == b"clean"


def test_words_that_come_right_behind_the_next_request_are_not_its_answer(route: Route) -> None:
    """The other way round: both wait for the proxy, so it has not asked yet, and can know."""
    talk, up = talk_once(route)
    with route.proxy.held():
        talk.down.send(request("/clean"))
        up.send(response(b"poison"))
    up.expect_gone()
    clean = talk.accept()
    assert clean.request().line == b"GET /clean HTTP/1.1"
    clean.send(response(b"clean"))
    assert talk.down.response().body == b"clean"


# ---- the keep-alive race ------------------------------------------------------------------------


def lose_the_race(talk: Talk, up: Stream, text: bytes, ending: str) -> Message:
    """The upstream closes its idle connection; the proxy learns of it after it sent a request."""
    talk.down.send(text)
    asked = up.request()
    if ending == "fin":
        up.sock.close()
    else:
        reset(up.sock)
    return asked


@pytest.mark.parametrize("ending", ["fin", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"])
def test_a_race_lost_by_a_request_that_may_be_sent_twice_is_invisible(
    route: Route, method: str, ending: str
) -> None:
    talk, up = talk_once(route)
    first = lose_the_race(talk, up, request("/again?x", "X: y", method=method), ending)
    again = talk.accept()
    asked = again.request()
    assert asked == first
    assert asked.line == f"{method} /again?x HTTP/1.1".encode()
    assert asked.came() == [(b"Host", b"a.example"), (b"X", b"y")]
    again.send(response(b"", "X-From: the second"))
    assert talk.down.response(method).get(b"x-from") == b"the second"
    assert retried(route) == 1
    _, answered = talk.exchange(again, request("/next"), response(b"next"))
    assert answered.body == b"next"


@pytest.mark.parametrize("ending", ["fin", "reset"])
@pytest.mark.parametrize(
    "text",
    [
        request(method="POST", body=b"pay"),
        request(method="POST"),
        request(method="PATCH", body=b"x"),
    ],
    ids=["POST", "POST-without-a-body", "PATCH"],
)
def test_a_race_lost_by_any_other_is_an_honest_503(route: Route, text: bytes, ending: str) -> None:
    talk, up = talk_once(route)
    lose_the_race(talk, up, text, ending)
    assert talk.down.until(END) + talk.down.exactly(24) == refusal(
        503, b"upstream_closed", closes=False
    )
    expect_silence(route.upstream, 0.1)
    assert retried(route) == 0


def test_a_second_race_lost_in_a_row_is_told(route: Route) -> None:
    talk, up = talk_once(route)
    lose_the_race(talk, up, request("/again"), "fin")
    again = talk.accept()
    again.request()
    again.sock.close()
    assert talk.down.response().get(b"remora-error") == b"upstream_closed"
    expect_silence(route.upstream, 0.1)


def test_an_answer_that_has_begun_is_never_asked_for_again(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/half"))
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    up.sock.close()
    assert talk.down.response().get(b"remora-error") == b"upstream_closed"
    expect_silence(route.upstream, 0.1)


def test_a_new_connection_that_closes_at_once_is_told_and_not_tried_again(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.sock.close()
    assert talk.down.response().get(b"remora-error") == b"upstream_closed"
    expect_silence(route.upstream, 0.1)


def test_an_interim_answer_is_an_answer_that_has_begun(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request())
    up.request()
    up.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert talk.down.response().status == 103
    up.sock.close()
    assert talk.down.response().get(b"remora-error") == b"upstream_closed"
    expect_silence(route.upstream, 0.1)


# ---- bounds -------------------------------------------------------------------------------------


def test_a_request_beyond_the_limit_waits_for_its_turn(rig: Rig) -> None:
    route = rig.route("--http-pool-max", "2")
    talks = [Talk(route) for _ in range(2)]
    ups = [talk.ask(request(f"/{number}"))[1] for number, talk in enumerate(talks)]
    late = [Talk(route) for _ in range(3)]
    for number, talk in enumerate(late):
        talk.down.send(request(f"/late{number}"))
        metrics = "remora_http_pool_waiting_requests"
        eventually("the wait", lambda: route.proxy.metrics()(metrics) == number + 1)  # noqa: B023
    for number in range(len(late)):
        ups[0].send(response(b"done"))
        done = talks[0] if number == 0 else late[number - 1]
        assert done.down.response().body == b"done"
        assert ups[0].request().line == b"GET /late%d HTTP/1.1" % number
    ups[0].send(response(b"last"))
    assert late[-1].down.response().body == b"last"
    assert pool(route, "idle") == 1


def test_whoever_waits_too_long_is_told(rig: Rig) -> None:
    route = rig.route("--http-pool-max", "1", "--connect-timeout", "300ms")
    talk = Talk(route)
    _, up = talk.ask(request("/1"))
    late = Talk(route)
    late.down.send(request("/2"))
    assert late.down.rest() == refusal(504, b"queue_timeout")
    up.send(response(b"in time"))
    assert talk.down.response().body == b"in time"
    _, answered = talk.exchange(up, request("/3"), response(b"3"))
    assert answered.body == b"3"


def test_who_leaves_the_queue_leaves_no_gap(rig: Rig) -> None:
    route = rig.route("--http-pool-max", "1")
    talk = Talk(route)
    _, up = talk.ask(request("/1"))
    late = [Talk(route) for _ in range(3)]
    waiting = "remora_http_pool_waiting_requests"
    for number, each in enumerate(late):
        each.down.send(request(f"/late{number}"))
        eventually("the wait", lambda: route.proxy.metrics()(waiting) == number + 1)  # noqa: B023
    reset(late[1].down.sock)
    eventually("one less", lambda: route.proxy.metrics()(waiting) == 2)
    for number, each in ((0, talk), (2, late[0])):
        up.send(response(b"ok"))
        assert each.down.response().body == b"ok"
        assert up.request().line == b"GET /late%d HTTP/1.1" % number


def test_a_connection_that_dies_while_others_wait_makes_room(rig: Rig) -> None:
    route = rig.route("--http-pool-max", "1")
    talk = Talk(route)
    _, up = talk.ask(request("/1"))
    late = Talk(route)
    late.down.send(request("/2"))
    waiting = "remora_http_pool_waiting_requests"
    eventually("the wait", lambda: route.proxy.metrics()(waiting) == 1)
    reset(up.sock)
    assert talk.down.response().get(b"remora-error") == b"upstream_closed"
    again = talk.accept()
    serve(again, b"2")
    assert late.down.response().body == b"2"


# ---- pipelining ---------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(route: Route) -> None:
    talk, up = talk_once(route)
    count = 50
    text = b"".join(
        request(f"/{n}", method="POST", body=b"b" * n) if n % 2 else request(f"/{n}")
        for n in range(count)
    )
    talk.down.send(text)
    for number in range(count):
        asked = up.request()
        assert asked.line.split(b" ")[1] == b"/%d" % number
        assert len(asked.body) == (number if number % 2 else 0)
        expect_silence(up.sock, 0.001)
        up.send(response(b"%d" % number))
    for number in range(count):
        assert talk.down.response().body == b"%d" % number


def test_pipelined_requests_cut_anywhere_are_the_same(route: Route) -> None:
    talk, up = talk_once(route)
    text = request("/a", method="POST", body=b"abc") + request("/b")
    for cut in range(1, len(text)):
        talk.down.send(text[:cut])
        asked = [up.request()] if cut >= len(text) - len(request("/b")) else []
        talk.down.send(text[cut:])
        asked = asked or [up.request()]
        up.send(response(b"a"))
        assert talk.down.response().body == b"a"
        asked.append(up.request())
        up.send(response(b"b"))
        assert talk.down.response().body == b"b"
        assert [message.line.split(b" ")[1] for message in asked] == [b"/a", b"/b"]


def test_a_pipelining_downstream_that_closes_gives_up_what_has_no_answer_yet(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/1") + request("/2") + request("/3"))
    assert up.request().line == b"GET /1 HTTP/1.1"
    up.send(response(b"1"))
    assert talk.down.response().body == b"1"
    assert up.request().line == b"GET /2 HTTP/1.1"
    talk.down.sock.close()
    expect_reset(up.sock)


def test_a_downstream_that_pipelines_without_end_is_blocked_and_costs_bounded_memory(
    route: Route,
) -> None:
    talk, up = talk_once(route)
    before = route.proxy.private_bytes()
    text = request("/x" * 500) * 1_000
    sent_bytes = fill_until_blocked(talk.down.sock, text)
    assert sent_bytes > MIB
    assert route.proxy.private_bytes() - before < allowance(2 * MIB)
    for _ in range(100):
        assert len(up.request().line) == 1_013
        up.send(response(b""))
        assert talk.down.response().status == 200


def test_requests_pipelined_behind_close_are_not_served(route: Route) -> None:
    talk, up = talk_once(route)
    talk.down.send(request("/last", "Connection: close") + request("/never"))
    assert up.request().line == b"GET /last HTTP/1.1"
    up.send(response(b"last"))
    assert talk.down.response().body == b"last"
    talk.down.expect_end()
    expect_silence(up.sock, 0.05)
