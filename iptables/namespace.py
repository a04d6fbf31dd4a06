"""The network namespace that init works in: which families it has, and going into another one."""

import ctypes
import os
from pathlib import Path
from typing import Final

from iptables.exits import Exit, InitError
from iptables.spec import Family, Spec

# Of this thread, so that they follow when a thread has entered another namespace.
_NET: Final = Path("/proc/thread-self/net")
_SWITCHES: Final = Path("/proc/sys/net/ipv6/conf")
_NAMED: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h


def enter(name: str) -> None:
    """Move this thread into a namespace: one that `ip netns` has named, or a path to one."""
    path = Path(name) if "/" in name else _NAMED / name
    try:
        with path.open("rb") as file:
            _set_namespace(file.fileno())
    except OSError as error:
        raise InitError(
            Exit.UNAVAILABLE, f"--netns {name}: cannot enter {path}: {error.strerror}"
        ) from error


def _set_namespace(fd: int) -> None:
    """Call setns(2), which the standard library knows from Python 3.12 on only."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def has_ipv6() -> bool:
    """Tell whether any interface here can have an IPv6 address, now or later.

    In doubt the answer is yes: IPv6 that is not redirected would pass the proxy by.
    """
    if not (_NET / "if_inet6").exists():
        return False
    switches = [each / "disable_ipv6" for each in _SWITCHES.glob("*") if each.name != "all"]
    return any(switch.read_text().strip() == "0" for switch in switches)


def families(spec: Spec) -> tuple[Family, ...]:
    """Give the families to redirect: those asked for, or those that are here."""
    if spec.families is None:
        return tuple(Family) if has_ipv6() else (Family.IPV4,)
    if Family.IPV6 in spec.families and not has_ipv6():
        raise InitError(
            Exit.UNAVAILABLE, "--families names ipv6, and this network namespace has no IPv6"
        )
    return spec.families
