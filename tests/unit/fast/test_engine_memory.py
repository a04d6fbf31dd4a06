"""What the engine owns: had or refused as a whole, and given back whatever happens to it."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.probes.faulty import Faulty
from tests.support.sockets import LOOPBACK, listening
from tests.support.stepper import EXPLICIT, SETTINGS

TARGET = (LOOPBACK["ipv4"], 9)
ALLOCATIONS = 4  # of a snapshot: targets, addresses of services, their table, modes


def open_fds() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@contextmanager
def nothing_left(faulty: Faulty) -> Iterator[None]:
    memory, fds = faulty.held_memory(), open_fds()
    yield
    assert faulty.held_memory() == memory
    assert open_fds() == fds


def engine_with_snapshot(faulty: Faulty, *, workers: int = 1) -> Any:  # noqa: ANN401 - a C class
    engine = faulty.module.Engine(workers, 8)
    engine.publish(faulty.module.Snapshot(1, SETTINGS, [TARGET]))
    return engine


def listener_fd() -> int:
    listener = listening(LOOPBACK["ipv4"])
    listener.setblocking(False)  # noqa: FBT003 - the name of the standard library
    return listener.detach()


def is_open(fd: int) -> bool:
    try:
        socket.socket(fileno=fd).detach()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("posix_memalign", MemoryError),
        ("calloc", OSError),
        ("epoll_create1", OSError),
        ("epoll_ctl", OSError),
        ("eventfd", OSError),
    ],
)
def test_an_engine_that_cannot_be_built_says_so_and_keeps_nothing(
    faulty: Faulty, name: str, error: type[Exception]
) -> None:
    n = 0
    faulty.has_failed = True
    while faulty.has_failed:
        n += 1
        with nothing_left(faulty), faulty.failing(name, n, errno.EMFILE), suppress(error):
            faulty.module.Engine(3, 8)
    assert n > 3, "three workers make this call three times"


def test_a_snapshot_without_memory_says_so(faulty: Faulty) -> None:
    with faulty.failing("PyMem_RawCalloc", 1, errno.ENOMEM), pytest.raises(MemoryError):
        faulty.module.Snapshot(1, SETTINGS, [TARGET])


def test_snapshots_are_freed_once_no_worker_reads_them(faulty: Faulty) -> None:
    engine = engine_with_snapshot(faulty)
    engine.tick(0, 0)
    memory = faulty.held_memory()
    for version in range(2, 50):
        engine.publish(faulty.module.Snapshot(version, SETTINGS, [TARGET]))
        engine.tick(0, 0)
    engine.read_records(1)
    assert faulty.held_memory() == memory
    engine.stop()


def test_snapshots_that_no_worker_has_left_are_kept(faulty: Faulty) -> None:
    engine = engine_with_snapshot(faulty)
    memory = faulty.held_memory()
    for version in range(2, 10):
        engine.publish(faulty.module.Snapshot(version, SETTINGS, [TARGET]))
    assert faulty.held_memory() == memory + 8 * ALLOCATIONS
    engine.stop()


def test_a_thread_that_cannot_be_started_is_an_error_and_the_others_are_joined(
    faulty: Faulty,
) -> None:
    with nothing_left(faulty):
        engine = engine_with_snapshot(faulty, workers=3)
        fd = listener_fd()
        engine.listen(2, fd, EXPLICIT, 0, 1)
        with faulty.failing("pthread_create", 2, errno.EAGAIN), suppress(OSError):
            engine.start()
        assert faulty.has_failed
        engine.stop()
        assert not is_open(fd)
        del engine


@pytest.mark.parametrize("is_threaded", [False, True])
def test_a_listener_given_right_before_the_stop_is_closed(
    faulty: Faulty, *, is_threaded: bool
) -> None:
    engine = engine_with_snapshot(faulty)
    if is_threaded:
        engine.start()
    fd = listener_fd()
    engine.listen(0, fd, EXPLICIT, 0, 1)
    engine.stop()
    was_open = is_open(fd)
    if was_open:
        socket.socket(fileno=fd).close()
    assert not was_open
    assert not any(engine.stats()["live"])


def test_a_request_that_failed_can_be_made_again(faulty: Faulty) -> None:
    engine = engine_with_snapshot(faulty)
    try:
        for n in (1, 2):
            with faulty.failing("calloc", n, errno.ENOMEM), pytest.raises(MemoryError):
                engine.request_connections(10)
        with pytest.raises((ValueError, OverflowError)):
            engine.request_connections(-1)
        engine.request_connections(10)
        engine.tick(0, 0)
        assert engine.take_connections() == []
    finally:
        engine.stop()


def test_a_snapshot_without_the_target_of_a_listener_is_refused(faulty: Faulty) -> None:
    engine = engine_with_snapshot(faulty)
    try:
        engine.listen(0, listener_fd(), EXPLICIT, 0, 1)
        engine.tick(0, 0)
        with pytest.raises(ValueError, match="target"):
            engine.publish(faulty.module.Snapshot(2, SETTINGS, []))
    finally:
        engine.stop()


@pytest.mark.parametrize("host", ["fe80::1%-1", "fe80::1%99999999999"])
def test_a_scope_out_of_range_is_a_value_error_that_names_it(faulty: Faulty, host: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        faulty.module.Snapshot(1, SETTINGS, [(host, 80)])


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([(*TARGET, 2, 0), (*TARGET, 3, 0)], "given before"),
        ([("a.example", 80, 2, 0)], "not an IP address"),
        ([(*TARGET, 1, 0)], "no configured service"),
        ([(*TARGET, 2, 3)], "no configured service"),
    ],
)
def test_services_that_cannot_be_are_refused_and_leave_nothing_behind(
    faulty: Faulty, rows: list[tuple[str, int, int, int]], complaint: str
) -> None:
    with nothing_left(faulty), pytest.raises(ValueError, match=complaint):
        faulty.module.Snapshot(1, SETTINGS, [TARGET], rows)


def test_a_target_that_is_no_address_leaves_nothing_behind(faulty: Faulty) -> None:
    for target in [("a.example", 80), ("1.2.3", 80), ("::1%eth0", 80), ("::1", 0), ("::1", 65536)]:
        with nothing_left(faulty), pytest.raises(ValueError, match="not a"):
            faulty.module.Snapshot(1, SETTINGS, [TARGET, target])


@pytest.mark.parametrize("is_started", [False, True])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_an_engine_that_nobody_keeps_ends_and_leaves_nothing_behind(
    faulty: Faulty, *, is_started: bool, is_stopped: bool
) -> None:
    with nothing_left(faulty):
        engine = engine_with_snapshot(faulty, workers=2)
        if is_started:
            engine.start()
        if is_stopped:
            engine.stop()
        del engine
