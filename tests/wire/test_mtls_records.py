"""Records after the handshake: cut, held back, damaged, too many; and how a connection ends."""

import contextlib
import socket

import pytest

from tests.support import tls
from tests.support.http import request, response
from tests.support.memory import allowance
from tests.support.mtls import FarProxy, MeshKit, NearProxy, TwoProxies, check_talk
from tests.support.sockets import (
    expect_end,
    expect_reset,
    expect_silence,
    fill_until_blocked,
    receive_exactly,
    receive_until_end,
    reset,
)
from tests.support.tls import TlsEnd
from tests.support.transfers import MIB
from tests.support.waiting import eventually

CHUNK = bytes(range(256)) * 256
BLOCKED_COUNT = 20
IDLE_COUNT = 1_000


@pytest.fixture(params=["downstream", "upstream"])
def ends(request: pytest.FixtureRequest, kit: MeshKit) -> tuple[TlsEnd, socket.socket]:
    """An end in TLS and the plain one behind the proxy; the TLS one dialled, or was dialled."""
    if request.param == "downstream":
        return FarProxy(kit).pair(alpn=tls.ALPN_TCP)
    down, up = NearProxy(kit).pair()
    return up, down


# --- the end -------------------------------------------------------------------------------------


def test_close_notify_is_a_clean_end(ends: tuple[TlsEnd, socket.socket]) -> None:
    end, plain = ends
    end.sendall(b"\0last")
    end.shutdown(socket.SHUT_WR)
    assert receive_until_end(plain) == b"\0last"
    plain.sendall(b"answer")
    assert end.exactly(6) == b"answer"
    plain.close()
    assert end.rest() == b""


def test_close_notify_without_fin_is_a_clean_end(ends: tuple[TlsEnd, socket.socket]) -> None:
    end, plain = ends
    end.say_end()
    expect_end(plain)
    plain.sendall(b"\0still open")
    assert end.exactly(11) == b"\0still open"


def test_fin_without_close_notify_is_a_truncation(ends: tuple[TlsEnd, socket.socket]) -> None:
    end, plain = ends
    check_talk(end, plain)
    end.sock.shutdown(socket.SHUT_WR)
    assert expect_reset(plain) == b""


def test_fin_in_mid_record_is_a_truncation(ends: tuple[TlsEnd, socket.socket]) -> None:
    end, plain = ends
    end.sock.sendall(end.encrypted(b"\0whole") + end.encrypted(b"half")[:-3])
    end.sock.shutdown(socket.SHUT_WR)
    assert expect_reset(plain) in (b"\0whole", b"")


def test_a_reset_is_passed_on(ends: tuple[TlsEnd, socket.socket]) -> None:
    end, plain = ends
    check_talk(end, plain)
    reset(end.sock)
    assert expect_reset(plain) == b""


def test_the_plain_end_leaves_and_the_tls_end_hears_close_notify(
    ends: tuple[TlsEnd, socket.socket],
) -> None:
    end, plain = ends
    plain.sendall(b"\0bye")
    plain.shutdown(socket.SHUT_WR)
    assert end.rest() == b"\0bye"
    expect_end(end.sock)


def test_the_plain_end_is_reset_and_the_tls_end_hears_no_close_notify(
    ends: tuple[TlsEnd, socket.socket],
) -> None:
    end, plain = ends
    check_talk(end, plain)
    reset(plain)
    assert end.refusal() == "reset"


def test_a_truncated_answer_is_not_taken_for_a_whole_one(near: NearProxy) -> None:
    """The body goes to the end of the connection: only close_notify says that it is whole."""
    down = near.dial()
    down.sendall(request("/"))
    up = near.accept().shake()
    assert up.recv().startswith(b"GET / ")
    up.sendall(response(None, "Connection: close") + b"half of it")
    up.sock.shutdown(socket.SHUT_WR)
    assert b"\r\n\r\n" in expect_reset(down)


def test_an_answer_that_ends_with_close_notify_is_whole(near: NearProxy) -> None:
    down = near.dial()
    down.sendall(request("/"))
    up = near.accept().shake()
    up.recv()
    up.sendall(response(None, "Connection: close") + b"all of it")
    up.shutdown(socket.SHUT_WR)
    said = receive_until_end(down)
    assert b"all of it" in said
    assert near.proxy.metrics()("response_total", flag="-") == 1


# --- records in pieces ---------------------------------------------------------------------------


def test_records_in_pieces_of_one_byte_are_put_together(
    ends: tuple[TlsEnd, socket.socket],
) -> None:
    end, plain = ends
    for byte in end.encrypted(b"\0piece by piece"):
        end.sock.sendall(bytes([byte]))
    assert receive_exactly(plain, 15) == b"\0piece by piece"


def test_half_a_record_waits_for_the_other_half(ends: tuple[TlsEnd, socket.socket]) -> None:
    end, plain = ends
    records = end.encrypted(b"\0" * 5_000)
    end.sock.sendall(records[:2_500])
    expect_silence(plain)
    end.sock.sendall(records[2_500:])
    assert receive_exactly(plain, 5_000) == bytes(5_000)


def test_many_records_in_one_segment_arrive_in_order(ends: tuple[TlsEnd, socket.socket]) -> None:
    end, plain = ends
    words = [b"\0%05d" % number for number in range(3_000)]
    end.sock.sendall(b"".join(end.encrypted(word) for word in words))
    assert receive_exactly(plain, 18_000) == b"".join(words)


def test_what_came_with_the_end_of_the_handshake_is_not_lost(far: FarProxy) -> None:
    """The last flight, a request and the end of it all in one segment."""
    end = far.end(alpn=tls.ALPN_HTTP)
    end.flush()
    end.sock.sendall(end.hello())
    end.hear()
    end.ssl.do_handshake()
    flight = end.records() + end.encrypted(request("/early", "Connection: close"))
    end.ssl.shutdown()
    end.sock.sendall(flight + end.records())
    up = far.accept()
    assert up.recv(65536).startswith(b"GET /early ")
    up.sendall(response(b"in time", "Connection: close"))
    assert b"in time" in end.rest()


def test_more_than_a_buffer_behind_the_handshake_is_not_lost(far: FarProxy) -> None:
    end = far.end(alpn=tls.ALPN_TCP)
    end.sock.sendall(end.hello())
    end.hear()
    end.ssl.do_handshake()
    text = CHUNK * 4
    far.kit.rig.background(end.sock.sendall, end.records() + end.encrypted(text))
    assert receive_exactly(far.accept(), len(text)) == text


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 3, 5, -1])
def test_a_damaged_record_breaks_the_connection(far: FarProxy, at: int) -> None:
    end, plain = far.pair(alpn=tls.ALPN_TCP)
    check_talk(end, plain)
    records = bytearray(end.encrypted(b"do not change me"))
    records[at] ^= 0x40
    end.sock.sendall(records)
    with contextlib.suppress(OSError):  # it may be reset already
        end.sock.shutdown(socket.SHUT_WR)
    assert expect_reset(plain) == b""
    reason = "downstream_reset" if at == 3 else "tls_broken"  # a length that never comes
    far.proxy.wait_closed(reason)
    far.check_serves()


def test_a_damaged_record_of_the_upstream_breaks_the_connection(near: NearProxy) -> None:
    down, up = near.pair()
    check_talk(up, down)
    records = bytearray(up.encrypted(b"do not change me"))
    records[-1] ^= 1
    up.sock.sendall(records)
    assert expect_reset(down) == b""
    near.proxy.wait_closed("tls_broken")
    near.check_serves()


def test_a_record_said_twice_breaks_the_connection(far: FarProxy) -> None:
    end, plain = far.pair(alpn=tls.ALPN_TCP)
    record = end.encrypted(b"\0once")
    end.sock.sendall(record + record)
    assert expect_reset(plain) in (b"\0once", b"")
    far.proxy.wait_closed("tls_broken")


def test_plaintext_after_the_handshake_breaks_the_connection(far: FarProxy) -> None:
    end, plain = far.pair(alpn=tls.ALPN_TCP)
    end.sock.sendall(request("/plain"))
    assert expect_reset(plain) == b""
    far.proxy.wait_closed("tls_broken")
    far.check_serves()


def test_a_second_client_hello_breaks_the_connection(kit: MeshKit, far: FarProxy) -> None:
    """Renegotiation is no part of TLS 1.3."""
    end, plain = far.pair(alpn=tls.ALPN_TCP)
    other = TlsEnd(end.sock, tls.context(kit.svid()), alpn=tls.ALPN_TCP)
    end.sock.sendall(other.hello())
    assert expect_reset(plain) == b""
    far.proxy.wait_closed("tls_broken")


def test_a_flood_of_records_that_say_nothing_breaks_the_connection_or_is_borne(
    far: FarProxy,
) -> None:
    end, plain = far.pair(alpn=tls.ALPN_TCP)
    before = far.proxy.private_bytes()
    try:
        for _ in range(20_000):
            end.sock.sendall(b"\x14\3\3\0\1\1")  # change_cipher_spec: only in the handshake
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert expect_reset(plain) == b""
    assert far.proxy.private_bytes() - before < allowance(4 * MIB)
    far.check_serves()


# --- a slow reader -------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", ["downstream", "upstream"])
def test_a_writer_is_blocked_until_the_reader_reads_and_nothing_is_lost(
    kit: MeshKit, writer: str
) -> None:
    pair = kit.two().pair()
    source, target = pair if writer == "downstream" else reversed(pair)
    taken = fill_until_blocked(source, CHUNK)
    received = receive_exactly(target, taken)
    assert received == (CHUNK * (taken // len(CHUNK) + 1))[:taken]
    expect_silence(target)
    source.sendall(b"flows again")
    assert receive_exactly(target, 11) == b"flows again"


@pytest.mark.parametrize("writer", ["downstream", "upstream"])
def test_slow_readers_cost_a_bounded_amount_of_memory(kit: MeshKit, writer: str) -> None:
    two: TwoProxies = kit.two()
    pairs = two.route.pairs(BLOCKED_COUNT)
    before = [proxy.private_bytes() for proxy in (two.near, two.far)]
    for pair in pairs:
        source = pair.downstream if writer == "downstream" else pair.upstream
        fill_until_blocked(source, CHUNK, seconds=0.05)
    for proxy, was in zip((two.near, two.far), before, strict=True):
        # One buffer that waits, one write of four records that the socket did not take.
        assert proxy.live()["buffers"] <= 2 * BLOCKED_COUNT
        grown = proxy.private_bytes() - was
        assert grown < allowance(BLOCKED_COUNT * 256 * 1024 + 2 * MIB), f"{grown / MIB:.1f} MiB"


def test_blocked_connections_leave_the_processor_idle(kit: MeshKit) -> None:
    two = kit.two()
    pair = two.pair()
    fill_until_blocked(pair.downstream, CHUNK)
    before = [proxy.cpu_seconds() for proxy in (two.near, two.far)]
    other = two.pair()
    expect_silence(other.upstream, 1.0)
    for proxy, was in zip((two.near, two.far), before, strict=True):
        assert proxy.cpu_seconds() - was < 0.2


def test_a_drained_reader_leaves_no_buffer_behind(kit: MeshKit) -> None:
    two = kit.two()
    pair = two.pair()
    taken = fill_until_blocked(pair.downstream, CHUNK)
    receive_exactly(pair.upstream, taken)
    eventually("no buffer in use", lambda: not any(row["buffers"] for row in two.live()))


def test_an_end_behind_blocked_bytes_comes_after_them(kit: MeshKit) -> None:
    two = kit.two()
    pair = two.pair()
    taken = fill_until_blocked(pair.downstream, CHUNK)
    pair.downstream.shutdown(socket.SHUT_WR)
    assert len(receive_until_end(pair.upstream)) == taken
    pair.upstream.sendall(b"thanks")
    assert receive_exactly(pair.downstream, 6) == b"thanks"


# --- many ----------------------------------------------------------------------------------------


def test_a_thousand_idle_connections_hold_no_buffers(kit: MeshKit) -> None:
    two = kit.two()
    pairs, before = [], [0, 0]
    for number in range(IDLE_COUNT):
        pair = two.pair()
        pair.downstream.sendall(b"\0%04d" % number)
        assert receive_exactly(pair.upstream, 5) == b"\0%04d" % number
        pairs.append(pair)
        if number == IDLE_COUNT // 2:
            before = [proxy.private_bytes() for proxy in (two.near, two.far)]
    for live in two.live():
        assert (live["connections"], live["buffers"]) == (IDLE_COUNT, 0)
    half = IDLE_COUNT // 2
    for proxy, was in zip((two.near, two.far), before, strict=True):
        grown = proxy.private_bytes() - was
        assert grown < allowance(half * 56 * 1024), f"{grown / half / 1024:.1f} KiB each"
    for pair in pairs[::97]:
        pair.upstream.sendall(b"awake?")
        assert receive_exactly(pair.downstream, 6) == b"awake?"
