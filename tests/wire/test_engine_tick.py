"""The worker as a passive object: driven by ticks on this thread, it does so much and no more."""

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy._fastpath import REASONS, Engine, Snapshot
from tests.support.borrow import connected_sockets
from tests.support.rig import Rig
from tests.support.sockets import (
    accepted,
    expect_end,
    expect_reset,
    expect_silence,
    fill_until_blocked,
    receive_exactly,
    receive_until_end,
    reset,
)
from tests.support.stepper import EXPLICIT, SETTINGS, Stepper

EVERY_DIRECTION = 0b111
INBOUND = 0b001


@pytest.fixture
def stepper(rig: Rig) -> Iterator[Stepper]:
    made = Stepper(rig)
    yield made
    made.engine.stop()
    assert not any(made.live().values())


def is_readable(fd: int | socket.socket) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- nothing happens by itself -------------------------------------------------------------------


def test_without_a_tick_nothing_is_dialled(stepper: Stepper) -> None:
    stepper.tick()  # takes over the listener
    stepper.connect().sendall(b"anybody there?")
    expect_silence(stepper.upstream, 0.1)
    assert stepper.opened() == 0


def test_one_tick_accepts_whoever_waits_and_dials(stepper: Stepper) -> None:
    stepper.tick()  # takes over the listener
    for _ in range(5):
        stepper.connect()
    stepper.tick()
    assert stepper.opened() == 5
    for _ in range(5):
        stepper.upstream.accept()[0].close()


def test_bytes_wait_in_the_kernel_until_the_next_tick(stepper: Stepper) -> None:
    pair = stepper.pair()
    pair.downstream.sendall(b"one")
    assert not is_readable(pair.upstream)
    stepper.tick()
    assert receive_exactly(pair.upstream, 3) == b"one"


def test_a_tick_with_nothing_to_do_reports_no_event(stepper: Stepper) -> None:
    stepper.pair()
    stepper.settle()
    assert stepper.tick() == 0


def test_one_tick_moves_both_directions(stepper: Stepper) -> None:
    pair = stepper.pair()
    pair.downstream.sendall(b"up")
    pair.upstream.sendall(b"down")
    stepper.tick()
    assert receive_exactly(pair.upstream, 2) == b"up"
    assert receive_exactly(pair.downstream, 4) == b"down"


def test_a_bulk_flow_gives_up_its_turn_so_that_others_get_theirs(stepper: Stepper) -> None:
    bulk, other = stepper.pair(), stepper.pair()
    filled = fill_until_blocked(bulk.downstream, b"x" * 65536, seconds=0.1)
    other.downstream.sendall(b"me too")
    stepper.tick()
    assert receive_exactly(other.upstream, 6) == b"me too"
    reader = stepper.rig.background(receive_exactly, bulk.upstream, filled)
    stepper.tick_until("all of the bulk", reader.done)
    assert reader.result() == b"x" * filled


# --- closing -------------------------------------------------------------------------------------


def test_a_closed_connection_is_gone_by_the_end_of_the_tick(stepper: Stepper) -> None:
    pair = stepper.pair()
    reset(pair.downstream)
    stepper.tick()
    assert stepper.live()["connections"] == 0
    assert stepper.closed("downstream_reset") == 1
    expect_reset(pair.upstream)


def test_a_downstream_that_resets_while_it_is_written_to_is_a_reset_for_the_upstream(
    stepper: Stepper,
) -> None:
    """The failing write takes the error from the socket: a read then says 0, and that is no end."""
    pair = stepper.pair()
    pair.upstream.sendall(b"more")
    reset(pair.downstream)
    stepper.tick()
    assert expect_reset(pair.upstream) == b""


def test_an_upstream_that_resets_while_it_is_written_to_is_a_reset_for_the_downstream(
    stepper: Stepper,
) -> None:
    pair = stepper.pair()
    pair.downstream.sendall(b"more")
    reset(pair.upstream)
    stepper.tick()
    assert expect_reset(pair.downstream) == b""


def test_what_was_said_before_a_reset_still_arrives_when_a_write_meets_the_reset(
    stepper: Stepper,
) -> None:
    pair = stepper.pair()
    pair.upstream.sendall(b"more")
    pair.downstream.sendall(b"last words")
    reset(pair.downstream)
    stepper.tick()
    assert expect_reset(pair.upstream) == b"last words"


def test_resets_of_both_sides_in_one_tick_close_once(stepper: Stepper) -> None:
    pairs = [stepper.pair() for _ in range(20)]
    for pair in pairs:
        reset(pair.downstream)
        reset(pair.upstream)
    stepper.settle()
    assert stepper.live()["connections"] == 0
    assert stepper.closed("downstream_reset") + stepper.closed("upstream_reset") == 20


def test_ends_of_both_sides_in_one_tick_are_a_clean_end(stepper: Stepper) -> None:
    pair = stepper.pair()
    pair.downstream.sendall(b"bye")
    pair.downstream.shutdown(socket.SHUT_WR)
    pair.upstream.shutdown(socket.SHUT_WR)
    stepper.tick()
    assert receive_exactly(pair.upstream, 3) == b"bye"
    expect_end(pair.upstream)
    expect_end(pair.downstream)
    assert stepper.closed("ok") == 1


def test_an_operator_closes_one_connection_and_no_other(stepper: Stepper) -> None:
    doomed, other = stepper.pair(), stepper.pair()
    port = doomed.downstream.getsockname()[1]
    row = next(row for row in stepper.rows() if row.downstream[1] == port)
    stepper.engine.close_connection(row.id)
    stepper.tick()
    expect_reset(doomed.downstream)
    expect_reset(doomed.upstream)
    other.downstream.sendall(b"still here")
    stepper.tick()
    assert receive_exactly(other.upstream, 10) == b"still here"
    assert stepper.closed("operator") == 1


def test_closing_an_unknown_connection_is_no_error(stepper: Stepper) -> None:
    stepper.pair()
    stepper.engine.close_connection(987_654_321)
    stepper.tick()
    assert stepper.live()["connections"] == 1


def test_a_slot_used_again_is_a_new_connection(stepper: Stepper) -> None:
    ids: set[int] = set()
    for _ in range(50):
        pair = stepper.pair()
        ids.update(row.id for row in stepper.rows())
        pair.downstream.close()
        pair.upstream.close()
        stepper.tick_until("the end", lambda: stepper.live()["connections"] == 0)
    assert len(ids) == 50


def test_an_upstream_that_resets_before_its_connect_was_seen_is_no_failed_dial(
    stepper: Stepper,
) -> None:
    """It has accepted, and gone away again, between two ticks."""
    stepper.tick()
    downstream = stepper.connect()
    stepper.tick()
    reset(accepted(stepper.upstream))
    stepper.settle()
    expect_reset(downstream)
    assert stepper.closed("upstream_reset") == 1


def test_an_upstream_that_speaks_and_ends_before_its_connect_was_seen_is_heard(
    stepper: Stepper,
) -> None:
    stepper.tick()
    downstream = stepper.connect()
    stepper.tick()
    with accepted(stepper.upstream) as upstream:
        upstream.sendall(b"busy, go away")
        upstream.shutdown(socket.SHUT_WR)
        stepper.settle()
        assert receive_until_end(downstream) == b"busy, go away"


def test_a_downstream_that_speaks_and_ends_before_it_was_accepted_is_heard(
    stepper: Stepper,
) -> None:
    downstream = stepper.connect()
    downstream.sendall(b"note this")
    downstream.shutdown(socket.SHUT_WR)
    stepper.settle()
    upstream = stepper.rig.keep(accepted(stepper.upstream))
    stepper.settle()
    assert receive_until_end(upstream) == b"note this"


def test_a_downstream_that_resets_before_it_was_accepted_harms_nobody(stepper: Stepper) -> None:
    stepper.tick()
    for _ in range(10):
        reset(stepper.connect())
    stepper.settle()
    assert stepper.live()["connections"] == 0
    stepper.upstream.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            with stepper.upstream.accept()[0] as upstream:
                expect_reset(upstream)


def test_a_connection_that_waited_before_the_worker_took_over_has_the_options_too(
    stepper: Stepper,
) -> None:
    """What is accepted inherits from the listener as it was when the handshake was done."""
    downstream = stepper.connect()
    stepper.settle()
    with connected_sockets(os.getpid()) as ours:
        (side,) = [sock for sock in ours if sock.getpeername() == downstream.getsockname()]
        assert side.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_connection_that_ends_while_it_is_dialled_is_gone(stepper: Stepper) -> None:
    stepper.tick()
    full = stepper.rig.full_listener()
    stepper.engine.publish(Snapshot(2, SETTINGS, [full.getsockname()]))
    downstream = stepper.connect()
    stepper.settle()
    assert [row.phase for row in stepper.rows()] == ["connecting"]
    reset(downstream)
    stepper.tick()
    assert stepper.live()["connections"] == 0


# --- listeners -----------------------------------------------------------------------------------


def test_stop_accepting_serves_the_backlog_and_closes_the_port(stepper: Stepper) -> None:
    stepper.tick()
    waiting = [stepper.connect() for _ in range(10)]
    stepper.engine.stop_accepting(EVERY_DIRECTION)
    stepper.tick()
    assert stepper.opened() == len(waiting)
    assert stepper.engine.worker_state(0)[2] == 0
    with pytest.raises(ConnectionRefusedError):
        stepper.connect()


def test_stop_accepting_of_another_direction_changes_nothing(stepper: Stepper) -> None:
    stepper.engine.stop_accepting(INBOUND)
    stepper.tick()
    assert stepper.engine.worker_state(0)[2] == 1
    stepper.pair()


def test_close_all_resets_the_connections_of_its_directions_only(stepper: Stepper) -> None:
    pair = stepper.pair()
    stepper.engine.close_all(INBOUND, REASONS.index("drain_deadline"))
    stepper.tick()
    assert stepper.live()["connections"] == 1
    stepper.engine.close_all(1 << EXPLICIT, REASONS.index("drain_deadline"))
    stepper.tick()
    expect_reset(pair.downstream)
    assert stepper.closed("drain_deadline") == 1


# --- timers --------------------------------------------------------------------------------------


def test_an_idle_timer_fires_in_a_tick_and_not_before_its_time(rig: Rig) -> None:
    stepper = Stepper(rig)
    stepper.publish(2, idle_ms=200)
    pair = stepper.pair()
    assert stepper.tick() == 0
    expect_silence(pair.downstream, 0.25)
    stepper.tick()
    expect_reset(pair.downstream)
    assert stepper.closed("idle_timeout") == 1
    stepper.engine.stop()


def test_a_tick_waits_no_longer_than_the_next_timer(rig: Rig) -> None:
    stepper = Stepper(rig)
    stepper.publish(2, idle_ms=100)
    stepper.pair()
    stepper.engine.tick(0, 10_000)
    stepper.tick_until("the idle timeout", lambda: stepper.closed("idle_timeout") == 1)
    stepper.engine.stop()


# --- snapshots -----------------------------------------------------------------------------------


def test_a_snapshot_is_in_use_from_the_next_tick_on(stepper: Stepper) -> None:
    stepper.tick()
    assert stepper.engine.worker_state(0)[0] == 1
    stepper.publish(2)
    assert stepper.engine.worker_state(0)[0] == 1
    assert stepper.engine.released_version() == 1
    stepper.tick()
    assert stepper.engine.worker_state(0)[0] == 2
    assert stepper.engine.released_version() == 2


def test_new_targets_are_for_new_connections(stepper: Stepper) -> None:
    before = stepper.pair()
    elsewhere = stepper.rig.listen()
    stepper.engine.publish(Snapshot(2, SETTINGS, [elsewhere.getsockname()]))
    stepper.connect()
    stepper.settle()
    assert is_readable(elsewhere)
    before.downstream.sendall(b"as before")
    stepper.tick()
    assert receive_exactly(before.upstream, 9) == b"as before"


def test_a_thousand_snapshots_do_not_pile_up(stepper: Stepper) -> None:
    for version in range(2, 1002):
        stepper.publish(version)
        stepper.tick()
    assert stepper.engine.released_version() == 1001


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_missing_setting_is_refused_by_its_name(name: str) -> None:
    settings = {key: value for key, value in SETTINGS.items() if key != name}
    with pytest.raises(ValueError, match=name):
        Snapshot(1, settings, [])


def test_an_unknown_setting_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="colour"):
        Snapshot(1, {**SETTINGS, "colour": 3}, [])


@pytest.mark.parametrize("target", [("not an address", 1), ("127.0.0.1", 0), ("::1", 65536)])
def test_a_target_that_is_none_is_refused(target: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match=str(target[0] if target[1] == 1 else target[1])):
        Snapshot(1, SETTINGS, [target])


# --- records and rows ----------------------------------------------------------------------------


def finish_one(stepper: Stepper) -> None:
    pair = stepper.pair()
    pair.downstream.close()
    pair.upstream.close()
    stepper.tick_until("the end", lambda: stepper.live()["connections"] == 0)


def test_no_record_is_kept_unless_records_are_wanted(stepper: Stepper) -> None:
    finish_one(stepper)
    assert stepper.engine.read_records(10) == []


def test_a_closed_connection_leaves_a_record_and_wakes_the_reader(stepper: Stepper) -> None:
    stepper.engine.record_connections(enabled=True)
    stepper.settle()
    stepper.engine.read_records(1)
    assert not is_readable(stepper.engine.record_fd)
    finish_one(stepper)
    assert is_readable(stepper.engine.record_fd)
    (record,) = stepper.engine.read_records(10)
    assert (record.direction, record.reason, record.protocol) == ("explicit", "ok", "none")
    assert record.connect_us >= 0
    assert record.duration_us >= record.connect_us
    assert not is_readable(stepper.engine.record_fd)


def test_records_are_read_in_portions_and_in_order(stepper: Stepper) -> None:
    stepper.engine.record_connections(enabled=True)
    for _ in range(10):
        finish_one(stepper)
    first = stepper.engine.read_records(4)
    assert is_readable(stepper.engine.record_fd)
    rest = stepper.engine.read_records(100)
    ids = [record.id for record in first + rest]
    assert (len(first), len(rest)) == (4, 6)
    assert ids == sorted(ids)


def test_a_full_ring_drops_records_and_counts_them(rig: Rig) -> None:
    stepper = Stepper(rig, records=8)
    stepper.engine.record_connections(enabled=True)
    for _ in range(20):
        finish_one(stepper)
    kept = stepper.engine.read_records(100)
    assert len(kept) + stepper.event("records_dropped") == 20
    assert 0 < len(kept) <= 8
    stepper.engine.stop()


def test_rows_are_there_after_the_tick_that_was_asked_for_them(stepper: Stepper) -> None:
    pair = stepper.pair()
    stepper.engine.request_connections(10)
    assert stepper.engine.take_connections() is None
    stepper.tick()
    rows = stepper.engine.take_connections()
    assert rows is not None
    assert [row.downstream for row in rows] == [pair.downstream.getsockname()]
    assert [row.upstream for row in rows] == [stepper.upstream.getsockname()]
    assert [row.reason for row in rows] == ["open"]


def test_rows_are_limited_to_what_was_asked_for(stepper: Stepper) -> None:
    for _ in range(5):
        stepper.pair()
    stepper.engine.request_connections(3)
    stepper.tick()
    rows = stepper.engine.take_connections()
    assert rows is not None
    assert len(rows) == 3


# --- the end -------------------------------------------------------------------------------------


def test_stop_resets_what_is_open_and_closes_every_descriptor(rig: Rig) -> None:
    before = open_fds()
    stepper = Stepper(rig)
    pairs = [stepper.pair() for _ in range(10)]
    stepper.engine.stop()
    for pair in pairs:
        expect_reset(pair.downstream)
        expect_reset(pair.upstream)
    ours = 2 * len(pairs) + 1  # the test's own ends, and the upstream's listener
    stepper.engine.stop()
    del stepper
    assert open_fds() == before + ours


def test_a_listener_that_no_tick_ever_saw_is_closed_by_stop(rig: Rig) -> None:
    stepper = Stepper(rig)
    stepper.engine.stop()
    assert stepper.live()["listeners"] == 0
    with pytest.raises(ConnectionRefusedError):
        stepper.connect()


def test_stop_may_be_called_twice_and_without_a_start() -> None:
    engine = Engine(1, 10)
    engine.stop()
    engine.stop()


def test_an_engine_that_was_never_stopped_closes_its_descriptors() -> None:
    before = open_fds()
    engine = Engine(4, 10)
    del engine
    assert open_fds() == before


def test_a_command_after_the_stop_is_refused(rig: Rig) -> None:
    stepper = Stepper(rig)
    stepper.engine.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        stepper.engine.stop_accepting(EVERY_DIRECTION)


@pytest.mark.parametrize(
    ("workers", "connections_max", "records"), [(0, 1, 8), (65, 1, 8), (1, 0, 8), (1, 1, 7)]
)
def test_an_engine_of_impossible_size_is_refused(
    workers: int, connections_max: int, records: int
) -> None:
    with pytest.raises(ValueError, match="must be"):
        Engine(workers, connections_max, records=records)


# --- a downstream that says much before the upstream is there ------------------------------------


def test_what_is_read_early_is_bounded_whatever_was_held_for_detection(rig: Rig) -> None:
    """More than a buffer may be held while a ClientHello in tiny records is looked at."""
    stepper = Stepper(rig)
    stepper.upstream = rig.full_listener()
    stepper.publish(2)
    piece = b"\x16\3\1\0\1"
    ciphers = b"\x30\0" + bytes(7_000)
    message = b"\1\0\x3f\0" + bytes(34) + b"\0" + ciphers
    hello = b"".join(piece + bytes([byte]) for byte in message)
    flood = hello + b"x" * 200_000  # no record any more: it is no TLS after all
    stepper.tick()
    downstream = stepper.connect()
    rig.background(downstream.sendall, flood)
    stepper.tick_until("a flood", lambda: sum(stepper.engine.stats()["bytes"]) >= len(hello))
    for _ in range(20):
        stepper.engine.tick(0, 5)
    (row,) = stepper.rows()
    assert row.received_bytes <= 2 * 32_768
    stepper.engine.stop()
    assert not any(stepper.live().values())
