"""Fields on the wire: what stays as it came, what is for one hop only, and what the proxy adds."""

import re

import pytest

from tests.support.http import Message, Talk, chunked, request, response
from tests.support.rig import Rig, Route

HOP_BY_HOP = [
    *("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers"),
    *("Upgrade: foo", "HTTP2-Settings: AAMAAABkAAQ"),
]


def asked(route: Route, *fields: str) -> Message:
    """Send GET with these fields; return what the upstream got."""
    talk = Talk(route)
    message, up = talk.ask(request("/", *fields))
    up.send(response(b""))
    assert talk.down.response().status == 200
    return message


def test_names_values_order_and_case_stay_as_they_came(route: Route) -> None:
    fields = ["X-B: 1", "accept:  */* ", "x-A:2", "Cookie: a=b", "COOKIE: c=d", "E:", "X-b: 3"]
    got = asked(route, *fields).came()
    assert got == [
        *((b"Host", b"a.example"), (b"X-B", b"1"), (b"accept", b"*/*"), (b"x-A", b"2")),
        *((b"Cookie", b"a=b"), (b"COOKIE", b"c=d"), (b"E", b""), (b"X-b", b"3")),
    ]


def test_fields_of_a_response_stay_as_they_came(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(response(b"", "Server: x/1", "VIA: 1.1 y", "Set-Cookie: a", "set-cookie: b", "Date: z"))
    assert talk.down.response().fields == [
        *((b"Server", b"x/1"), (b"VIA", b"1.1 y"), (b"Set-Cookie", b"a"), (b"set-cookie", b"b")),
        *((b"Date", b"z"), (b"Content-Length", b"0")),
    ]


@pytest.mark.parametrize("field", HOP_BY_HOP)
def test_what_is_for_one_hop_goes_no_further(route: Route, field: str) -> None:
    talk = Talk(route)
    message, up = talk.ask(request("/", field, "Connection: keep-alive"))
    assert message.came() == [(b"Host", b"a.example")]
    up.send(response(b"", field, "Connection: keep-alive"))
    assert talk.down.response().fields == [(b"Content-Length", b"0")]


def test_what_connection_names_goes_no_further(route: Route) -> None:
    message = asked(route, "X-Secret: 1", "Connection: x-SECRET", "Connection: , x-other", "X: 2")
    assert message.came() == [(b"Host", b"a.example"), (b"X", b"2")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Host", "a.example"), ("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")),
        *(("X-Request-Id", "my-id"), ("Authorization", "Basic eA==")),
        ("Traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
    ],
)
def test_connection_cannot_name_what_others_rely_on(route: Route, name: str, value: str) -> None:
    fields = [] if name == "Host" else [f"{name}: {value}"]
    message = asked(route, *fields, f"Connection: close, {name}")
    assert message.get(name.lower().encode()) == value.encode()


def test_connection_cannot_name_the_framing(route: Route) -> None:
    talk = Talk(route)
    text = request("/", "Connection: content-length", method="POST", body=b"GET /evil HTTP/1.1\r\n")
    message, up = talk.ask(text)
    assert message.body == b"GET /evil HTTP/1.1\r\n"
    up.send(response(b""))
    assert talk.down.response().status == 200
    head = request("/", "Connection: Transfer-Encoding", "Transfer-Encoding: chunked", method="PUT")
    message, _ = talk.exchange(up, head + chunked(b"abc"), response(b""))
    assert message.body == b"abc"


def test_a_field_is_not_taken_for_one_that_its_name_resembles(route: Route) -> None:
    message = asked(route, "x~: 1", "Connection: x^")
    assert (b"x~", b"1") in message.came()


# ---- what the proxy adds ------------------------------------------------------------------------


def test_a_request_gets_an_id_and_a_trace_of_its_own(route: Route) -> None:
    talk = Talk(route)
    first, up = talk.ask(request())
    up.send(response(b""))
    assert talk.down.response().status == 200
    second, _ = talk.exchange(up, request(), response(b""))
    for message in (first, second):
        assert re.fullmatch(rb"[0-9a-f]{32}", message.get(b"x-request-id") or b"")
        trace = re.fullmatch(
            rb"00-([0-9a-f]{32})-([0-9a-f]{16})-00", message.get(b"traceparent") or b""
        )
        assert trace
        assert set(trace[1]) != {48}
        assert set(trace[2]) != {48}
    assert first.get(b"x-request-id") != second.get(b"x-request-id")
    assert first.get(b"traceparent") != second.get(b"traceparent")


def test_an_id_and_a_trace_that_are_there_stay(route: Route) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    message = asked(route, "X-REQUEST-ID: mine", f"TraceParent: {trace}")
    assert message.fields[1:] == [(b"X-REQUEST-ID", b"mine"), (b"TraceParent", trace.encode())]


def test_ids_can_be_switched_off(rig: Rig) -> None:
    message = asked(rig.route("--no-http-request-ids"), "X: 1")
    assert message.fields == [(b"Host", b"a.example"), (b"X", b"1")]


def test_an_outbound_or_explicit_request_tells_nobody_where_it_came_from(route: Route) -> None:
    message = asked(route)
    assert message.get(b"x-forwarded-for") is None
    assert message.get(b"x-forwarded-proto") is None


def test_where_a_request_came_from_is_added(rig: Rig) -> None:
    route = rig.route("--http-forwarded", "all")
    message = asked(route)
    assert message.get(b"x-forwarded-for") == b"127.0.0.1"
    assert message.get(b"x-forwarded-proto") == b"http"


def test_it_is_added_over_ipv6_too(rig: Rig) -> None:
    message = asked(rig.route("--http-forwarded", "all", host="::1"))
    assert message.get(b"x-forwarded-for") == b"::1"


def forwarded_list(message: Message) -> list[bytes]:
    return b", ".join(message.all(b"x-forwarded-for")).split(b", ")


def test_it_is_appended_to_what_earlier_hops_said(rig: Rig) -> None:
    route = rig.route("--http-forwarded", "all")
    message = asked(route, "X-Forwarded-For: 192.0.2.1, 192.0.2.2", "X-Forwarded-Proto: https")
    assert forwarded_list(message) == [b"192.0.2.1", b"192.0.2.2", b"127.0.0.1"]
    assert message.get(b"x-forwarded-proto") == b"https"


def test_it_comes_last_however_many_fields_there_are(rig: Rig) -> None:
    route = rig.route("--http-forwarded", "all")
    message = asked(route, "X-Forwarded-For: a", "X: 1", "x-forwarded-for: b", "X-Forwarded-FOR: c")
    assert forwarded_list(message) == [b"a", b"b", b"c", b"127.0.0.1"]


def test_a_request_that_names_it_in_connection_still_carries_it(rig: Rig) -> None:
    route = rig.route("--http-forwarded", "all")
    message = asked(route, "X-Forwarded-For: a", "Connection: x-forwarded-for, x-forwarded-proto")
    assert forwarded_list(message) == [b"a", b"127.0.0.1"]
    assert message.get(b"x-forwarded-proto") == b"http"


def test_an_answer_of_the_upstream_never_carries_our_error_field(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request())
    up.send(response(b"sorry", status="503 Service Unavailable"))
    answered = talk.down.response()
    assert (answered.status, answered.body) == (503, b"sorry")
    assert answered.get(b"remora-error") is None


@pytest.mark.parametrize("size", [8_000, 30_000, 60_000])
def test_large_heads_pass_both_ways(route: Route, size: int) -> None:
    talk = Talk(route)
    message, up = talk.ask(request("/" + "p" * 8_000, "X-Large: " + "x" * (size - 8_000)))
    assert len(message.get(b"x-large") or b"") == size - 8_000
    up.send(response(b"ok", "X-Large: " + "y" * size))
    answered = talk.down.response()
    assert (len(answered.get(b"x-large") or b""), answered.body) == (size, b"ok")
