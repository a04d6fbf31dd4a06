"""Upgrade: a tunnel after the upstream's 101, and nothing before it."""

import socket

import pytest

from tests.support.http import END, Stream, Talk, refusal, request, response, talk_once
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_silence, reset

ASK = request("/chat", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: y\r\n\r\n"
)


def tunnel(route: Route) -> tuple[Stream, Stream]:
    talk = Talk(route)
    asked, up = talk.ask(ASK)
    assert asked.get(b"upgrade") == b"websocket"
    assert (asked.get(b"connection") or b"").lower() == b"upgrade"
    up.send(SWITCH)
    head = talk.down.head()
    assert head.line == b"HTTP/1.1 101 Switching Protocols"
    assert head.get(b"upgrade") == b"websocket"
    assert (head.get(b"connection") or b"").lower() == b"upgrade"
    assert head.get(b"sec-websocket-accept") == b"y"
    return talk.down, up


def test_after_the_switch_both_sides_speak_as_they_like(route: Route) -> None:
    down, up = tunnel(route)
    for turn in range(10):
        up.send(b"GET / HTTP/1.1\r\n\r\n" + bytes([turn]) * 1000)
        assert down.exactly(1018)[-1] == turn
        down.send(b"HTTP/1.1 200 OK\r\n\r\n" + bytes([turn]) * 1000)
        assert up.exactly(1019)[-1] == turn


def test_frames_right_behind_the_switch_arrive(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(ASK)
    up.send(SWITCH + b"\x81\x05hello" * 5_000)
    talk.down.head()
    assert talk.down.exactly(35_000) == b"\x81\x05hello" * 5_000


def test_hints_may_come_before_the_switch(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(ASK)
    up.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SWITCH + b"frame")
    assert [talk.down.head().status for _ in range(2)] == [103, 101]
    assert talk.down.exactly(5) == b"frame"


def test_nothing_is_tunnelled_before_the_switch(route: Route) -> None:
    """CVE-2026-2833: early bytes wait, and reach no upstream that does not switch."""
    talk, up = talk_once(route)
    smuggled = request("/smuggled")
    talk.down.send(ASK + smuggled)
    assert up.request().line == b"GET /chat HTTP/1.1"
    expect_silence(up.sock, 0.1)
    up.send(response(b"no upgrade here"))
    assert talk.down.response().body == b"no upgrade here"
    assert up.request().line == b"GET /smuggled HTTP/1.1"
    up.send(response(b"a request like any other"))
    assert talk.down.response().body == b"a request like any other"


def test_early_bytes_are_the_tunnels_once_the_upstream_switched(route: Route) -> None:
    talk = Talk(route)
    talk.down.send(ASK + b"\x81\x85early")
    up = talk.accept()
    up.request()
    expect_silence(up.sock, 0.05)
    up.send(SWITCH)
    assert up.exactly(7) == b"\x81\x85early"
    assert talk.down.head().status == 101


def test_each_side_may_end_its_half_of_the_tunnel(route: Route) -> None:
    down, up = tunnel(route)
    down.send(b"last words")
    down.sock.shutdown(socket.SHUT_WR)
    assert up.rest() == b"last words"
    up.send(b"still talking")
    up.sock.close()
    assert down.rest() == b"still talking"


def test_a_reset_passes_through_the_tunnel(route: Route) -> None:
    down, up = tunnel(route)
    reset(down.sock)
    with pytest.raises(ConnectionResetError):
        up.rest()


def test_a_tunnel_is_never_used_again(route: Route) -> None:
    down, up = tunnel(route)
    down.sock.close()
    assert up.rest() == b""
    talk = Talk(route)
    asked, _ = talk.ask(request("/next"))
    assert asked.line == b"GET /next HTTP/1.1"


def test_an_unknown_protocol_is_the_upstreams_to_ignore(route: Route) -> None:
    talk = Talk(route)
    asked, up = talk.ask(request("/", "Connection: upgrade", "Upgrade: foo/2, TLS/1.2"))
    assert asked.get(b"upgrade") == b"foo/2, TLS/1.2"
    up.send(response(b"plain"))
    assert talk.down.response().body == b"plain"
    _, answered = talk.exchange(up, request(), response(b"next"))
    assert answered.body == b"next"


@pytest.mark.parametrize("upgrade", ["h2c", "H2C", "websocket, h2c", "h2c,websocket", "x,\th2c ,y"])
def test_an_upgrade_to_http2_is_never_passed_on(route: Route, upgrade: str) -> None:
    fields = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMA")
    asked, up = Talk(route).ask(request("/", *fields))
    assert b"h2c" not in b"".join(asked.all(b"upgrade")).lower()
    assert asked.get(b"http2-settings") is None
    up.sock.close()


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Upgrade: websocket",),
        ("Connection: upgrade",),
        ("Connection: Upgrade", "Upgrade: h2c"),
    ],
    ids=["plain", "without-connection", "without-upgrade", "h2c"],
)
def test_a_switch_that_nobody_asked_for_is_a_502(route: Route, fields: tuple[str, ...]) -> None:
    talk = Talk(route)
    _, up = talk.ask(request("/", *fields))
    up.send(SWITCH + b"tunnelled?")
    answered = talk.down.response()
    assert (answered.status, answered.get(b"remora-error")) == (502, b"response_malformed")
    up.expect_gone()


def test_http_1_0_cannot_upgrade(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(request("/", "Connection: Upgrade", "Upgrade: websocket", minor=0))
    up.send(SWITCH)
    assert talk.down.response().status == 502


def test_a_second_upgrade_field_is_not_lost_or_smuggled(route: Route) -> None:
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c")
    asked, _ = Talk(route).ask(request("/", *fields))
    assert b"h2c" not in b"".join(asked.all(b"upgrade"))


def test_a_tunnel_is_relayed_with_backpressure_and_splice(rig: Rig) -> None:
    down, up = tunnel(rig.route())
    size = 16 << 20
    sent = rig.background(up.send, bytes(size))
    assert down.exactly(size) == bytes(size)
    sent.result()


def test_a_tunnel_counts_as_one_request(route: Route) -> None:
    down, up = tunnel(route)
    down.sock.close()
    up.sock.close()
    assert route.proxy.metrics()("response_total", status_code="101") == 1


def test_the_end_of_the_head_is_the_start_of_the_tunnel_in_every_cut(route: Route) -> None:
    for cut in range(1, len(SWITCH), 7):
        talk = Talk(route)
        _, up = talk.ask(ASK)
        up.send(SWITCH[:cut])
        expect_silence(talk.down.sock, 0.002)
        up.send(SWITCH[cut:] + b"x")
        assert talk.down.until(END).startswith(b"HTTP/1.1 101")
        assert talk.down.exactly(1) == b"x"
        talk.down.sock.close()
        up.sock.close()


def test_a_refused_upgrade_that_ends_in_an_error_is_an_error(route: Route) -> None:
    talk = Talk(route)
    _, up = talk.ask(ASK)
    up.sock.close()
    assert talk.down.until(END) + talk.down.exactly(24) == refusal(
        503, b"upstream_closed", closes=False
    )
