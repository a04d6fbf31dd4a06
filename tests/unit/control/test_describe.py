"""Records as the log and the operator see them."""

import pytest

from proxy import describe
from tests.unit.control.records import TRACE, connection, request


def test_a_connection_that_never_reached_its_upstream_has_no_connect_time() -> None:
    described = describe.connection(
        connection(connect_us=-1, upstream=("", 0), reason="connect_refused")
    )
    assert (described["connect_ms"], described["upstream"]) == (None, None)
    assert described["flag"] == "UF"


def test_the_time_of_a_request_is_split_at_the_sending_and_at_the_first_byte() -> None:
    described = describe.request(request())
    assert [described[name] for name in ("proxy_ms", "upstream_ms", "duration_ms")] == [1, 3.5, 5]


def test_an_upstream_that_said_nothing_had_all_the_time_after_the_sending() -> None:
    described = describe.request(request(status=504, flag="UT", first_byte_after_us=0))
    assert (described["proxy_ms"], described["upstream_ms"]) == (1, 4)


def test_a_request_that_was_never_sent_took_the_proxys_time_only() -> None:
    refused = request(status=503, flag="UF", sent_after_us=0, first_byte_after_us=0)
    described = describe.request(refused)
    assert (described["proxy_ms"], described["upstream_ms"]) == (5, None)


def test_a_request_sent_at_once_was_sent_all_the_same() -> None:
    described = describe.request(request(sent_after_us=0))
    assert (described["proxy_ms"], described["upstream_ms"]) == (0, 4.5)


def test_the_trace_is_found_in_the_traceparent() -> None:
    assert describe.request(request())["trace_id"] == TRACE


@pytest.mark.parametrize("text", ["", "00", "00-xyz-b7ad6b7169203331-01", f"00-{TRACE}", "\n"])
def test_what_is_no_traceparent_has_no_trace(text: str) -> None:
    assert describe.trace_id(text) == ""


def test_a_traceparent_of_a_later_version_may_be_longer() -> None:
    assert describe.trace_id(f"01-{TRACE}-b7ad6b7169203331-01-more") == TRACE


def test_utf_8_is_read_as_such() -> None:
    assert describe.readable("caf\xc3\xa9") == "caf\u00e9"


def test_bytes_that_are_no_utf_8_are_shown_as_bytes() -> None:
    assert describe.readable("caf\xe9") == "caf\\xe9"
