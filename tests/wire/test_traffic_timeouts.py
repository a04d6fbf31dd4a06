"""Deadlines of services: each has its word and its flag, and leaves nothing behind."""

from typing import Any, Final

import pytest

from tests.support.http import Message, Stream, Talk, request, response
from tests.support.rig import Route
from tests.support.services import EAGER, NEVER_OUT, Backend, Cluster
from tests.support.sockets import expect_reset, expect_silence
from tests.support.traffic import Object, route, rule, to
from tests.support.waiting import eventually

SHORT: Final = "250ms"
CLOSE: Final = "Connection: close"
LINE: Final = 150  # requests that take more than a millisecond together
ALONE: Final[Object] = {"http": {"http2MaxRequests": 1}}  # one request at a time
ONE: Final[Object] = {"tcp": {"maxConnections": 1}}


def web(
    cluster: Cluster,
    count: int = 1,
    *flags: str,
    pool: Object | None = None,
    full: tuple[int, ...] = (),
    **annotations: str,
) -> Backend:
    said = EAGER | {name.replace("_", "-"): text for name, text in annotations.items()}
    policy: Object = {"outlierDetection": NEVER_OUT, "connectionPool": pool or {}}
    backend = cluster.service("web", count, full=full, policy=policy, annotations=said)
    cluster.start(*flags)
    return backend


def told(cluster: Cluster, answered: Message, word: bytes, flag: str, event: str = "") -> None:
    assert (answered.status, answered.get(b"remora-error")) == (504, word)
    assert cluster.ended(504, flag) == 1
    if event:
        assert cluster.event(event) == 1


def still_serves(cluster: Cluster) -> None:
    """One request at a time is allowed, and it is."""
    eventually("its end", lambda: cluster.proxy.live()["exchanges"] == 0)
    cluster.served(request("/next", "remora-timeout-ms: 20000"))


def deadline(cluster: Cluster, answered: Message) -> None:
    told(cluster, answered, b"request_deadline", "UMSDR", "timeout_request")


# ---- the whole request --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_silent_upstream_is_given_up_at_the_deadline(cluster: Cluster, method: str) -> None:
    backend = web(cluster, 2, pool=ALONE, timeout=SHORT)
    down = cluster.connect()
    down.send(request("/", method=method))
    up = backend.accept()
    up.request()
    deadline(cluster, down.response())
    up.expect_gone()
    backend.expect_no_more()
    still_serves(cluster)


def test_a_deadline_ends_a_dial(cluster: Cluster) -> None:
    web(cluster, 1, full=(0,), pool=ALONE, timeout=SHORT)
    deadline(cluster, cluster.ask(request("/")))


def test_a_deadline_ends_a_wait_in_the_queue(cluster: Cluster) -> None:
    backend = web(cluster, 1, pool=ONE, timeout="20s")
    first, late = cluster.connect(), cluster.connect()
    first.send(request("/1"))
    up = backend.accept()
    up.request()
    late.send(request("/2", f"remora-timeout-ms: {SHORT[:3]}"))
    deadline(cluster, late.response())
    up.send(response(b"1"))
    assert first.response().body == b"1"
    late = cluster.connect()
    late.send(request("/3"))
    assert up.request().line == b"GET /3 HTTP/1.1"
    up.send(response(b"3"))
    assert late.response().body == b"3"


def test_a_pause_that_would_miss_the_deadline_is_not_made(cluster: Cluster) -> None:
    backend = web(cluster, 2, timeout="5s", retry_backoff="10s", retry_codes="503")
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    up.send(response(b"busy", CLOSE, status="503 Busy"))
    assert down.response().body == b"busy"


def test_a_deadline_in_the_second_try_counts_from_the_first(cluster: Cluster) -> None:
    backend = web(cluster, 2, pool=ALONE, timeout="500ms")
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    left = int(first.request().get(b"remora-timeout-ms") or b"0")
    first.sock.close()
    second = backend.accept(but=[first.number])
    assert 0 < int(second.request().get(b"remora-timeout-ms") or b"0") <= left <= 500
    deadline(cluster, down.response())
    second.expect_gone()


def test_a_deadline_ends_a_body_that_flows(cluster: Cluster) -> None:
    backend = web(cluster, 1, pool=ALONE, timeout=SHORT)
    down = cluster.connect()
    text = request("/", method="PUT", body=b"x" * 100)
    down.send(text[:-50])
    up = backend.accept()
    answered = down.response()
    deadline(cluster, answered)
    assert answered.get(b"connection") == b"close"
    down.sock.close()
    up.until(b"x" * 50)
    up.expect_gone()


def test_a_deadline_cuts_an_answer_that_flows(cluster: Cluster) -> None:
    backend = web(cluster, 1, pool=ALONE, timeout=SHORT)
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    up.send(response(b"0123456789")[:-5])
    assert down.until(b"01234")
    expect_reset(down.sock)
    up.expect_gone()
    eventually("its end", lambda: cluster.ended(200, "UMSDR"))
    still_serves(cluster)


def test_an_answer_in_time_is_not_disturbed_by_its_deadline_later(cluster: Cluster) -> None:
    backend = web(cluster, 1, timeout=SHORT)
    down = cluster.connect()
    down.send(request("/1"))
    up = backend.accept()
    up.request()
    up.send(response(b"1"))
    assert down.response().body == b"1"
    expect_silence(down.sock, 0.4)
    down.send(request("/2"))
    assert up.request().line == b"GET /2 HTTP/1.1"
    up.send(response(b"2"))
    assert down.response().body == b"2"


def test_the_times_of_a_rule_go_before_those_of_the_service(cluster: Cluster) -> None:
    cluster.service("web", 1, annotations={"timeout": "20s"})
    cluster.add(route("r", rule(to("web"), path="/", timeouts={"request": SHORT})))
    cluster.start()
    down = cluster.connect()
    down.send(request("/"))
    up = cluster.backends["web"].accept()
    assert int(up.request().get(b"remora-timeout-ms") or b"0") <= 250
    deadline(cluster, down.response())


# ---- what is told of it, both ways --------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "most"),
    [("", 10_000), ("5000", 5_000), ("60000", 10_000), ("x", 10_000), ("-1", 10_000)],
)
def test_what_is_left_is_passed_on_and_a_nearer_deadline_obeyed(
    cluster: Cluster, said: str, most: int
) -> None:
    web(cluster, timeout="10s")
    fields = [f"Remora-Timeout-Ms: {said}"] if said else []
    asked, _ = cluster.served(request("/", *fields))
    values = asked.all(b"remora-timeout-ms")
    assert len(values) == 1
    assert most - 4_000 < int(values[0]) <= most


def test_never_more_is_passed_on_than_was_given_however_long_the_line(cluster: Cluster) -> None:
    backend = web(cluster, timeout="10s")
    downs = [cluster.connect() for _ in range(LINE)]
    for down in downs:  # each has an upstream of its own, which stays
        down.send(request("/first"))
    ups = [backend.accept() for _ in downs]
    for up in ups:
        up.request()
        up.send(response())
    for down in downs:
        assert down.response().status == 200
    with cluster.proxy.held():  # all of them are found by one look
        for down in downs:
            down.send(request("/"))
    left = [int(up.request().get(b"remora-timeout-ms") or b"0") for up in ups]
    assert max(left) <= 10_000
    for up in ups:
        up.send(response())


def test_a_deadline_of_the_downstream_holds_without_one_of_ours(cluster: Cluster) -> None:
    web(cluster)
    down = cluster.connect()
    down.send(request("/", "remora-timeout-ms: 200"))
    deadline(cluster, down.response())


def test_a_deadline_that_is_over_already_is_told_at_once(cluster: Cluster) -> None:
    web(cluster)
    deadline(cluster, cluster.ask(request("/", "remora-timeout-ms: 0")))


def test_a_deadline_of_the_downstream_holds_without_a_service(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(request("/", "remora-timeout-ms: 200"))
    assert int(asked.get(b"remora-timeout-ms") or b"0") <= 200
    assert talk.down.response().get(b"remora-error") == b"request_deadline"
    up.expect_gone()


# ---- one try ------------------------------------------------------------------------------------


def test_a_try_that_takes_too_long_is_made_elsewhere(cluster: Cluster) -> None:
    backend = web(cluster, 2, pool=ALONE, try_timeout=SHORT)
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    first.request()
    second = backend.accept(but=[first.number])
    assert second.request().get(b"remora-attempt-count") == b"2"
    first.expect_gone()
    second.send(response(b"ok"))
    assert down.response().body == b"ok"


def test_the_last_try_that_takes_too_long_is_told(cluster: Cluster) -> None:
    backend = web(cluster, 3, pool=ALONE, try_timeout="100ms", retry_attempts="1")
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    backend.accept(but=[first.number])
    assert down.response().get(b"remora-error") == b"try_timeout"
    assert (cluster.ended(504, "UT"), cluster.event("timeout_try")) == (1, 2)
    backend.expect_no_more()


def test_a_try_is_over_with_the_last_byte_of_its_answer(cluster: Cluster) -> None:
    """GEP-1742: until the full response has been received from the backend."""
    backend = web(cluster, 2, pool=ALONE, try_timeout=SHORT)
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    up.send(response(b"0123456789")[:-5])
    assert down.until(b"01234")
    expect_reset(down.sock)
    up.expect_gone()
    eventually("its end", lambda: cluster.ended(200, "UT"))
    assert cluster.event("timeout_try") == 1
    backend.expect_no_more()


def test_a_post_that_was_sent_is_not_tried_elsewhere(cluster: Cluster) -> None:
    backend = web(cluster, 2, pool=ALONE, try_timeout=SHORT)
    down = cluster.connect()
    down.send(request("/", method="POST", body=b"x"))
    up = backend.accept()
    up.request()
    told(cluster, down.response(), b"try_timeout", "UT", "timeout_try")
    up.expect_gone()
    backend.expect_no_more()
    still_serves(cluster)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_dial_that_takes_a_whole_try_is_made_elsewhere(cluster: Cluster, method: str) -> None:
    web(cluster, 2, full=(0,), pool=ALONE, try_timeout=SHORT)
    for _ in range(4):
        asked, number = cluster.served(request("/", method=method))
        assert (asked.line, number) == (f"{method} / HTTP/1.1".encode(), 1)


def test_a_wait_in_the_queue_that_takes_a_whole_try_is_given_up(cluster: Cluster) -> None:
    backend = web(cluster, 1, pool=ONE, retry_attempts="0")
    late_ones = rule(to("web"), path="/", timeouts={"backendRequest": "500ms"})
    cluster.add(route("r", rule(to("web"), path="/1"), late_ones))
    cluster.reload()
    first, late = cluster.connect(), cluster.connect()
    first.send(request("/1", method="POST"))
    up = backend.accept()
    up.request()
    up.send(response(b"0123456789")[:-5])
    first.until(b"01234")
    late.send(request("/2"))
    told(cluster, late.response(), b"try_timeout", "UT", "timeout_try")
    up.send(b"56789")
    assert first.exactly(5) == b"56789"
    late = cluster.connect()
    late.send(request("/3"))
    assert up.request().line == b"GET /3 HTTP/1.1"
    up.send(response(b"3"))
    assert late.response().body == b"3"


def test_a_replaced_connection_has_the_time_of_a_try(cluster: Cluster) -> None:
    """A kept connection that was dead is nobody's try, and the one in its place is one."""
    backend = web(cluster, 1, pool=ALONE, try_timeout=SHORT, retry_attempts="1")
    down = cluster.connect()
    down.send(request("/1"))
    up = backend.accept()
    up.request()
    up.send(response(b"1"))
    assert down.response().body == b"1"
    down.send(request("/2"))
    up.request()
    up.sock.close()
    fresh = backend.accept()
    fresh.request()
    told(cluster, down.response(), b"try_timeout", "UT", "timeout_try")


# ---- connect, queue, idle -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_endpoint_that_does_not_answer_is_passed_over(cluster: Cluster, method: str) -> None:
    web(cluster, 2, full=(0,), pool={"tcp": {"connectTimeout": SHORT}})
    for _ in range(4):
        assert cluster.served(request("/", method=method))[1] == 1


def test_endpoints_of_which_none_answers_are_told(cluster: Cluster) -> None:
    web(cluster, 2, full=(0, 1), pool={"tcp": {"connectTimeout": "100ms"}} | ALONE)
    answered = cluster.ask(request("/"))
    told(cluster, answered, b"connect_timeout", "UF")
    assert cluster.ask(request("/")).get(b"remora-error") == b"connect_timeout"


def test_a_wait_in_the_queue_has_its_time(cluster: Cluster) -> None:
    pool: dict[str, Any] = {"tcp": {"maxConnections": 1, "connectTimeout": SHORT}}
    backend = web(cluster, 1, pool=pool)
    first, late = cluster.connect(), cluster.connect()
    first.send(request("/1"))
    up = backend.accept()
    up.request()
    late.send(request("/2"))
    told(cluster, late.response(), b"queue_timeout", "UO")
    up.send(response(b"1"))
    assert first.response().body == b"1"


def test_an_upstream_that_stays_silent_is_told(cluster: Cluster) -> None:
    backend = web(cluster, 1, "--http-idle-timeout", SHORT, pool=ALONE)
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    told(cluster, down.response(), b"upstream_timeout", "SI")
    up.expect_gone()
    still_serves(cluster)


def test_a_kept_connection_has_the_idle_time_of_its_service(cluster: Cluster) -> None:
    flags = ("--http-pool-idle-timeout", "20s")
    backend = web(cluster, 1, *flags, pool={"http": {"idleTimeout": SHORT}})
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    up.send(response(b"ok"))
    assert down.response().body == b"ok"
    up.expect_end()


# ---- two at once --------------------------------------------------------------------------------


def test_deadlines_that_coincide_are_told_once(cluster: Cluster) -> None:
    """Whatever the wheel hands out first, there is one answer, and the connection goes on."""
    pool: dict[str, Any] = {"tcp": {"connectTimeout": "200ms"}} | ALONE
    web(cluster, 2, full=(0, 1), pool=pool, timeout="200ms", try_timeout="200ms")
    down: Stream = cluster.connect()
    for _ in range(5):
        down.send(request("/"))
        answered = down.response()
        assert answered.status in {504, 503}
        assert answered.get(b"remora-error") in {
            *(b"request_deadline", b"try_timeout", b"connect_timeout")
        }
        if answered.get(b"connection") == b"close":
            down = cluster.connect()
