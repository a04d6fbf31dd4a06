"""Response heads: what is an answer, how it is framed, and what is none."""

from types import ModuleType

import pytest

OK = b"HTTP/1.1 200 OK\r\n"
GOOD_LINES = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200"),
    *(b"HTTP/1.1 599 \xe9\t~", b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 x", b"HTTP/1.1 299 a  b "),
]
BAD_LINES = [
    *(b"HTTP/1.1 99 x", b"HTTP/1.1 600 x", b"HTTP/1.1 000 x", b"HTTP/1.1 2000 x", b"HTTP/1.1 20 x"),
    *(b"HTTP/1.1  200 OK", b"HTTP/1.1 20x OK", b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK"),
    *(b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"HTTP/1.1200 OK", b"ICY 200 OK"),
    *(
        b"HTTP/1.1 200 a\0b",
        b"HTTP/1.1 200 a\rb",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1",
        b"x",
        b"200 OK",
    ),
    *(b"HTTP/1.1 +20 OK", b"HTTP/1.1 -20 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 2 0 OK", b"HTTP/11"),
    *(b"HTTP/1.1 200 a\x7fb", b"HTTP/1.1 200 a\x01b"),
]
BAD_FIELDS = [
    *(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: 5\r\nContent-Length: 5\r\n"),
    *(b"Content-Length: 5, 5\r\n", b"Content-Length: +5\r\n", b"Content-Length: \r\n"),
    *(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n"),
    *(b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding : chunked\r\n", b"no colon\r\n"),
    *(b"X: a\r\n folded\r\n", b" X: a\r\n", b": x\r\n", b"X: a\0b\r\n", b"X: a\rb\r\n"),
    *(b"Content-Length: 99999999999999999999\r\n", b"HTTP/1.1 200 OK\r\n", b"Connection: @\r\n"),
    b"A: b\r\n" * 101,
]


@pytest.mark.parametrize("line", GOOD_LINES)
def test_a_good_status_line_is_taken(codec: ModuleType, line: bytes) -> None:
    head = codec.response(line + b"\r\n\r\n")
    assert head.status == int(line[9:12])
    assert head.minor == int(line[7:8])


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_status_line_is_no_answer(codec: ModuleType, line: bytes) -> None:
    for is_low in (False, True):
        assert codec.response(line + b"\r\nContent-Length: 0\r\n\r\n", is_low=is_low) == 502


@pytest.mark.parametrize("fields", BAD_FIELDS)
def test_a_field_that_two_parsers_could_read_differently_makes_it_none(
    codec: ModuleType, fields: bytes
) -> None:
    for is_low in (False, True):
        assert codec.response(OK + fields + b"\r\n", is_low=is_low) == 502
    assert codec.response(OK + b"X: ok\r\n\r\n").status == 200


def test_chunked_from_an_http_1_0_upstream_is_faulty_framing(codec: ModuleType) -> None:
    assert codec.response(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") == 502


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"", "until_close"),
        (b"Content-Length: 0\r\n", "none"),
        (b"Content-Length: 7\r\n", "length"),
        (b"Transfer-Encoding: chunked\r\n", "chunked"),
    ],
)
def test_status_method_and_fields_frame_the_body(
    codec: ModuleType, fields: bytes, body: str
) -> None:
    def framing(status: int, method: str) -> str:
        head = codec.response(b"HTTP/1.1 %d x\r\n" % status + fields + b"\r\n", method)
        return str(head.body)

    for status in (200, 201, 205, 206, 302, 400, 404, 500, 599):
        assert framing(status, "GET") == body
        assert framing(status, "HEAD") == "none"
        assert framing(status, "CONNECT") == ("tunnel" if status < 300 else body)
    for status in (100, 102, 103, 199, 204, 304):
        assert framing(status, "GET") == "none"
        assert framing(status, "POST") == "none"
    assert framing(101, "GET") == "tunnel"


@pytest.mark.parametrize(
    ("line", "connection", "persists"),
    [
        (b"HTTP/1.1", b"", True),
        (b"HTTP/1.1", b"Connection: close\r\n", False),
        (b"HTTP/1.1", b"Connection: Keep-Alive\r\n", True),
        (b"HTTP/1.0", b"", False),
        (b"HTTP/1.0", b"Connection: keep-alive\r\n", True),
        (b"HTTP/1.0", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_the_upstream_says_whether_its_connection_persists(
    codec: ModuleType, line: bytes, connection: bytes, persists: object
) -> None:
    head = codec.response(line + b" 200 OK\r\nContent-Length: 0\r\n" + connection + b"\r\n")
    assert head.persists == persists


def test_a_truncated_response_needs_more(codec: ModuleType) -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n"
    for cut in range(len(text)):
        assert codec.scan(text[:cut]) == 0
        messages, end, at = codec.answer(text[:cut], "GET")
        assert (messages, end, at) == ([], "more", 0)


def test_interim_responses_come_before_the_final_one(codec: ModuleType) -> None:
    text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK
    messages, end, at = codec.answer(text + b"Content-Length: 1\r\n\r\nyz", "GET")
    assert [message.head.status for message in messages] == [100, 103, 200]
    assert (end, messages[-1].body) == ("whole", b"y")
    assert at == len(text) + 22
