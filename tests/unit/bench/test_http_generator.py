"""The generator and the upstream in HTTP/1.1: what they take from a proxy, and what they refuse."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from bench.generator import Outcome, Timing, generator
from bench.running import Cores, RunError, upstream
from bench.workloads import (
    HTTP,
    HTTP_1,
    HTTP_64,
    HTTP_DOWN,
    HTTP_NEW,
    HTTP_POST,
    HTTP_UP,
    MIB,
    Workload,
)
from tests.unit.bench.fakes import Alter, Mischief, relay

CORE = Cores.allowed().load
BRIEF = Timing(seconds=0.1, warmup_seconds=0.02)


@pytest.fixture
def upstream_port() -> Iterator[int]:
    with upstream(CORE, HTTP) as (port, _):
        yield port


def outcome(port: int, workload: Workload) -> Outcome:
    with generator(port, workload, BRIEF, CORE) as warm:
        return warm.measure()


def behind(upstream_port: int, answer: Alter = bytes, request: Alter = bytes) -> Outcome:
    with relay(upstream_port, Mischief(answer, request)) as port:
        return outcome(port, HTTP_1)


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def alter(message: bytes) -> bytes:
        assert old in message
        return message.replace(old, new, 1)

    return alter


def head_in_lower_case(message: bytes) -> bytes:
    head, blank, body = message.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    named = [field.partition(b":") for field in fields]
    lowered = [name.lower() + colon + value for name, colon, value in named]
    return b"\r\n".join([first, *lowered]) + blank + body


def test_only_bodies_count_as_payload(upstream_port: int) -> None:
    seen = outcome(upstream_port, HTTP_64)
    assert seen.bytes == 1024 * seen.requests > 0


def test_small_bodies_go_up_as_they_come_down(upstream_port: int) -> None:
    posted = []

    def look(request: bytes) -> bytes:
        posted.append(request)
        return request

    with relay(upstream_port, Mischief(request=look)) as port:
        seen = outcome(port, replace(HTTP_POST, connections=1))
    assert all(request.startswith(b"POST ") for request in posted)
    assert seen.bytes == (1024 + 16) * seen.requests > 0


@pytest.mark.parametrize("workload", [HTTP_DOWN, HTTP_UP], ids=lambda w: w.name)
def test_the_largest_body_arrives_whole(upstream_port: int, workload: Workload) -> None:
    seen = outcome(upstream_port, workload)
    assert seen.bytes >= MIB * seen.requests > 0


def test_a_new_connection_for_each_request_works(upstream_port: int) -> None:
    assert outcome(upstream_port, HTTP_NEW).requests > 0


def test_heads_have_the_length_that_was_asked_for(upstream_port: int) -> None:
    lengths = set()

    def look(request: bytes) -> bytes:
        lengths.add(len(request))
        return request

    with relay(upstream_port, Mischief(request=look)) as port:
        outcome(port, replace(HTTP_1, head="400"))
    assert lengths == {400}


def test_a_request_has_the_fields_of_an_ordinary_one(upstream_port: int) -> None:
    requests = []

    def look(request: bytes) -> bytes:
        requests.append(request)
        return request

    behind(upstream_port, request=look)
    names = [line.partition(b":")[0] for line in requests[0].split(b"\r\n")[1:-2]]
    usual = [b"Host", b"User-Agent", b"Accept", b"Accept-Encoding", b"Accept-Language", b"Cookie"]
    assert names == usual


def test_a_proxy_may_add_fields_and_write_names_as_it_likes(upstream_port: int) -> None:
    def answer(message: bytes) -> bytes:
        added = swap(b"\r\n\r\n", b"\r\nx-served-by: somebody\r\n\r\n")
        return head_in_lower_case(added(message))

    assert behind(upstream_port, answer, answer).requests > 0


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"200 OK", b"503 Service Unavailable", "another status line"),
        (b"HTTP/1.1", b"HTTP/1.0", "another status line"),
        (b"ETag: ", b"ETag: W/", "a field with another value"),
        (b"Vary: Accept-Encoding\r\n", b"", "a field is missing"),
        (b"Vary: Accept-Encoding\r\n", b"Vary: Accept-Encoding\r\n" * 2, "a field that came twice"),
        (b"Vary:", b"Vary :", "a line that is no field"),
        (b"private, ", b"private,\n ", "a line that is no field"),
        (b"Length: 1024", b"Length: 1023", "a length that nobody sent"),
        (b"Length: 1024", b"Length: 1024x", "a length that nobody sent"),
        (b"ETag", b"Content-Length: 1024\r\nETag", "two lengths"),
        (b"Content-Length: 1024", b"Transfer-Encoding: chunked", "a transfer coding"),
        (b"\r\n\r\n", b"\r\nx: " + b"y" * 1024 + b"\r\n\r\n", "a head that is too long"),
    ],
)
def test_a_damaged_answer_ends_the_run_with_a_reason(
    upstream_port: int, old: bytes, new: bytes, why: str
) -> None:
    with pytest.raises(RunError, match=f"damaged: {why}"):
        behind(upstream_port, swap(old, new))


def test_a_wrong_byte_of_a_body_ends_the_run(upstream_port: int) -> None:
    with pytest.raises(RunError, match="damaged"):
        behind(upstream_port, lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]))


def test_bytes_beyond_the_answer_end_the_run(upstream_port: int) -> None:
    with pytest.raises(RunError, match="more bytes came back"):
        behind(upstream_port, lambda answer: answer + b"x")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Host: items", b"Host: atoms"),
        (b"Cookie: ", b"Cookie: x"),
        (b"Accept-Language: en\r\n", b""),
        (b"GET", b"PUT"),
        (b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
    ],
)
def test_a_damaged_request_is_never_answered(upstream_port: int, old: bytes, new: bytes) -> None:
    with pytest.raises(RunError, match="ended before its answer was complete"):
        behind(upstream_port, request=swap(old, new))


def test_messages_may_come_byte_by_byte(upstream_port: int) -> None:
    with relay(upstream_port, Mischief(piece_bytes=1)) as port:
        assert outcome(port, HTTP_1).requests > 0
