"""Listening sockets of the data plane and of both HTTP servers, made before anything else starts.

A port that cannot be had is then one clear sentence and not a half-started proxy. Sockets for
workers carry SO_REUSEPORT: each worker has its own of the same address. But SO_REUSEPORT would also
let a second remora of the same uid share the port in silence, so the first socket of an address is
bound without it and gets it afterwards: the kernel looks at the option of both when one binds.
"""

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from proxy.config import Config
from proxy.errors import StartError
from proxy.logs import Log
from proxy.values import Address

INBOUND: Final = "inbound"
OUTBOUND: Final = "outbound"
EXPLICIT: Final = "explicit"

_NO_SUCH_ADDRESS: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_BACKLOG_UNKNOWN: Final = 4096  # Linux's default somaxconn since 5.4

_HINTS: Final = {
    errno.EADDRINUSE: "another process listens there (`ss -ltnp` shows it): stop it,"
    " or choose another port with {flag}",
    errno.EADDRNOTAVAIL: "this host or pod has no such address: name one it has with {flag}",
    errno.EAFNOSUPPORT: "IPv6 is switched off here: leave the address out of {flag}",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one with {flag}",
    errno.EMFILE: "the limit of open files is too low (`ulimit -n`)",
}


@dataclass(slots=True)
class Listener:
    """One address of the data plane: a socket for each worker, until `give` hands them on."""

    id: int
    direction: str
    address: Address  # as bound: never with port 0
    target: Address | None  # of an explicit listener, resolved
    target_text: str | None  # as configured
    is_mesh: bool = False  # who comes must speak mesh TLS
    is_judged: bool = False  # policies apply to what comes in here
    is_by_host: bool = False  # a request goes to the Service that its Host names
    sockets: list[socket.socket] = field(default_factory=list)

    def give(self) -> list[int]:
        """Return the descriptors, in the order of the workers; the caller owns them from here."""
        fds = [sock.detach() for sock in self.sockets]
        self.sockets.clear()
        return fds

    def close(self) -> None:
        """Close what was not given away."""
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()

    def describe(self) -> dict[str, object]:
        """Return what an operator wants to know of it."""
        return {
            "id": self.id,
            "direction": self.direction,
            "address": str(self.address),
            "target": "by host" if self.is_by_host else str(self.target) if self.target else None,
            "mtls": self.is_mesh,
        }


class _Wish(NamedTuple):
    direction: str
    address: Address
    flag: str
    is_optional: bool = False
    target: Address | None = None
    is_mesh: bool = False
    is_judged: bool = False
    is_by_host: bool = False


def open_listeners(config: Config, log: Log) -> list[Listener]:
    """Resolve every target, then bind and listen on every address, for every worker.

    Raises StartError with all that could not be had; nothing is left open then.
    """
    opened: list[Listener] = []
    faults: list[StartError] = []
    for wish in _wishes(config):
        try:
            listener = _open(len(opened), wish, config.workers, log)
        except StartError as fault:
            faults.append(fault)
        else:
            opened += [listener] if listener else []
    if faults:
        close_all(opened)
        hints = dict.fromkeys(fault.hint for fault in faults)
        raise StartError("; ".join(map(str, faults)), "; ".join(hints))
    return opened


def close_all(listeners: Iterable[Listener]) -> None:
    """Close the sockets of all of them."""
    for listener in listeners:
        listener.close()


def open_tcp(address: Address, flag: str) -> socket.socket:
    """Return a listening socket that nobody shares. Raises StartError."""
    sock = None
    try:
        sock = _bound(address, shared=False)
        sock.listen(_backlog())
    except OSError as fault:
        if sock:
            sock.close()
        raise _refused(address, flag, fault) from fault
    return sock


def bound_address(sock: socket.socket) -> Address:
    """Return the address a socket has, with the port the system chose."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def _wishes(config: Config) -> Iterator[_Wish]:
    for address in config.outbound:
        yield _Wish(OUTBOUND, address, "--outbound", config.outbound_is_default)
    for address in config.inbound:
        yield _Wish(INBOUND, address, "--inbound", config.inbound_is_default, is_judged=True)
    for forward in config.forwards:
        yield _Wish(EXPLICIT, forward.listen, "--listen", target=forward.target)
    for forward in config.mesh.forwards:
        yield _Wish(
            *(EXPLICIT, forward.listen, "--listen-mtls"),
            target=forward.target,
            is_mesh=True,
            is_judged=True,
        )
    for forward in config.inbound_forwards:
        flag = "--listen-inbound"
        yield _Wish(EXPLICIT, forward.listen, flag, target=forward.target, is_judged=True)
    for address in config.host_listeners:
        yield _Wish(EXPLICIT, address, "--listen-hosts", is_by_host=True)


def _open(listener_id: int, wish: _Wish, workers: int, log: Log) -> Listener | None:
    target = resolve(wish.target) if wish.target else None
    listener = Listener(
        *(listener_id, wish.direction, wish.address, target, str(wish.target) if target else None),
        is_mesh=wish.is_mesh,
        is_judged=wish.is_judged,
        is_by_host=wish.is_by_host,
    )
    try:
        for worker in range(workers):
            sock = _bound(listener.address, shared=worker > 0)
            listener.sockets.append(sock)
            listener.address = bound_address(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.listen(_backlog())
    except OSError as fault:
        listener.close()
        if wish.is_optional and wish.address.is_ipv6 and fault.errno in _NO_SUCH_ADDRESS:
            log.info(
                "listener_skipped",
                direction=wish.direction,
                address=str(wish.address),
                why=f"no IPv6 here ({os.strerror(fault.errno or 0)})",
            )
            return None
        raise _refused(listener.address, wish.flag, fault) from fault
    return listener


def _bound(address: Address, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.is_ipv6:
            # IPv4 has its own socket, so that a v4-mapped address never appears in a log.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _backlog() -> int:
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    except OSError:
        return _BACKLOG_UNKNOWN


def _refused(address: Address, flag: str, fault: OSError) -> StartError:
    text = f"cannot listen on {address}: {os.strerror(fault.errno or 0)}"
    return StartError(text, _HINTS.get(fault.errno or 0, "").format(flag=flag))


def resolve(target: Address) -> Address:
    """Return the target with a name replaced by its first address. Raises StartError."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as fault:
        raise StartError(
            f"cannot resolve {target.host!r}: {fault.strerror}",
            "check the name of --listen's target and the pod's /etc/resolv.conf",
        ) from fault
    host, port, *scope = found[0][4]
    if len(scope) > 1 and scope[1]:
        # Link-local: the extension wants the zone as a number.
        host = f"{str(host).partition('%')[0]}%{scope[1]}"
    return Address(str(host), int(port))
