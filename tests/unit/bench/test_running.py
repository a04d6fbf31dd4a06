"""Processes are pinned, watched until they answer, and always stopped."""

import contextlib
import os
import secrets
import socket
import sys
from pathlib import Path

import pytest

from bench import running
from bench.peer import Job, Peer
from bench.proc import session
from bench.running import Cores, Place, RunError, pinned, upstream

CORES = Cores.allowed()
SILENT = "import signal; print('not today', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SILENT
# A parent and a worker that it forked, both of which answer through one listener.
FORKING = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.fork()
while True:
    downstream, _ = listener.accept()
    downstream.recv(4096)
    downstream.sendall(b"x" * 16)
"""


def fake(script: str) -> Peer:
    def command(binary: str, job: Job) -> list[str]:
        return [binary, "-c", script, str(job.port)]

    return Peer("fake", "", lambda: sys.executable, command)


def start(peer: Peer) -> contextlib.AbstractContextManager[running.Running]:
    return running.running(peer, Place(1, 10, CORES.proxy))


def test_a_peer_that_never_answers_is_stopped_and_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "START_SECONDS_MAX", 0.5)
    with pytest.raises(RunError, match=r"(?s)no answer within.*not today"), start(fake(SILENT)):
        pass


def test_a_peer_that_ignores_a_polite_request_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "START_SECONDS_MAX", 0.5)
    monkeypatch.setattr(running, "STOP_SECONDS_MAX", 0.1)
    with pytest.raises(RunError, match="no answer within"), start(fake(DEAF)):
        pass


def test_a_peer_that_exits_at_once_is_reported_with_its_status() -> None:
    with pytest.raises(RunError, match="exited with status 3"), start(fake("raise SystemExit(3)")):
        pass


def test_every_process_of_a_peer_is_counted_and_stopped_with_it() -> None:
    with start(fake(FORKING)) as proxy:
        assert len(session(*proxy.pids)) == 2
    assert proxy.pids
    assert session(*proxy.pids) == []


def test_a_peer_is_stopped_when_the_measurement_fails() -> None:
    pids: list[int] = []

    def fail() -> None:
        with start(fake(FORKING)) as proxy:
            pids.extend(proxy.pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert pids
    assert session(*pids) == []


def test_the_time_to_the_first_answer_is_taken() -> None:
    with start(fake(FORKING)) as proxy:
        assert proxy.answer_ms is not None
        assert 1 < proxy.answer_ms < 20_000


def test_a_peer_runs_on_the_core_that_it_was_given() -> None:
    with start(fake(FORKING)) as proxy:
        (pid,) = proxy.pids
        assert os.sched_getaffinity(pid) == {CORES.proxy}


def test_pinning_does_not_outlive_its_block() -> None:
    before = os.sched_getaffinity(0)
    with pinned(CORES.load):
        assert os.sched_getaffinity(0) == {CORES.load}
    assert os.sched_getaffinity(0) == before


def test_the_upstream_is_gone_after_its_block() -> None:
    with upstream(CORES.load) as (_, pid):
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_ports_that_are_picked_are_free_and_differ_and_no_connection_is_given_them() -> None:
    ports = running.free_ports(20)
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == 20
    assert max(ports) < given
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_a_port_that_somebody_has_is_not_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken, free) = running.free_ports(2)
    monkeypatch.setattr(secrets.SystemRandom, "sample", lambda *_: [taken, free])
    with socket.create_server(("127.0.0.1", taken)):
        assert running.free_ports(1) == [free]
