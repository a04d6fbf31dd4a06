"""The HTTP/1 rows of the fault table on the wire: the answer, and nothing for the upstream."""

from collections.abc import Iterator

import pytest

from tests.support.http import REFUSALS, Talk, chunked, refusal, request, response, talk_once
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_silence, reset
from tests.unit.fast.http1_cases import BROKEN_LINES, CASES, Case
from tests.unit.fast.test_http1_bodies import BROKEN

REFUSED = [case for case in (*CASES, *BROKEN_LINES) if case.verdict]
TAKEN = [case for case in CASES if not case.verdict]
CHUNKED = request("/up", "Transfer-Encoding: chunked", method="POST")


@pytest.fixture(scope="module")
def shared() -> Iterator[Route]:
    """One proxy for all rows: a fault on one connection is no other's business."""
    rig = Rig()
    try:
        yield rig.route("--http-pool-idle-timeout", "1h")
    finally:
        rig.close()
        rig.print_logs()


def case_id(case: Case) -> str:
    return case.id


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_a_refused_request_gets_its_answer_and_the_upstream_nothing(
    shared: Route, case: Case
) -> None:
    """Behind a good one, where the connection is known to be HTTP whatever the line looks like."""
    talk, up = talk_once(shared)
    talk.down.send(case.head)
    assert talk.down.rest() == refusal(case.verdict, REFUSALS[case.verdict])
    expect_silence(up.sock, 0.01)
    asked, answered = Talk(shared).exchange(up, request("/next"), response(b"next"))
    assert (asked.line, answered.body) == (b"GET /next HTTP/1.1", b"next")
    up.sock.close()


@pytest.mark.parametrize(
    "case", [c for c in TAKEN if not c.head.startswith(b"CONNECT")], ids=case_id
)
def test_a_good_request_of_the_table_reaches_the_upstream(shared: Route, case: Case) -> None:
    talk, up = talk_once(shared)
    talk.down.send(case.head)
    line = case.head.partition(b"\r\n")[0]
    assert up.head().line == line
    reset(talk.down.sock)
    up.expect_gone()


@pytest.mark.parametrize("case", REFUSED[:60], ids=case_id)
def test_a_refused_request_may_be_the_first(shared: Route, case: Case) -> None:
    """Where its line is HTTP, so that the connection is known as such."""
    if b"HTTP/1." not in case.head.partition(b"\r\n")[0]:
        pytest.skip("its first line is not that of HTTP/1")
    _, up = talk_once(shared)
    talk = Talk(shared)
    talk.down.send(case.head)
    assert talk.down.rest() == refusal(case.verdict, REFUSALS[case.verdict])
    expect_silence(up.sock, 0.01)
    up.sock.close()


@pytest.mark.parametrize(("row", "body"), [(row, body) for row, body, _ in BROKEN])
def test_a_body_that_is_broken_from_the_start_is_refused_unseen(
    shared: Route, row: str, body: bytes
) -> None:
    assert row
    talk, up = talk_once(shared)
    talk.down.send(CHUNKED + body)
    assert talk.down.rest() == refusal(400, b"request_malformed")
    up.expect_gone()


@pytest.mark.parametrize(("row", "body"), [(row, body) for row, body, _ in BROKEN])
def test_a_body_that_breaks_later_cuts_the_upstream_off(
    shared: Route, row: str, body: bytes
) -> None:
    """What was good is there already; the end of the body never comes."""
    assert row
    talk, up = talk_once(shared)
    talk.down.send(CHUNKED + b"3\r\nabc\r\n")
    assert up.head().line == b"POST /up HTTP/1.1"
    assert up.exactly(8) == b"3\r\nabc\r\n"
    talk.down.send(body)
    assert talk.down.rest() == refusal(400, b"request_malformed")
    with pytest.raises((ConnectionResetError, AssertionError)):
        up.chunks()


@pytest.mark.parametrize(
    "trailers", [b"no colon\r\n", b"A : b\r\n", b" A: b\r\n", b"A: \0\r\n", b"A: b\n\r\n", b"\n"]
)
def test_broken_trailers_are_refused(shared: Route, trailers: bytes) -> None:
    talk, up = talk_once(shared)
    talk.down.send(CHUNKED + chunked(b"abc", trailers=trailers))
    assert up.head().line == b"POST /up HTTP/1.1"
    assert talk.down.rest() == refusal(400, b"request_malformed")
    with pytest.raises((ConnectionResetError, AssertionError)):
        up.chunks()


def test_the_requests_before_a_refused_one_are_served(shared: Route) -> None:
    talk, up = talk_once(shared)
    talk.down.send(
        request("/a") + request("/b") + b"GET / HTTP/9.9\r\nHost: a\r\n\r\n" + request("/c")
    )
    for name in (b"/a", b"/b"):
        assert up.request().line == b"GET " + name + b" HTTP/1.1"
        up.send(response(name))
        assert talk.down.response().body == name
    assert talk.down.rest() == refusal(505, b"version_unknown")
    expect_silence(up.sock, 0.05)
    up.sock.close()


@pytest.mark.parametrize("pieces", [1, 7, 1000], ids=["bytewise", "sevens", "thousands"])
def test_endless_fields_are_refused_at_the_limit(shared: Route, pieces: int) -> None:
    talk, up = talk_once(shared)
    text = b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"y" * 2_000 + b"\r\n") * 40
    start = len(text) - 20_000 if pieces == 1 else 0
    talk.down.send(text[:start])
    for at in range(start, len(text), pieces):
        talk.down.send(text[at : at + pieces])
        if at > 65_536:
            break
    assert talk.down.rest() == refusal(431, b"header_too_large")
    expect_silence(up.sock, 0.01)
    up.sock.close()


def test_an_endless_line_is_refused_at_its_limit(shared: Route) -> None:
    talk, up = talk_once(shared)
    talk.down.send(b"GET /" + b"x" * 16_384)
    assert talk.down.rest() == refusal(414, b"request_line_too_long")
    up.sock.close()


def test_empty_lines_between_requests_are_skipped(shared: Route) -> None:
    talk, up = talk_once(shared)
    asked, answered = talk.exchange(up, b"\r\n\r\n" + request("/n"), response(b"n"))
    assert (asked.line, answered.body) == (b"GET /n HTTP/1.1", b"n")
    up.sock.close()


def test_a_fault_is_counted_with_its_flag(rig: Rig) -> None:
    route = rig.route()
    talk = Talk(route)
    talk.down.send(b"GET / HTTP/1.1\r\n\r\n")
    assert talk.down.rest() == refusal(400, b"request_malformed")
    metrics = route.proxy.metrics()
    assert metrics("response_total", status_code="400", flag="DPE") == 1


def test_a_body_declared_above_the_limit_is_refused_and_nothing_of_it_goes_on(rig: Rig) -> None:
    talk, up = talk_once(rig.route("--http-body-max", "1KiB"))
    talk.exchange(up, request("/fits", method="POST", body=b"x" * 1024), response(b"ok"))
    talk.down.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n")
    assert talk.down.rest() == refusal(413, b"body_too_large")
    expect_silence(up.sock, 0.01)
    up.sock.close()


def test_a_chunked_body_is_refused_at_the_chunk_that_exceeds_the_limit(rig: Rig) -> None:
    talk, up = talk_once(rig.route("--http-body-max", "1KiB"))
    talk.down.send(CHUNKED + b"3ff\r\n" + b"x" * 1023 + b"\r\n")
    assert up.head().line == b"POST /up HTTP/1.1"
    talk.down.send(b"2\r\n")
    assert talk.down.rest() == refusal(413, b"body_too_large")
    with pytest.raises((ConnectionResetError, AssertionError)):
        up.chunks()
