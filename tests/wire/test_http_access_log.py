"""The access log with HTTP: one line for each request, whatever strangers say in it."""

import json
import re
import socket

import pytest

from tests.support import control
from tests.support.logging_proxy import Logging, Start
from tests.support.sockets import (
    address_of,
    connected,
    receive_until_end,
    written,
)
from tests.support.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
TRACE = "0af7651916cd43dd8448eb211c80319c"
# Whoever can have a line, a field or a terminal's attention with one of these has forged it.
HOSTILE = 'x" 200 5 "-" "curl\\ status=200 caf\u00e9'


def get(target: str = "/cart", **headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: shop"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def talk(proxy: Logging, upstream: socket.socket, request: bytes) -> None:
    """One request over a connection of its own."""
    with connected(proxy.address) as downstream:
        downstream.sendall(request)
        app, _ = upstream.accept()
        with app:
            assert app.recv(65_536)
            app.sendall(OK)
        assert receive_until_end(downstream).endswith(b"hello")


def test_a_request_is_one_line_and_its_connection_another(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start("--access-log", "json")
    trace = f"00-{TRACE}-b7ad6b7169203331-01"
    talk(proxy, upstream, get(User_Agent="curl/8", X_Request_Id="a1", Traceparent=trace))
    request, connection = proxy.fields("request"), proxy.fields("connection")
    words = ("method", "target", "host", "version", "user_agent", "request_id", "trace_id")
    assert [request[word] for word in words] == [
        *("GET", "/cart", "shop", "HTTP/1.1", "curl/8", "a1", TRACE),
    ]
    assert (request["status"], request["flag"], request["attempts"]) == (200, "-", 1)
    assert request["response_bytes"] == 5
    assert request["connection_id"] == connection["id"]
    assert request["downstream"] == connection["downstream"]
    assert request["upstream"] == written(address_of(upstream))


def test_the_parts_of_the_time_are_no_more_than_the_whole(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start("--access-log", "json")
    talk(proxy, upstream, get())
    request = proxy.fields("request")
    assert request["upstream_ms"] > 0
    assert request["proxy_ms"] + request["upstream_ms"] <= request["duration_ms"]


def test_what_the_proxy_started_is_logged_as_the_upstream_sees_it(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start("--access-log", "json")
    with connected(proxy.address) as downstream:
        downstream.sendall(get())
        app, _ = upstream.accept()
        with app:
            seen = app.recv(65_536).decode()
            app.sendall(OK)
        assert receive_until_end(downstream)
    request = proxy.fields("request")
    assert f"x-request-id: {request['request_id']}\r\n" in seen
    assert f"traceparent: 00-{request['trace_id']}-" in seen


def test_a_request_that_the_proxy_answered_says_why(start: Start, upstream: socket.socket) -> None:
    proxy = start("--access-log", "json")
    upstream.close()
    with connected(proxy.address) as downstream:
        downstream.sendall(get())
        assert receive_until_end(downstream).startswith(b"HTTP/1.1 503 ")
    request = proxy.fields("request")
    assert (request["status"], request["flag"], request["upstream_ms"]) == (503, "UF", None)


def test_the_text_style_is_one_line_too(start: Start, upstream: socket.socket) -> None:
    proxy = start("--access-log", "text")
    talk(proxy, upstream, get())
    assert " kind=request " in proxy.line()
    assert " kind=connection " in proxy.line()


def test_the_combined_style_has_requests_and_nothing_else(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start("--access-log", "combined")
    for number in range(2):
        talk(proxy, upstream, get(f"/{number}", User_Agent="curl/8"))
    for number in range(2):
        assert re.fullmatch(
            r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
            rf' "GET /{number} HTTP/1\.1" 200 5 "-" "curl/8"\n',
            proxy.line(),
        )


@pytest.mark.parametrize("style", ["json", "text", "combined"])
def test_no_stranger_can_forge_a_line(start: Start, upstream: socket.socket, style: str) -> None:
    proxy = start("--access-log", style)
    talk(proxy, upstream, get(User_Agent=HOSTILE, X_Request_Id=HOSTILE, Traceparent=HOSTILE))
    line = proxy.line().removesuffix("\n")
    assert line.isascii()
    assert line.isprintable()
    if style == "json":
        assert json.loads(line)["user_agent"] == HOSTILE
    elif style == "combined":
        assert line.endswith(r'"-" "x\" 200 5 \"-\" \"curl\\ status=200 caf\xc3\xa9"')
    else:
        outside_quotes = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        assert outside_quotes.count("status=") == 1


def test_the_latest_requests_are_kept_for_the_operator(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start("--recent", "2")
    for number in range(3):
        talk(proxy, upstream, get(f"/{number}"))
        eventually("the record", lambda: _latest_target(proxy) == f"/{number}")  # noqa: B023
    rows = proxy.ask("/requests")["requests"]
    assert [row["target"] for row in rows] == ["/2", "/1"]
    page = proxy.ctl("requests", "--limit", "1")
    assert "/2" in page
    assert "--limit" in page


def _latest_target(proxy: Logging) -> str:
    rows = proxy.ask("/requests")["requests"]
    return str(rows[0]["target"]) if rows else ""


def test_requests_that_nobody_kept_are_refused_with_the_flag_to_use(start: Start) -> None:
    proxy = start()
    with pytest.raises(control.Refused, match="--recent") as refusal:
        proxy.ask("/requests")
    assert refusal.value.status == 409


def test_status_shows_rate_and_latency(start: Start, upstream: socket.socket) -> None:
    proxy = start()
    talk(proxy, upstream, get())
    eventually("the request to end", lambda: proxy.ask("/status")["requests"]["explicit"]["p50_ms"])
    totals = proxy.ask("/status")["requests"]["explicit"]
    assert (totals["begun"], totals["in_flight"], totals["success_rate"]) == (1, 0, 1)
    assert totals["p50_ms"] <= totals["p99_ms"]
    assert "100.00%" in proxy.ctl("status")


def test_without_a_reader_lines_are_dropped_and_counted_and_requests_go_on(
    start: Start, upstream: socket.socket
) -> None:
    proxy = start("--access-log", "json")
    assert proxy.process.stdout
    proxy.process.stdout.close()
    for _ in range(2):
        talk(proxy, upstream, get())
    eventually("lines to be dropped", lambda: proxy.ask("/status")["log_lines_dropped"] >= 2)
