"""Another try: byte for byte the same request, never where it could have been seen before."""

import random
from collections.abc import Callable
from typing import Final

import pytest

from tests.support.http import Stream, Talk, chunked, request, response
from tests.support.rig import Route
from tests.support.services import EAGER, NEVER_OUT, Backend, Cluster, Try
from tests.support.sockets import expect_reset, expect_silence, reset
from tests.support.traffic import route, rule, to
from tests.support.transfers import MIB, Payload
from tests.support.waiting import eventually

IDEMPOTENT: Final = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
OTHERS: Final = ("POST", "PATCH", "BREW")
PLAIN: Final = "--no-http-request-ids"  # the proxy adds nothing
KIB: Final = 1024
# A request up to this size, head and body, is kept for another try; below what is certain.
KEPT_BYTES_MAX: Final = 64 * KIB
CLOSE: Final = "Connection: close"


def web(
    cluster: Cluster, count: int = 2, *, codes: str = "", attempts: int = 2, **annotations: str
) -> Backend:
    """Start a proxy with a service whose retries come at once and cost nothing."""
    said = EAGER | {"retry-attempts": str(attempts)} | ({"retry-codes": codes} if codes else {})
    said |= {name.replace("_", "-"): text for name, text in annotations.items()}
    made = cluster.service("web", count, policy={"outlierDetection": NEVER_OUT}, annotations=said)
    cluster.start(PLAIN)
    return made


def again(text: bytes, count: int = 2) -> bytes:
    """Return the request as the try of that number gets it."""
    head, end, body = text.partition(b"\r\n\r\n")
    return head + b"\r\nremora-attempt-count: %d" % count + end + body


def fin(up: Try) -> None:
    up.sock.close()


ENDINGS: Final[dict[str, Callable[[Try], None]]] = {"fin": fin, "reset": lambda up: reset(up.sock)}
ending = pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())


def answer(up: Try, body: bytes = b"ok", *fields: str, status: str = "200 OK") -> None:
    up.send(response(body, CLOSE, *fields, status=status))


def failed(down: Stream, word: bytes = b"upstream_closed") -> None:
    assert down.response().get(b"remora-error") == word


# ---- byte for byte ------------------------------------------------------------------------------


@ending
def test_a_request_cut_at_any_byte_arrives_whole_at_the_other_endpoint(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = web(cluster)
    text = request("/cut?x=1", "X-A: b", method="PUT", body=b"0123456789")
    for cut in range(1, len(text) + 1):
        down = cluster.connect()
        down.send(text)
        first = backend.accept()
        assert first.exactly(cut) == text[:cut]
        end(first)
        second = backend.accept(but=[first.number])
        assert second.exactly(len(again(text))) == again(text)
        answer(second, b"%d" % cut)
        answered = down.response()
        assert (answered.body, answered.get(b"remora-attempt-count")) == (b"%d" % cut, b"2")
        down.sock.close()
        second.sock.close()


@ending
def test_a_post_that_an_endpoint_may_have_seen_is_never_sent_twice(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = web(cluster, codes="503")
    for method in OTHERS:
        text = request("/pay", method=method, body=b"0123456789")
        for cut in range(1, len(text) + 1, 7):
            down = cluster.connect()
            down.send(text)
            first = backend.accept()
            first.exactly(cut)
            end(first)
            failed(down)
            down.sock.close()
    backend.expect_no_more()


@ending
def test_an_answer_cut_in_its_head_is_no_answer(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = web(cluster)
    whole = response(b"", "X-B: c", status="200 OK")
    for cut in range(len(whole)):
        down = cluster.connect()
        down.send(request("/"))
        first = backend.accept()
        assert first.request().line == b"GET / HTTP/1.1"
        first.send(whole[:cut])
        end(first)
        second = backend.accept(but=[first.number])
        second.request()
        answer(second)
        assert down.response().body == b"ok"
        down.sock.close()
        second.sock.close()


@ending
def test_an_answer_cut_in_its_body_is_cut_for_the_downstream_and_not_asked_for_again(
    cluster: Cluster, end: Callable[[Try], None]
) -> None:
    backend = web(cluster)
    whole = response(b"0123456789")
    for cut in range(len(whole) - 10, len(whole)):
        down = cluster.connect()
        down.send(request("/"))
        first = backend.accept()
        first.request()
        first.send(whole[:cut])
        assert down.exactly(len(whole[:cut]) - 10 if cut < 10 else 1) == b"H"
        end(first)
        expect_reset(down.sock)
    backend.expect_no_more()


def pieces(dice: random.Random, text: bytes) -> list[bytes]:
    """Cut at random places, sometimes not at all."""
    places = sorted(dice.randrange(len(text) + 1) for _ in range(dice.choice((0, 1, 2, 5))))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True) if a < b]


def random_request(dice: random.Random, method: str) -> bytes:
    size = dice.choice(
        (0, 1, dice.randrange(2000), dice.randrange(70 * KIB), 64 * KIB - dice.randrange(200))
    )
    body = dice.randbytes(size)
    fields = [f"X-{number}: {'v' * dice.randrange(40)}" for number in range(dice.randrange(4))]
    if dice.random() < 0.5:
        return request("/r", *fields, method=method, body=body)
    trailers = b"X-Sum: 1\r\nX-T: u\r\n" if dice.random() < 0.5 else b""
    text = chunked(*pieces(dice, body), trailers=trailers)
    head = request("/r", *fields, "Transfer-Encoding: chunked", method=method)
    return head + text


def lose(dice: random.Random, first: Try, text: bytes) -> int:
    """Take some of the request, or all of it, and fail; how many bytes were taken."""
    seen = len(text) if dice.random() < 0.4 else dice.randrange(1, len(text) + 1)
    assert first.exactly(seen) == text[:seen]
    if seen == len(text) and dice.random() < 0.5:
        first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"[: dice.randrange(36)])
    dice.choice((fin, lambda up: reset(up.sock)))(first)
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_any_request_is_repeated_byte_for_byte_or_honestly_not_at_all(
    cluster: Cluster, seed: int
) -> None:
    """Bodies of all sizes and framings, written in any pieces, also while the first try fails."""
    backend = web(cluster, retry_backoff="5ms")
    dice = random.Random(seed)  # noqa: S311 - it only varies a test
    repeated = 0
    for _ in range(40):
        method = dice.choice(IDEMPOTENT[2:] + OTHERS)
        text = random_request(dice, method)
        down = cluster.connect()
        writing = cluster.rig.background(write, down, pieces(dice, text))
        first = backend.accept()
        lose(dice, first, text)
        may = method in IDEMPOTENT
        answered = cluster.rig.background(down.response)
        second = eventually("either", lambda: answered.done() or waiting(backend))  # noqa: B023
        if second is True:
            assert not may or len(text) > KEPT_BYTES_MAX - 200
            assert answered.result().get(b"remora-error") == b"upstream_closed"
        else:
            assert may
            up = backend.accept(but=[first.number])
            assert up.exactly(len(again(text))) == again(text)
            expect_silence(up.sock, 0)
            answer(up, b"%d" % len(text))
            assert answered.result().body == b"%d" % len(text)
            up.sock.close()
            repeated += 1
        down.sock.close()
        assert writing.exception() is None
    assert repeated > 5


def write(down: Stream, parts: list[bytes]) -> None:
    try:
        for part in parts:
            down.send(part)
    except OSError:
        pass  # refused, and closed


def waiting(backend: Backend) -> str:
    """Say "yes" once somebody dials the backend."""
    try:
        backend.expect_no_more(0)
    except AssertionError:
        return "yes"
    return ""


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_a_body_that_goes_on_while_a_try_fails_is_not_torn(cluster: Cluster, kind: str) -> None:
    backend = web(cluster, retry_backoff="500ms")
    early, late = b"a" * 5_000, b"b" * 7_000
    if kind == "length":
        text = request("/", method="PUT", body=early + late)
    else:
        text = request("/", "Transfer-Encoding: chunked", method="PUT") + chunked(early, late)
    middle = text.index(b"bbb")
    down = cluster.connect()
    down.send(text[:middle])
    first = backend.accept()
    assert first.exactly(middle) == text[:middle]
    reset(first.sock)
    eventually("the pause", lambda: cluster.proxy.metrics()("remora_events_total", event="retried"))
    down.send(text[middle:])
    second = backend.accept(but=[first.number])
    assert second.exactly(len(again(text))) == again(text)
    answer(second)
    assert down.response().body == b"ok"


def test_a_body_that_outgrows_what_is_kept_while_a_try_fails_is_not_torn(
    cluster: Cluster,
) -> None:
    backend = web(cluster, retry_backoff="500ms")
    text = request("/", "Transfer-Encoding: chunked", method="PUT")
    text += chunked(b"a" * 10_000, b"b" * 60_000, b"c" * 60_000)
    middle = text.index(b"bbb")
    down = cluster.connect()
    down.send(text[:middle])
    first = backend.accept()
    assert first.exactly(middle) == text[:middle]
    reset(first.sock)
    eventually("the pause", lambda: cluster.proxy.metrics()("remora_events_total", event="retried"))
    cluster.rig.background(down.send, text[middle:])
    second = backend.accept(but=[first.number])
    assert second.exactly(len(again(text))) == again(text)
    answer(second)
    assert down.response().body == b"ok"


# ---- which, where, how often --------------------------------------------------------------------


@pytest.mark.parametrize("method", IDEMPOTENT)
def test_requests_that_may_be_sent_twice_are(cluster: Cluster, method: str) -> None:
    backend = web(cluster)
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
    backend = web(cluster, 3)
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
    web(cluster)
    asked, _ = cluster.served(request("/", "Remora-Attempt-Count: 9"))
    assert asked.get(b"remora-attempt-count") is None


def test_a_kept_connection_asks_any_endpoint_again_after_a_failure(cluster: Cluster) -> None:
    """What failed one request is not held against the next one on the same connection."""
    backend = web(cluster, 2, attempts=1)
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
    backend = web(cluster, 3, codes="503,429")
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
    backend = web(cluster, codes="503")
    down = cluster.connect()
    down.send(request("/", method=method, body=b"x"))
    up = backend.accept()
    up.request()
    answer(up, b"busy", status="503 Busy")
    assert down.response().body == b"busy"
    backend.expect_no_more()


def test_an_answer_of_another_status_stands(cluster: Cluster) -> None:
    backend = web(cluster, codes="503")
    for status in ("500 Error", "502 Bad", "404 None", "504 Late"):
        down = cluster.connect()
        down.send(request("/"))
        up = backend.accept()
        up.request()
        answer(up, status=status)
        assert down.response().line == f"HTTP/1.1 {status}".encode()
    backend.expect_no_more()


def test_an_early_answer_is_the_answer(cluster: Cluster) -> None:
    backend = web(cluster, codes="503")
    down = cluster.connect()
    text = request("/", method="PUT", body=b"x" * 1000)
    down.send(text[:-500])
    up = backend.accept()
    up.exactly(len(text) - 500)
    answer(up, b"enough", status="503 Enough")
    assert down.response().body == b"enough"
    backend.expect_no_more()


def test_a_malformed_answer_is_not_asked_for_again(cluster: Cluster) -> None:
    backend = web(cluster)
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
    backend = web(cluster, codes="503")
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
    backend = web(cluster)
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
    backend = web(cluster, codes="503")
    down = cluster.connect()
    down.send(request("/", "Connection: upgrade", "Upgrade: websocket"))
    up = backend.accept()
    assert up.request().get(b"upgrade") == b"websocket"
    fin(up)
    failed(down)
    backend.expect_no_more()


# ---- Retry-After --------------------------------------------------------------------------------


def test_an_endpoint_that_asks_for_a_pause_gets_it(cluster: Cluster) -> None:
    backend = web(cluster, codes="503")
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
    backend = web(cluster, codes="503")
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
    backend = web(cluster, 1, attempts=1)
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
    backend = web(cluster, 1)
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
    backend = web(cluster, 1)
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
    backend = web(cluster, 2)
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
    backend = web(cluster)
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
    backend = web(cluster, retry_backoff="300ms")
    down = cluster.connect()
    down.send(request("/"))
    first = backend.accept()
    first.request()
    fin(first)
    eventually("the pause", lambda: cluster.proxy.metrics()("remora_events_total", event="retried"))
    down.sock.close()
    eventually("its end", lambda: cluster.proxy.live()["exchanges"] == 0)
    backend.expect_no_more(0.5)
    assert cluster.ended(0, "DC") == 1


# ---- the budget ---------------------------------------------------------------------------------


def test_a_dead_service_gets_little_more_than_its_load(cluster: Cluster) -> None:
    """A fifth more, and the minimum of ten a second."""
    backend = web(cluster, retry_budget="20% min=10")
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
    backend = web(cluster, attempts=0, codes="503")
    down = cluster.connect()
    down.send(request("/"))
    up = backend.accept()
    up.request()
    fin(up)
    failed(down)
    backend.expect_no_more()
