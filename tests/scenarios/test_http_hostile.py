"""Peers that are slow or never come to an end: bounded, named, and nobody else notices."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.bystander import Stand
from tests.support.ends import End
from tests.support.http import REFUSALS, request, response
from tests.support.rig import Rig
from tests.support.transfers import MIB

pytestmark = pytest.mark.slow

Tell = Callable[[str, object], None]

BUFFER_BYTES = 32 * 1024  # proxy/fast/limits.pxd: BUF_BYTES
HEAD_BYTES = 64 * 1024  # H1_HEAD_BYTES_MAX
SLACK_BYTES = 4 * MIB
CROWD = 500
FLOODS = 20
FLOOD_BYTES = 8_192


def asked(stand: Stand, count: int) -> list[End]:
    """Upstreams that have heard their request: one that speaks before it is none of HTTP."""
    ups = [End(stand.route.accept()) for _ in range(count)]

    def are_asked() -> bool:
        for up in ups:
            up.hear()
        return all(b"\r\n\r\n" in up.heard for up in ups)

    stand.rounds_until("all upstreams to be asked", are_asked)
    return ups


# ---- slow ---------------------------------------------------------------------------------------


def test_heads_that_come_a_byte_at_a_time(rig: Rig, record_property: Tell) -> None:
    """Slowloris."""
    stand = Stand(rig, "--http-header-timeout", "2s")
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 10_000
    crowd = [End(stand.route.connect(), bytearray(head)) for _ in range(CROWD)]

    def drip() -> bool:
        for end in crowd:
            end.say(1)
            end.hear()
        return all(end.is_over for end in crowd)

    stand.rounds_until("all to be given up", drip)
    assert {bytes(end.heard[:13]) for end in crowd} == {b"HTTP/1.1 408 "}
    assert stand.answered(status_code="408", flag="SI") == CROWD
    stand.check(CROWD * BUFFER_BYTES + SLACK_BYTES, record_property)


def test_bodies_that_come_a_byte_at_a_time(rig: Rig, record_property: Tell) -> None:
    """They may, as long as they come: then they stop."""
    count, drops = CROWD // 2, 40
    stand = Stand(rig, "--http-idle-timeout", "3s")
    head = request("/slow", "Content-Length: 1000", method="POST")
    crowd = [End(stand.route.connect(), bytearray(head)) for _ in range(count)]
    for end in crowd:
        end.say(len(head))
    ups = [End(stand.route.accept()) for _ in range(count)]
    for _ in range(drops):
        for end in crowd:
            end.to_say += b"b"
            end.say(1)
        stand.round()

    def hear() -> bool:
        for end in (*crowd, *ups):
            end.hear()
        return all(end.is_over for end in (*crowd, *ups))

    stand.rounds_until("all to be given up", hear)
    for up in ups:
        assert up.heard.partition(b"\r\n\r\n")[2] == b"b" * drops
    assert {bytes(end.heard[:13]) for end in crowd} == {b"HTTP/1.1 408 "}
    assert stand.answered(status_code="408", flag="SI") == count
    stand.check(count * BUFFER_BYTES + SLACK_BYTES, record_property)


@pytest.mark.parametrize("flags", [[], ["--no-splice"]], ids=["splice", "copy"])
def test_downstreams_that_read_nothing_of_a_large_answer(
    rig: Rig, record_property: Tell, flags: list[str]
) -> None:
    count = 50
    stand = Stand(rig, "--http-flush-timeout", "1s", *flags)
    crowd = [stand.route.connect() for _ in range(count)]
    for sock in crowd:
        sock.sendall(request("/large"))
    ups = asked(stand, count)
    for up in ups:
        up.to_say += response(None, f"Content-Length: {1 << 40}")

    def flood() -> bool:
        for up in ups:
            if len(up.to_say) < FLOOD_BYTES:
                up.to_say += bytes(FLOOD_BYTES)
            while up.say(FLOOD_BYTES):
                up.to_say += bytes(FLOOD_BYTES)
            up.hear()
        return all(up.is_over for up in ups)

    stand.rounds_until("all to be given up", flood)
    assert stand.proxy.closed("flush_timeout") == count
    stand.check(count * BUFFER_BYTES + SLACK_BYTES, record_property)


# ---- endless ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Endless:
    """What is said first, what is said for ever after, and the status of the answer to it."""

    start: bytes
    again: bytes
    status: int = 0  # none: the connection is cut

    def text(self) -> Iterator[bytes]:
        yield self.start
        yield from itertools.repeat(self.again * (FLOOD_BYTES // len(self.again) + 1))


POST = request("/", "Transfer-Encoding: chunked", method="POST")
ANSWER = response(None, "Transfer-Encoding: chunked")
REQUESTS = {
    "fields": Endless(b"GET / HTTP/1.1\r\nHost: a\r\n", b"x: y\r\n", 431),
    "field": Endless(b"GET / HTTP/1.1\r\nHost: a\r\nx: ", b"y", 431),
    "request line": Endless(b"GET /", b"x", 414),
    "chunk extension": Endless(POST + b"5;", b"x", 400),
    "chunk size": Endless(POST, b"0", 400),
    "trailers": Endless(POST + b"0\r\n", b"x: y\r\n", 400),
    "trailer": Endless(POST + b"0\r\nx: ", b"y", 400),
}
MALFORMED = b"remora-error: response_malformed\r\n"
ANSWERS = {
    "fields": Endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 502),
    "status line": Endless(b"HTTP/1.1 200 ", b"x", 502),
    "interim answers": Endless(b"HTTP/1.1 103 Early Hints\r\nx: ", b"y", 502),
    "chunk extension": Endless(ANSWER + b"5;", b"x"),
    "trailers": Endless(ANSWER + b"0\r\n", b"x: y\r\n"),
}


class Flood:
    """Some ends that never stop to talk; each hears what is said to it."""

    def __init__(self, ends: list[End], endless: Endless) -> None:
        self._ends = [(end, endless.text()) for end in ends]

    def flow(self) -> bool:
        """Each says one more portion; whether all were stopped."""
        for end, text in self._ends:
            if not end.to_say and not end.is_over:
                end.to_say += next(text)
            end.say(FLOOD_BYTES)
            end.hear()
        return all(end.is_over for end, _ in self._ends)


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_that_never_end(rig: Rig, record_property: Tell, name: str) -> None:
    endless = REQUESTS[name]
    stand = Stand(rig)
    crowd = [End(stand.route.connect()) for _ in range(FLOODS)]
    stand.rounds_until("all to be refused", Flood(crowd, endless).flow)
    for end in crowd:
        assert end.heard.startswith(b"HTTP/1.1 %d " % endless.status)
        assert b"remora-error: " + REFUSALS[endless.status] + b"\r\n" in end.heard
    assert stand.answered(status_code=str(endless.status), flag="DPE") == FLOODS
    stand.check(FLOODS * HEAD_BYTES + SLACK_BYTES, record_property)


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_never_end(rig: Rig, record_property: Tell, name: str) -> None:
    endless = ANSWERS[name]
    stand = Stand(rig)
    crowd = [End(stand.route.connect(), bytearray(request())) for _ in range(FLOODS)]
    for end in crowd:
        end.say(FLOOD_BYTES)
    flood = Flood(asked(stand, FLOODS), endless)

    def flow() -> bool:
        for end in crowd:
            end.hear()
        return flood.flow()

    def is_told(end: End) -> bool:
        end.hear()
        if endless.status:
            return end.heard.startswith(b"HTTP/1.1 502 ") and MALFORMED in end.heard
        return end.saw_error

    stand.rounds_until("all to be cut off", flow)
    stand.rounds_until("all to be told", lambda: all(is_told(end) for end in crowd))
    assert stand.answered(flag="UPE") == FLOODS
    stand.check(FLOODS * HEAD_BYTES + SLACK_BYTES, record_property)
