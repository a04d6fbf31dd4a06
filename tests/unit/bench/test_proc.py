"""CPU and memory of a session, as the kernel tells them."""

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import proc
from bench.proc import (
    ANONYMOUS,
    Thread,
    busiest,
    busy_ns,
    cpu,
    mapped,
    memory,
    session,
    stolen_ns,
    threads,
)
from tests.support.waiting import eventually

PAGES = 16
RW = mmap.PROT_READ | mmap.PROT_WRITE
# Two processes that spin until they have used 50 ms each, then wait for the end of their stdin.
SPINNING = """
import os, sys, time
os.fork()
while time.process_time() < 0.05:
    pass
sys.stdin.read()
"""


@pytest.fixture
def spinning() -> Iterator[int]:
    words = [sys.executable, "-c", SPINNING]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process.pid


def test_cpu_of_forked_processes_is_counted(spinning: int) -> None:
    used = eventually("100 ms of two processes", lambda: _at_least(spinning, 95_000_000))
    assert used < 2_000_000_000


def test_sessions_are_counted_together(spinning: int) -> None:
    words = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as other:
        together = eventually("all three", lambda: _three(session(spinning, other.pid)))
    assert other.pid in together
    assert spinning in together


def _three(pids: list[int]) -> list[int]:
    return pids if len(pids) == 3 else []


def test_memory_is_that_of_all_processes_and_never_less_than_what_is_private(spinning: int) -> None:
    found = memory(spinning)
    assert 0 < found.private <= found.pss <= found.rss


def test_what_is_mapped_adds_up_to_the_memory_by_file_and_without() -> None:
    found = mapped(os.getpid())
    rollup = Path("/proc/self/smaps_rollup").read_text()
    whole = int(rollup.partition("\nPss:")[2].split()[0]) * 1024
    assert found[ANONYMOUS] > 0
    assert any(name.startswith("libc.so") and size > 0 for name, size in found.items())
    assert sum(found.values()) == pytest.approx(whole, rel=0.1)


def test_pages_of_a_file_that_were_written_to_are_the_processes_own(tmp_path: Path) -> None:
    path = tmp_path / "pages"
    path.write_bytes(bytes(PAGES * mmap.PAGESIZE))
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=RW) as at,
    ):
        assert len(bytes(at)) == PAGES * mmap.PAGESIZE  # all of it is looked at
        assert mapped(os.getpid())["pages"] >= PAGES * mmap.PAGESIZE
        at[: PAGES * mmap.PAGESIZE] = bytes(PAGES * mmap.PAGESIZE)
        assert mapped(os.getpid())["pages"] == 0


def test_a_core_that_works_gets_busier() -> None:
    cores = tuple(os.sched_getaffinity(0))
    before = busy_ns(cores)
    assert eventually("a tick of work on any core", lambda: busy_ns(cores) > before)


def test_what_a_hypervisor_took_is_told_of_the_cores_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["cpu 1 1 1 1 1 1 1 99 0 0", "cpu0 1 1 1 1 1 1 1 3 0 0", "cpu1 1 1 1 1 1 1 1 4 0 0"]
    (tmp_path / "stat").write_text("\n".join([*lines, "intr 5 6"]))
    monkeypatch.setattr(proc, "PROC", tmp_path)
    assert stolen_ns((1,)) == 4 * proc.TICK_NS
    assert stolen_ns((0, 1)) == 7 * proc.TICK_NS
    assert busy_ns((0, 1)) == 10 * proc.TICK_NS


def test_a_thread_waits_while_another_one_has_its_core() -> None:
    core = {min(os.sched_getaffinity(0))}
    words = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {core}); {SPINNING}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as process:
        eventually("100 ms of two processes", lambda: _at_least(process.pid, 95_000_000))
        found = threads(process.pid)
    assert len(found) == 2
    assert sum(thread.waited_ns for thread in found.values()) > 10_000_000


def test_the_busiest_thread_is_the_one_that_ran_most_in_between() -> None:
    before = {1: Thread(900, 90), 2: Thread(100, 10)}
    after = {1: Thread(950, 99), 2: Thread(400, 30), 3: Thread(200, 70)}
    assert busiest(before, after) == Thread(300, 20)


def test_where_nothing_ran_nothing_waited() -> None:
    assert busiest({}, {}) == Thread()


def _at_least(leader: int, wanted_ns: int) -> int:
    used = cpu(leader).total_ns
    return used if used >= wanted_ns else 0
