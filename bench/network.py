"""The network of a run: this machine's loopback, or one of its own with another congestion control.

Peers take the system's choice. BBR paces every segment by a timer, on loopback too: where it is
the default, each figure of bulk holds that cost, and a second run without it says how much.
"""

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Final

CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_CONGESTION: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")


class NetworkError(Exception):
    """No such network can be made; the text says why."""


def congestion() -> str:
    """Name the congestion control that sockets of this process begin with."""
    return _CONGESTION.read_text().strip()


def enter_own(congestion_control: str) -> None:
    """Move this thread, and what it starts, to a new network with nothing but a loopback.

    Raises NetworkError: without root, or when the kernel refuses that congestion control.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        why = os.strerror(ctypes.get_errno())
        raise NetworkError(f"--congestion needs root, for a network namespace: {why}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        _CONGESTION.write_text(congestion_control)
    except OSError as error:
        known = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().strip()
        raise NetworkError(
            f"--congestion {congestion_control}: {error.strerror}; allowed here: {known}"
        ) from error
