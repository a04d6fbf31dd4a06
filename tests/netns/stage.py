"""Two pods with a listener at every place where a connection may land, and what landed where.

In `left` the listeners of a proxy stand in for one: the rules cannot tell, and the test sees which
of them a connection reached and with which destination.
"""

import contextlib
import errno
import select
import socket
from dataclasses import dataclass
from typing import Final

from iptables import probe
from iptables.spec import Family
from tests.netns.harness import ELSEWHERE, Namespace, Pods
from tests.support import sockets
from tests.support.sockets import LOOPBACK, Address
from tests.support.waiting import PATIENCE_S

OUTBOUND_PORT: Final = 15001
INBOUND_PORT: Final = 15006
ADMIN_PORT: Final = 15020
APP_PORT: Final = 8080
SECOND_APP_PORT: Final = 8081
REMOTE_PORT: Final = 9000
SECOND_REMOTE_PORT: Final = 9001

PROXY_UID: Final = 1337
PROXY_GID: Final = 1337
APP_UID: Final = 1000
APP_GID: Final = 1000

_EVERY: Final = {"ipv4": "0.0.0.0", "ipv6": "::"}
_DELIVERY: Final = {"ipv4": "127.0.0.6", "ipv6": "::6"}
_FAMILY: Final = {"ipv4": Family.IPV4, "ipv6": Family.IPV6}


@dataclass(frozen=True)
class Landing:
    """Where a connection arrived: the listener's name, or "refused"."""

    place: str
    destination: Address | None = None  # which connection tracking remembers
    source: str = ""


class Stage:
    """Listeners in both pods for one address family."""

    def __init__(self, pods: Pods, family: str) -> None:
        self.left, self.right = pods
        self.family = family
        self.localhost = LOOPBACK[family]
        self.delivery = _DELIVERY[family]
        self.pod = self.left.addresses[family]
        self.remote = self.right.addresses[family]
        self.elsewhere = ELSEWHERE[family]
        every = _EVERY[family]
        self.listeners = {
            "app": self.left.listen(every, APP_PORT),
            "second app": self.left.listen(every, SECOND_APP_PORT),
            "admin": self.left.listen(every, ADMIN_PORT),
            "remote": self.right.listen(every, REMOTE_PORT),
            "second remote": self.right.listen(every, SECOND_REMOTE_PORT),
        }
        self.move_proxy(OUTBOUND_PORT, INBOUND_PORT)

    def move_proxy(self, outbound_port: int, inbound_port: int) -> None:
        """Listen as the proxy on these ports, instead of those before."""
        for name in ("outbound", "inbound"):
            if name in self.listeners:
                self.listeners[name].close()
        every = _EVERY[self.family]
        self.listeners["outbound"] = self.left.listen(self.localhost, outbound_port)
        self.listeners["inbound"] = self.left.listen(every, inbound_port)

    def from_left(
        self,
        host: str,
        port: int,
        *,
        uid: int = APP_UID,
        gid: int = APP_GID,
        source: str = "",
    ) -> Landing:
        """Dial from the pod with the rules, as an app unless told otherwise."""
        return self._dial(self.left, (host, port), uid, gid, source)

    def from_right(self, host: str, port: int) -> Landing:
        """Dial from the other pod."""
        return self._dial(self.right, (host, port), APP_UID, APP_GID, "")

    def place_from_left(self, host: str, port: int, *, uid: int = APP_UID) -> str:
        """Give only the name of the place."""
        return self.from_left(host, port, uid=uid).place

    def _dial(
        self, namespace: Namespace, address: Address, uid: int, gid: int, source: str
    ) -> Landing:
        made = namespace.call_as(uid, gid, lambda: socket.socket(sockets.family_of(address[0])))
        downstream = namespace.keep(made)
        downstream.setblocking(False)  # noqa: FBT003 - the name of the standard library
        if source:
            downstream.bind((source, 0))
        started = downstream.connect_ex(address)
        assert started in (0, errno.EINPROGRESS), errno.errorcode[started]
        waiting = {listener: name for name, listener in self.listeners.items()}
        readable, writable, _ = select.select([*waiting], [downstream], [], PATIENCE_S)
        if not readable and writable:
            # Refused, or established and not yet in anybody's queue: one more look tells.
            ended = downstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if ended == errno.ECONNREFUSED:
                return Landing("refused")
            assert ended == 0, errno.errorcode[ended]
            readable, _, _ = select.select([*waiting], [], [], PATIENCE_S)
        assert readable, f"{namespace.name}: nobody took the connection to {address}"
        return self._landing(waiting[readable[0]], readable[0])

    def _landing(self, name: str, listener: socket.socket) -> Landing:
        upstream, peer = listener.accept()
        with upstream, contextlib.suppress(OSError):  # nothing tracks connections without rules
            address, port = probe.original_destination(upstream, _FAMILY[self.family])
            return Landing(name, (str(address), port), peer[0])
        return Landing(name, None, peer[0])
