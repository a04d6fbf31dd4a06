"""Heads as they are written: what came, in its order and case, less what is meant for one hop."""

import itertools
from types import ModuleType

import pytest

LINE = b"GET /A?b HTTP/1.1\r\n"
HOP_BY_HOP = [
    *(b"Connection: close", b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: x"),
    *(b"Upgrade: websocket", b"HTTP2-Settings: AAMAAABkAAQ"),
]
END_TO_END = [b"HOST: a", b"x-Y:  spaced \t", b"Cookie: a=b", b"cookie: c=d", b"Trailer: z", b"e:"]


def head_of(*fields: bytes) -> bytes:
    return LINE + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def written(codec: ModuleType, *fields: bytes) -> bytes:
    text: bytes = codec.emitted(head_of(*fields))
    return text + b"\r\n"


def test_nothing_is_changed_where_nothing_has_to_be(codec: ModuleType) -> None:
    assert written(codec, *END_TO_END) == head_of(*END_TO_END)


@pytest.mark.parametrize("field", HOP_BY_HOP)
def test_a_field_for_one_hop_goes_wherever_it_stands(codec: ModuleType, field: bytes) -> None:
    for at in range(len(END_TO_END) + 1):
        fields = [*END_TO_END[:at], field, *END_TO_END[at:]]
        assert written(codec, *fields) == head_of(*END_TO_END)
    assert written(codec, field, b"Host: a", field) == head_of(b"Host: a")


def test_every_mix_of_both_keeps_the_order(codec: ModuleType) -> None:
    for chosen in itertools.product((False, True), repeat=6):
        fields = [
            field
            for pair in zip(HOP_BY_HOP, END_TO_END, strict=True)
            for field in (pair if chosen[END_TO_END.index(pair[1])] else pair[1:])
        ]
        assert written(codec, *fields) == head_of(*END_TO_END)


def test_fields_named_by_connection_go_in_any_case_and_place(codec: ModuleType) -> None:
    fields = [b"X-Secret: 1", b"Host: a", b"Connection: x-secret, X-OTHER", b"x-other: 2", b"X: 3"]
    assert written(codec, *fields) == head_of(b"Host: a", b"X: 3")


@pytest.mark.parametrize(
    "name",
    [
        *(b"Host", b"Content-Length", b"Authorization", b"X-Request-Id", b"X-Forwarded-For"),
        *(b"X-Forwarded-Proto", b"Traceparent"),
    ],
)
def test_connection_cannot_talk_these_away(codec: ModuleType, name: bytes) -> None:
    fields = [b"Host: a"] * (name != b"Host") + [name + b": 1"]
    connection = b"Connection: " + name.lower() + b", " + name
    assert written(codec, *fields, connection) == head_of(*fields)


def test_connection_cannot_talk_the_coding_away(codec: ModuleType) -> None:
    fields = [b"Host: a", b"Transfer-Encoding: chunked"]
    assert written(codec, *fields, b"Connection: transfer-encoding") == head_of(*fields)


def test_a_name_in_connection_is_a_whole_name(codec: ModuleType) -> None:
    fields = [b"Host: a", b"X-Auth-Token: 1", b"X: 2", b"x~: 3", b"Auth: 4"]
    assert written(codec, *fields, b"Connection: x-auth, x^, y") == head_of(*fields)


def test_a_field_can_be_continued(codec: ModuleType) -> None:
    head = head_of(b"Host: a", b"X-Forwarded-For:  192.0.2.1 ")
    assert codec.emitted_again(head, 1) == b"X-Forwarded-For: 192.0.2.1, "


def test_the_largest_head_fits_the_place_that_it_is_written_to(codec: ModuleType) -> None:
    head = head_of(b"Host: a", b"X: " + b"x" * (codec.HEAD_BYTES_MAX - 40))
    assert codec.emitted(head) + b"\r\n" == head


def test_responses_are_written_the_same_way(codec: ModuleType) -> None:
    head = b"HTTP/1.1 200 all  right\r\nSERVER: x\r\nConnection: close, b\r\nB: 1\r\nVia: y\r\n\r\n"
    assert codec.emitted(head, is_request=False) == (
        b"HTTP/1.1 200 all  right\r\nSERVER: x\r\nVia: y\r\n"
    )


# ---- the proxy's own answers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        *((400, b"Bad Request"), (408, b"Request Timeout"), (413, b"Content Too Large")),
        *((414, b"URI Too Long"), (417, b"Expectation Failed"), (501, b"Not Implemented")),
        *((431, b"Request Header Fields Too Large"), (502, b"Bad Gateway")),
        *((503, b"Service Unavailable"), (504, b"Gateway Timeout")),
        (505, b"HTTP Version Not Supported"),
    ],
)
def test_an_answer_of_the_proxys_own_says_why(
    codec: ModuleType, status: int, phrase: bytes
) -> None:
    assert codec.reply(status, b"some_reason") == (
        b"HTTP/1.1 %d " % status + phrase + b"\r\ncontent-type: text/plain\r\n"
        b"content-length: 20\r\nremora-error: some_reason\r\nconnection: close\r\n\r\n"
        b"remora: some_reason\n"
    )


def test_to_head_it_has_the_same_fields_and_no_body(codec: ModuleType) -> None:
    whole = codec.reply(503, b"why")
    assert codec.reply(503, b"why", is_head=True) == whole[: whole.index(b"\r\n\r\n") + 4]


def test_it_says_close_only_when_the_connection_closes(codec: ModuleType) -> None:
    assert b"connection:" not in codec.reply(503, b"why", closes=False)


def test_it_is_an_answer_that_another_parser_takes(codec: ModuleType) -> None:
    for is_head, closes in itertools.product((False, True), repeat=2):
        method = "HEAD" if is_head else "GET"
        text = codec.reply(504, b"why", is_head=is_head, closes=closes)
        (message,), end, at = codec.answer(text, method)
        assert (end, at) == ("whole", len(text))
        assert message.head.persists != closes
