"""Further tries: which, where, how often, when, and what the downstream gets in the end."""

import signal
from collections.abc import Callable
from typing import Final

import pytest

from tests.support.http import Talk, request, response
from tests.support.rig import Route
from tests.support.services import EAGER, NEVER_OUT, Backend, Cluster, Try
from tests.support.sockets import reset
from tests.support.traffic import route, rule, to
from tests.support.transfers import MIB, Payload
from tests.support.tries import (
    CLOSE,
    IDEMPOTENT,
    OTHERS,
    PLAIN,
    again,
    answer,
    eager,
    ending,
    failed,
    fin,
)
from tests.support.waiting import eventually

KIB: Final = 1024


# ---- which, where, how often --------------------------------------------------------------------


@pytest.mark.parametrize("method", IDEMPOTENT)
def test_requests_that_may_be_sent_twice_are(cluster: Cluster, method: str) -> None:
    backend = eager(cluster)
    down = cluster.connect()
    down.send(request("/", method=method))
    first = backend.accept()
    first.request()
    fin(first)
    second = backend.accept(but=[first.number])
    assert second.request().line == f"{method} / HTTP/1.1".encode()
    second.send(response(b"" if method == "HEAD" else b"ok", CLOSE))
    assert down.response(method).status == 200


def test_each_try_goes_to_another_endpoint_and_knows_its_number(cluster: Cluster) -> None:
    backend = eager(cluster, 3)
    for _ in range(10):
        down = cluster.connect()
        down.send(request("/"))
        tries: list[int] = []
        for number in range(3):
            up = backend.accept(but=tries)
            count = up.request().get(b"remora-attempt-count")
            assert count == (b"%d" % (number + 1) if number else None)
            tries.append(up.number)
            fin(up)
        failed(down)
        down.sock.close()
    backend.expect_no_more()
    rows = cluster.requests(10)
    assert {row["attempts"] for row in rows} == {3}


def test_what_the_downstream_says_of_attempts_counts_for_nothing(cluster: Cluster) -> None:
    eager(cluster)
    asked, _ = cluster.served(request("/", "Remora-Attempt-Count: 9"))
    assert asked.get(b"remora-attempt-count") is None


def test_a_kept_connection_asks_any_endpoint_again_after_a_failure(cluster: Cluster) -> None:
    """What failed one request is not held against the next one on the same connection."""
    backend = eager(cluster, 2, attempts=1)
    down = cluster.connect()
    seen = set()
    for _ in range(12):
        down.send(request("/", method="POST", body=b"x"))
        up = backend.accept()
        up.request()
        seen.add(up.number)
        fin(up)
        failed(down)
    assert seen == {0, 1}


def test_the_last_answer_is_what_the_downstream_gets(cluster: Cluster) -> None:
    backend = eager(cluster, 3, codes="503,429")
    down = cluster.connect()
    down.send(request("/"))
    tries: list[int] = []
    for number, status in enumerate(("503 No", "429 Slow", "503 Never")):
        up = backend.accept(but=tries)
        up.request()
        tries.append(up.number)
        answer(up, b"%d" % number, status=status)
    answered = down.response()
    assert answered.line == b"HTTP/1.1 503 Never"
    assert (answered.body, answered.get(b"remora-attempt-count")) == (b"2", b"3")
    assert cluster.ended(503, "-") == 1


@pytest.mark.parametrize("method", OTHERS)
def test_an_answer_to_a_request_that_must_not_be_repeated_stands(
    cluster: Cluster, method: str
) -> None:
    backend = eager(cluster, codes="503")
    down = cluster.connect()
    down.send(request("/", method=method, body=b"x"))
    up = backend.accept()
    up.request()
    answer(up, b"busy", status="503 Busy")
    assert down.response().body == b"busy"
    backend.expect_no_more()


def test_an_answer_of_another_status_stands(cluster: Cluster) -> None:
    backend = eager(cluster, codes="503")
    for status in ("500 Error", "502 Bad", "404 None", "504 Late"):
        down = cluster.connect()
        down.send(request("/"))
        up = backend.accept()
        up.request()
        answer(up, status=status)
        assert down.response().line == f"HTTP/1.1 {status}".encode()
    backend.expect_no_more()


def test_an_early_answer_is_the_answer(cluster: Cluster) -> None:
    backend = eager(cluster, codes="503")
    down = cluster.connect()
    text = request("/", method="PUT", body=b"x" * 1000)
    down.send(text[:-500])
    up = backend.accept()
    up.exactly(len(text) - 500)
    answer(up, b"enough", status="503 Enough")
    assert down.response().body == b"enough"
    backend.expect_no_more()


def test_a_malformed_answer_is_not_asked_for_again(cluster: Cluster) -> None:
    backend = eager(cluster)
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    up.send(b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n")
    failed(down, b"response_malformed")
    backend.expect_no_more()


@pytest.mark.parametrize("interim", ["100 Continue", "103 Early Hints"])
def test_nothing_is_repeated_once_the_downstream_has_heard_of_an_answer(
    cluster: Cluster, interim: str
) -> None:
    backend = eager(cluster, codes="503")
    for status in ("", "503 Busy"):
        down = cluster.connect()
        down.send(request("/"))
        up = backend.accept()
        up.request()
        up.send(f"HTTP/1.1 {interim}\r\n\r\n".encode())
        assert down.response().line == f"HTTP/1.1 {interim}".encode()
        if status:
            answer(up, b"busy", status=status)
            assert down.response().body == b"busy"
        else:
            fin(up)
            failed(down)
    backend.expect_no_more()


def test_an_interim_answer_that_the_downstream_cannot_hear_forbids_nothing(
    cluster: Cluster,
) -> None:
    """HTTP/1.0 does not know them."""
    backend = eager(cluster)
    down = cluster.connect()
    down.send(request("/", minor=0))
    first = backend.accept()
    first.request()
    first.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    fin(first)
    second = backend.accept(but=[first.number])
    second.request()
    answer(second)
    assert down.response().body == b"ok"


def test_an_upgrade_is_asked_for_once(cluster: Cluster) -> None:
    backend = eager(cluster, codes="503")
    down = cluster.connect()
    down.send(request("/", "Connection: upgrade", "Upgrade: websocket"))
    up = backend.accept()
    assert up.request().get(b"upgrade") == b"websocket"
    fin(up)
    failed(down)
    backend.expect_no_more()


# ---- Retry-After --------------------------------------------------------------------------------


def test_an_endpoint_that_asks_for_a_pause_gets_it(cluster: Cluster) -> None:
    backend = eager(cluster, codes="503")
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    first.request()
    answer(first, b"", "Retry-After: 1", status="503 Busy")
    backend.expect_no_more(0.5)
    second = backend.accept(but=[first.number])
    second.request()
    answer(second)
    assert down.response().body == b"ok"


@pytest.mark.parametrize("pause", ["3", "10", "Wed, 21 Oct 2026 07:28:00 GMT", "", "-1", "x"])
def test_an_endpoint_that_asks_for_too_long_a_pause_has_answered(
    cluster: Cluster, pause: str
) -> None:
    backend = eager(cluster, codes="503")
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    answer(up, b"later", f"Retry-After: {pause}", status="503 Busy")
    answered = down.response()
    assert (answered.body, answered.get(b"retry-after")) == (b"later", pause.encode())
    backend.expect_no_more()


# ---- connections that were dead -----------------------------------------------------------------


def pooled(cluster: Cluster, backend: Backend) -> Try:
    """Have one request answered; return its connection, which is idle now."""
    down = cluster.connect()
    down.send(request("/first"))
    up = backend.accept()
    up.request()
    up.send(response(b"first"))
    assert down.response().body == b"first"
    down.sock.close()
    return up


@ending
@pytest.mark.parametrize("size", [0, 10, 50 * KIB])
def test_a_race_lost_by_a_body_that_was_kept_is_invisible(
    cluster: Cluster, end: Callable[[Try], None], size: int
) -> None:
    backend = eager(cluster, 1, attempts=1)
    up = pooled(cluster, backend)
    text = request("/put", method="PUT", body=b"p" * size)
    down = cluster.connect()
    down.send(text)
    assert up.exactly(len(text)) == text
    end(up)
    fresh = backend.accept()
    assert fresh.exactly(len(again(text))) == again(text)
    answer(fresh)
    assert down.response().body == b"ok"


@ending
def test_a_race_lost_by_a_post_is_told(cluster: Cluster, end: Callable[[Try], None]) -> None:
    backend = eager(cluster, 1)
    up = pooled(cluster, backend)
    text = request("/pay", method="POST", body=b"pay")
    down = cluster.connect()
    down.send(text)
    assert up.exactly(len(text)) == text
    end(up)
    failed(down)
    backend.expect_no_more()


def test_a_post_of_which_not_a_byte_was_taken_goes_out_on_another_connection(
    cluster: Cluster,
) -> None:
    """The connection dialled at accept was reset before the request was looked at."""
    backend = eager(cluster, 1)
    down = cluster.connect()
    dialled = backend.accept()
    rows = cluster.proxy.connections
    eventually("the dial", lambda: [r["phase"] for r in rows()] == ["relaying"])
    text = request("/pay", method="POST", body=b"once")
    with cluster.proxy.held():
        down.send(text)
        reset(dialled.sock)
    up = backend.accept()
    asked = up.request()
    assert (asked.line, asked.body) == (b"POST /pay HTTP/1.1", b"once")
    answer(up)
    assert down.response().body == b"ok"
    backend.expect_no_more()


def test_an_endpoint_that_resets_before_it_was_asked_is_passed_over(cluster: Cluster) -> None:
    backend = eager(cluster, 2)
    down = cluster.connect()
    dialled = backend.accept()
    rows = cluster.proxy.connections
    eventually("the dial", lambda: [r["phase"] for r in rows()] == ["relaying"])
    with cluster.proxy.held():
        down.send(request("/pay", method="POST", body=b"once"))
        reset(dialled.sock)
    up = backend.accept(but=[dialled.number])
    assert up.request().body == b"once"
    answer(up)
    assert down.response().body == b"ok"


def test_the_same_where_there_is_no_service(route: Route) -> None:
    talk = Talk(route)
    dialled = talk.accept()
    with route.proxy.held():
        talk.down.send(request("/pay", method="POST", body=b"once"))
        reset(dialled.sock)
    up = talk.accept()
    assert up.request().body == b"once"
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"


# ---- the end of one try is not that of the next -------------------------------------------------


def test_a_large_answer_of_a_further_try_is_whole(cluster: Cluster) -> None:
    """It goes by splice(2), which must not take the first try's FIN for its own."""
    backend = eager(cluster)
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    first.request()
    fin(first)
    second = backend.accept(but=[first.number])
    second.request()
    payload = b"".join(Payload(7, 4 * MIB).blocks())
    cluster.rig.background(second.send, response(payload, CLOSE))
    assert down.response().body == payload


def test_a_large_answer_behind_a_failed_request_is_whole(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request("/fails", method="POST", body=b"x"))
    up.sock.close()
    assert talk.down.response().get(b"remora-error") == b"upstream_closed"
    _, up = talk.ask(request("/large"))
    payload = b"".join(Payload(7, 4 * MIB).blocks())
    route.rig.background(up.send, response(payload))
    assert talk.down.response().body == payload


def test_a_tunnel_behind_a_failed_request_stays_open(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request("/fails", method="POST", body=b"x"))
    up.sock.close()
    assert talk.down.response().get(b"remora-error") == b"upstream_closed"
    _, up = talk.ask(request("/", "Connection: upgrade", "Upgrade: websocket"))
    up.send(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert talk.down.response().status == 101
    for word in (b"one", b"two"):
        up.send(word)
        assert talk.down.exactly(3) == word
        talk.down.send(word)
        assert up.exactly(3) == word


def test_a_downstream_that_leaves_in_the_pause_is_not_asked_for(cluster: Cluster) -> None:
    backend = eager(cluster, retry_backoff="10s")
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    first.request()
    fin(first)
    eventually("the pause", lambda: cluster.proxy.metrics()("remora_events_total", event="retried"))
    down.sock.close()
    eventually("its end", lambda: cluster.proxy.live()["exchanges"] == 0)
    backend.expect_no_more()
    assert cluster.ended(0, "DC") == 1


def test_a_drain_waits_for_a_request_in_its_pause(cluster: Cluster) -> None:
    backend = eager(cluster, retry_backoff="2s")
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    first.request()
    fin(first)
    eventually("the pause", lambda: cluster.proxy.metrics()("remora_events_total", event="retried"))
    cluster.proxy.signal(signal.SIGTERM)
    eventually("the drain", lambda: cluster.proxy.live()["listeners"] == 0)
    second = backend.accept(but=[first.number])
    second.request()
    answer(second)
    answered = down.response()
    assert (answered.body, answered.get(b"connection")) == (b"ok", b"close")
    assert cluster.proxy.wait_exit() == 0


# ---- the budget ---------------------------------------------------------------------------------


def test_a_dead_service_gets_little_more_than_its_load(cluster: Cluster) -> None:
    """A fifth more, and the minimum of ten a second."""
    backend = eager(cluster, retry_budget="20% min=10")
    count = 300
    tried = cluster.rig.background(fail_all, backend)
    for _ in range(count):
        assert cluster.ask(request("/")).get(b"remora-error") == b"upstream_closed"
    for listener in backend.listeners:
        listener.close()
    seconds = 2 + max(row["duration_ms"] for row in cluster.requests(1)) / 1000
    total = tried.result()
    assert count * 1.1 < total <= count * 1.2 + 10 * (seconds + 10)


def fail_all(backend: Backend) -> int:
    """Close every connection behind its request; how many there were."""
    total = 0
    while True:
        try:
            up = backend.accept()
        except (OSError, ValueError, AssertionError):
            return total
        up.request()
        up.sock.close()
        total += 1


def test_a_post_that_is_kept_for_a_mirror_is_not_sent_twice(cluster: Cluster) -> None:
    never = {"outlierDetection": NEVER_OUT}
    backend = cluster.service("web", 2, policy=never, annotations=EAGER)
    shadow = cluster.service("shadow", 1)
    mirror = {
        "type": "RequestMirror",
        "requestMirror": {"backendRef": {"name": "shadow", "port": 80}},
    }
    cluster.add(route("r", rule(to("web"), filters=[mirror])))
    cluster.start(PLAIN)
    down = cluster.connect()
    down.send(request("/pay", method="POST", body=b"x"))
    up = backend.accept()
    up.request()
    fin(up)
    failed(down)
    for listening in (backend, shadow):
        listening.expect_no_more()


def test_no_attempts_means_none(cluster: Cluster) -> None:
    backend = eager(cluster, attempts=0, codes="503")
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    fin(up)
    failed(down)
    backend.expect_no_more()
