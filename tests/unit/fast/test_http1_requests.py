"""Request heads: the fault table, each row with its verdict, in every cut."""

from types import ModuleType

import pytest

from tests.unit.fast.http1_cases import BROKEN_LINES, CASES, GET, HOST, Case

SHORT_BYTES = 1_000


def verdict_of(codec: ModuleType, head: bytes, *, is_low: bool = False) -> int:
    found = codec.request(head, is_low=is_low)
    return found if isinstance(found, int) else 0


def case_id(case: Case) -> str:
    return case.id


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_each_row_has_its_verdict(codec: ModuleType, case: Case) -> None:
    found = codec.scan(case.head)
    assert found == len(case.head)
    assert verdict_of(codec, case.head) == case.verdict
    assert verdict_of(codec, case.head, is_low=True) == case.verdict


@pytest.mark.parametrize("case", BROKEN_LINES, ids=case_id)
def test_a_line_that_does_not_end_as_it_should_ends_the_search(
    codec: ModuleType, case: Case
) -> None:
    assert codec.scan(case.head) == -case.verdict
    assert codec.scan(case.head, is_low=True) == -case.verdict


@pytest.mark.parametrize("case", [*CASES, *BROKEN_LINES], ids=case_id)
def test_a_truncated_head_needs_more_or_is_refused_for_good(codec: ModuleType, case: Case) -> None:
    """Near the start, near the end, and every byte of what is short."""
    whole = codec.scan(case.head)
    size = len(case.head)
    cuts = range(size) if size < SHORT_BYTES else [*range(300), *range(size - 300, size)]
    refused = False
    for cut in cuts:
        found = codec.scan(case.head[:cut])
        assert found == 0 or (found < 0 and found in {whole, -case.verdict}), cut
        assert not refused or found < 0, "refused, and then not any more"
        refused = found < 0


@pytest.mark.parametrize(
    "case", [c for c in (*CASES, *BROKEN_LINES) if len(c.head) <= SHORT_BYTES], ids=case_id
)
def test_the_search_goes_on_where_it_stopped(codec: ModuleType, case: Case) -> None:
    """Byte by byte, and at every split: the end that is found is the same."""
    whole = codec.scan(case.head)
    seen = 0
    for length in range(1, len(case.head) + 1):
        found = codec.scan(case.head[:length], seen)
        if found:
            break
        seen = length
    else:
        found = 0
    assert found == whole
    for cut in range(len(case.head)):
        first = codec.scan(case.head[:cut])
        assert (first or codec.scan(case.head, cut)) == whole, cut


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_what_follows_a_head_is_not_part_of_it(codec: ModuleType, case: Case) -> None:
    for more in (b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\n", b"\0"):
        assert codec.scan(case.head + more) == len(case.head)


def test_a_head_that_grows_without_an_end_is_refused_at_the_limit(codec: ModuleType) -> None:
    text = GET + HOST
    text += b"X: y\r\n" * (codec.HEAD_BYTES_MAX // 6)
    limit = codec.HEAD_BYTES_MAX
    assert codec.scan(text[:limit]) == 0
    assert codec.scan(text[: limit + 1], limit) == -431


def test_the_largest_head_is_taken_and_one_byte_more_is_not(codec: ModuleType) -> None:
    start = GET + HOST + b"X: "
    for size, found in ((codec.HEAD_BYTES_MAX, codec.HEAD_BYTES_MAX), (65_537, -431)):
        head = start.ljust(size - 4, b"x") + b"\r\n\r\n"
        assert codec.scan(head) == found
        assert codec.scan(head, size - 10) == found


def test_a_line_without_an_end_is_refused_at_its_own_limit(codec: ModuleType) -> None:
    text = b"GET /" + b"x" * codec.LINE_BYTES_MAX
    assert codec.scan(text[: codec.LINE_BYTES_MAX]) == 0
    assert codec.scan(text[: codec.LINE_BYTES_MAX + 1], codec.LINE_BYTES_MAX) == -414


def test_the_search_costs_the_same_however_small_the_pieces_are(codec: ModuleType) -> None:
    """Nothing is looked at twice: bytes before `seen` may be anything, but for the last two."""
    head = GET + HOST + b"X: y\r\n\r\n"
    for seen in range(3, len(head)):
        blind = b"\n" * (seen - 2) + head[seen - 2 :]
        assert codec.scan(blind, seen) == codec.scan(head, seen)


@pytest.mark.parametrize(
    ("text", "skipped"),
    [(b"\r\n", 2), (b"\r\n\r\n", 2), (b"\r", 0), (b"\n", 0), (b"G", 0), (b"", 0)],
)
def test_an_empty_line_before_a_request_is_skipped(
    codec: ModuleType, text: bytes, skipped: int
) -> None:
    messages, end, at = codec.requests(text + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * bool(skipped))
    assert (len(messages) == 1) == bool(skipped)
    assert end in {"more", 400}
    assert at >= skipped


def test_parts_of_a_request_are_found(codec: ModuleType) -> None:
    head = codec.request(
        b"POST /a?b HTTP/1.1\r\nHOST:\ta.example \r\nContent-Length: 12\r\nX-Y:\r\n\r\n"
    )
    assert (head.method, head.method_id, head.target, head.minor) == (b"POST", "POST", b"/a?b", 1)
    assert (head.body, head.content_length) == ("length", 12)
    assert [(f.name, f.value, f.id) for f in head.fields] == [
        (b"HOST", b"a.example", "host"),
        (b"Content-Length", b"12", "content-length"),
        (b"X-Y", b"", ""),
    ]


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"", "none"),
        (b"Content-Length: 0\r\n", "none"),
        (b"Content-Length: 1\r\n", "length"),
        (b"Transfer-Encoding: chunked\r\n", "chunked"),
    ],
)
def test_the_fields_frame_the_body_of_a_request_whatever_its_method(
    codec: ModuleType, fields: bytes, body: str
) -> None:
    for method in (b"GET", b"POST", b"HEAD", b"DELETE", b"OTHER", b"OPTIONS"):
        head = codec.request(method + b" / HTTP/1.1\r\n" + HOST + fields + b"\r\n")
        assert head.body == body


@pytest.mark.parametrize(
    ("minor", "connection", "persists"),
    [
        (1, b"", True),
        (1, b"close", False),
        (1, b"CLOSE", False),
        (1, b"x, Close", False),
        (1, b"keep-alive", True),
        (1, b"keep-alive, close", False),
        (1, b"closed", True),
        (0, b"", False),
        (0, b"keep-alive", True),
        (0, b"Keep-Alive, close", False),
    ],
)
def test_connection_and_version_say_whether_the_connection_persists(
    codec: ModuleType, minor: int, connection: bytes, persists: object
) -> None:
    start = b"GET / HTTP/1.%d\r\n" % minor + HOST
    head = codec.request(start + b"Connection: " + connection + b"\r\n\r\n")
    assert head.persists == persists


def test_several_connection_fields_are_one_list(codec: ModuleType) -> None:
    head = codec.request(GET + HOST + b"Connection: a\r\nConnection: close\r\nA: 1\r\n\r\n")
    assert not head.persists
    assert head.fields[-1].is_dropped


@pytest.mark.parametrize(
    ("fields", "upgrades"),
    [
        (b"Connection: upgrade\r\nUpgrade: websocket\r\n", True),
        (b"Connection: Upgrade, x\r\nUpgrade: websocket\r\n", True),
        (b"Upgrade: websocket\r\n", False),
        (b"Connection: upgrade\r\n", False),
        (b"Connection: upgrades\r\nUpgrade: websocket\r\n", False),
    ],
)
def test_an_upgrade_is_asked_for_with_both_fields(
    codec: ModuleType, fields: bytes, upgrades: object
) -> None:
    head = codec.request(GET + HOST + fields + b"\r\n")
    assert head.upgrades == upgrades


def test_only_1_1_can_expect_a_continuation(codec: ModuleType) -> None:
    for minor, expects in ((1, True), (0, False)):
        head = codec.request(b"PUT / HTTP/1.%d\r\nHost: a\r\nExpect: 100-continue\r\n\r\n" % minor)
        assert head.expects_continue == expects


def test_methods_are_known_in_upper_case_only(codec: ModuleType) -> None:
    for name in codec.METHODS[1:]:
        assert codec.method_id(name.encode()) == name
        assert codec.method_id(name.lower().encode()) == "OTHER"
        assert codec.method_id(name.encode() + b"X") == "OTHER"
        assert codec.method_id(name.encode()[:-1]) == "OTHER"


def test_what_may_be_sent_twice_is_what_the_rfc_calls_idempotent(codec: ModuleType) -> None:
    idempotent = {name for name in codec.METHODS if codec.is_idempotent(name)}
    assert idempotent == {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}
