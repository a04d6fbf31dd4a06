"""One real connection, to see where the kernel's rules lead it.

Both ends are in this process. The connection is recognised among others by its source, and the
destination that was dialled is read back from connection tracking, as the proxy will do.
"""

import contextlib
import ctypes
import errno
import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from iptables.spec import Address, Family

# linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h
_SO_ORIGINAL_DST: Final = 80
_LEVEL: Final = {Family.IPV4: socket.IPPROTO_IP, Family.IPV6: socket.IPPROTO_IPV6}
_AF: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_SOCKADDR: Final = {
    Family.IPV4: struct.Struct("!2xH4s8x"),  # family, port, address
    Family.IPV6: struct.Struct("!2xH4x16s4x"),  # family, port, flow, address, scope
}
# Reading an id back: setfsuid and setfsgid change nothing for a number that no user can have.
_NO_CHANGE: Final = -1
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Identity:
    """Who opens a socket."""

    uid: int
    gid: int


class CannotBeError(Exception):
    """This process has no right to open sockets as somebody else."""


class ProbeError(Exception):
    """The connection did not arrive as it should; the text says what was seen."""


@dataclass(frozen=True)
class Dial:
    """One connection to try: who dials what, and which of our listeners should take it."""

    family: Family
    identity: Identity
    target: Address
    port: int
    source: Address | None = None  # None: as the kernel chooses


def myself() -> Identity:
    """Give who this process is."""
    return Identity(os.geteuid(), os.getegid())


@contextlib.contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Open sockets as somebody else, in this thread only; raise CannotBeError without CAP_SETUID.

    The owner match looks at the filesystem ids that the socket's file was opened with, so a
    change of these two is enough, and can be taken back.
    """
    library = ctypes.CDLL(None)
    before = Identity(library.setfsuid(_NO_CHANGE), library.setfsgid(_NO_CHANGE))
    # The group first and back last: a user who is not root may not change it.
    library.setfsgid(identity.gid)
    library.setfsuid(identity.uid)
    try:
        now = Identity(library.setfsuid(_NO_CHANGE), library.setfsgid(_NO_CHANGE))
        if now != identity:
            raise CannotBeError(f"uid {identity.uid} and gid {identity.gid} need CAP_SETUID")
        yield
    finally:
        library.setfsuid(before.uid)
        library.setfsgid(before.gid)


def listen(family: Family, host: Address, port: int) -> socket.socket:
    """Open one of the proxy's listeners. Raises OSError if the port is in use."""
    sock = socket.socket(_AF[family], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is Family.IPV6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(host), port))
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def route(family: Family, target: Address) -> Address | None:
    """Give the source address that this namespace would use, or None if no route leads there.

    Connecting a UDP socket asks the routing table and sends nothing.
    """
    with socket.socket(_AF[family], socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(target), 9))
        except OSError:
            return None
        return ipaddress.ip_address(sock.getsockname()[0])


def original_destination(sock: socket.socket, family: Family) -> tuple[Address, int]:
    """Read which destination was dialled. Raises OSError without connection tracking."""
    layout = _SOCKADDR[family]
    raw = sock.getsockopt(_LEVEL[family], _SO_ORIGINAL_DST, layout.size)
    port, packed = layout.unpack(raw)
    return ipaddress.ip_address(packed), port


def run(dial: Dial, listener: socket.socket, timeout_s: float) -> None:
    """Dial, and see the connection arrive at `listener` with its destination kept.

    Raises ProbeError if it does not, and CannotBeError if the identity is out of reach.
    """
    with acting_as(dial.identity):
        downstream = socket.socket(_AF[dial.family], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with downstream:
        if dial.source is not None:
            downstream.bind((str(dial.source), 0))
        code = downstream.connect_ex((str(dial.target), dial.port))
        if code not in (0, errno.EINPROGRESS):
            raise ProbeError(f"connecting failed: {os.strerror(code)}")
        with _arrival(downstream, listener, timeout_s) as upstream:
            _check_destination(dial, upstream)


def _arrival(
    downstream: socket.socket,
    listener: socket.socket,
    timeout_s: float,
) -> socket.socket:
    """Wait until our connection is accepted, and pass over those of others."""
    source = downstream.getsockname()[:2]
    deadline = time.monotonic() + timeout_s
    was_connected = False
    while (left := deadline - time.monotonic()) > 0:
        if select.select([listener], [], [], min(left, _POLL_S))[0]:
            upstream, peer = listener.accept()
            if peer[:2] == source:
                return upstream
            upstream.close()
            continue
        code = downstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise ProbeError(f"it was not redirected: {os.strerror(code)}")
        # Established for a whole poll, and not in our queue: it went to somebody else's.
        if was_connected:
            raise ProbeError("it was not redirected: another listener took it")
        was_connected = _is_connected(downstream)
    raise ProbeError(f"it was not redirected: no answer within {timeout_s:g} s")


def _is_connected(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        sock.getpeername()
        return True
    return False


def _check_destination(dial: Dial, upstream: socket.socket) -> None:
    try:
        found = original_destination(upstream, dial.family)
    except OSError as error:
        raise ProbeError(
            f"it was redirected, and its destination is lost: SO_ORIGINAL_DST: {error.strerror}"
            " (module nf_conntrack)"
        ) from error
    if found != (dial.target, dial.port):
        raise ProbeError(f"it was redirected, and its destination reads {found[0]} port {found[1]}")
