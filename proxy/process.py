"""What the process is given by the system: descriptors, limits, and the moment it began."""

import os
import resource
import time
from pathlib import Path
from typing import Final

# Left for logs, admin and control connections, epoll, eventfds and the listeners themselves.
_FDS_RESERVED: Final = 512
# A relayed connection holds two sockets. Bulk flows also hold pipes for a while, so a connection is
# counted as two and a half descriptors; where pipes run out, the relay copies.
_FDS_FOR_TWO_CONNECTIONS: Final = 5
# More ask for more than a pod's ephemeral ports (28,232 by default) give towards one address, so
# whoever needs more says so.
_CONNECTIONS_MAX: Final = 65_536


def hold_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1 and 2 that is closed.

    Else the next socket would get that number, and a log line would go to a peer.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is `fd`
            if null != fd:
                os.dup2(null, fd)
                os.close(null)


def raise_fd_limit() -> int:
    """Raise the soft limit of open files to the hard one and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_for(fds: int) -> int:
    """Return how many connections fit a limit of open files, below half of it."""
    usable = fds - min(_FDS_RESERVED, fds // 4)
    return max(1, min(_CONNECTIONS_MAX, usable * 2 // _FDS_FOR_TWO_CONNECTIONS))


def ms_since_exec() -> int:
    """Return the age of this process, to the 10 ms of the kernel's clock tick."""
    stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    # The command in field 2 may hold blanks and brackets; field 22, starttime, is the 20th after
    # its last bracket. proc_pid_stat(5)
    start_ticks = int(stat.rpartition(")")[2].split()[19])
    born_s = start_ticks / os.sysconf("SC_CLK_TCK")
    return max(0, round((time.clock_gettime(time.CLOCK_BOOTTIME) - born_s) * 1000))
