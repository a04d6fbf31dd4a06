"""CPU and memory of a session, as the kernel tells them."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.proc import busy_ns, cpu, memory
from tests.support.waiting import eventually

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


def test_memory_is_that_of_all_processes_and_never_less_than_what_is_private(spinning: int) -> None:
    found = memory(spinning)
    assert 0 < found.private <= found.pss <= found.rss


def test_a_core_that_works_gets_busier() -> None:
    cores = tuple(os.sched_getaffinity(0))
    before = busy_ns(cores)
    assert eventually("a tick of work on any core", lambda: busy_ns(cores) > before)


def _at_least(leader: int, wanted_ns: int) -> int:
    used = cpu(leader).total_ns
    return used if used >= wanted_ns else 0
