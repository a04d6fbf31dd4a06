"""What the system gives the process, and what it makes of it."""

import os
import resource
import subprocess
import sys

import pytest

from proxy import process


@pytest.mark.parametrize("fds", [16, 256, 1_024, 20_000, 1_048_576])
def test_connections_stay_below_half_the_open_files(fds: int) -> None:
    assert 1 <= process.connections_for(fds) < fds / 2


def test_connections_have_a_bound_where_open_files_have_none() -> None:
    assert process.connections_for(1 << 30) == 65_536


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        assert process.raise_fd_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_process_knows_its_age() -> None:
    code = "from proxy.process import ms_since_exec; print(ms_since_exec())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 0 <= int(done.stdout) < 60_000


def test_no_later_descriptor_takes_the_number_of_a_closed_standard_one() -> None:
    code = (
        "import os; from proxy.process import hold_standard_descriptors as hold\n"
        "os.close(0); os.close(1); hold(); fd = os.open('/', os.O_RDONLY)\n"
        "os.write(2, b'%d %d' % (os.fstat(1).st_rdev == os.stat('/dev/null').st_rdev, fd > 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)
    assert done.stderr == b"1 1"


def test_open_standard_descriptors_are_left_as_they_are() -> None:
    before = [os.fstat(fd).st_ino for fd in (0, 1, 2)]
    process.hold_standard_descriptors()
    assert [os.fstat(fd).st_ino for fd in (0, 1, 2)] == before
