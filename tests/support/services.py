"""Services without a cluster: objects in a directory, endpoints that are the test's own sockets.

A service has the cluster IP 127.1.0.N, where nobody listens; its endpoints are listeners on
127.2.N.M, each with a port of its own. Explicit listeners of the proxy lead to cluster IPs.
"""

import json
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support import control, sockets
from tests.support.http import Message, Stream, response
from tests.support.policy import Manifests, wait_loaded
from tests.support.process import Proxy
from tests.support.rig import Rig
from tests.support.sockets import Address, address_of
from tests.support.traffic import Object, destination_rule, endpoint, endpoints, service
from tests.support.waiting import PATIENCE_S, eventually

PORT: Final = 80
# Endpoints are never taken out.
NEVER_OUT: Final[Object] = {"consecutive5xxErrors": 0, "consecutiveLocalOriginFailures": 0}
# Retries as many as asked for, at once.
EAGER: Final = {"retry-backoff": "1ms", "retry-budget": "100% min=100000"}


class Try(Stream):
    """A connection as an endpoint has accepted it."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        super().__init__(sock)
        self.number = number  # of the endpoint


class Backend:
    """A service and the sockets behind it."""

    def __init__(
        self,
        rig: Rig,
        name: str,
        number: int,
        listeners: Sequence[socket.socket],
        silent: Sequence[int],
    ) -> None:
        self.rig = rig
        self.name = name
        self.ip = f"127.1.0.{number}"
        self.listeners = list(listeners)
        self.silent = set(silent)  # numbers of those that accept nobody

    def slices(self, states: Sequence[str] = ()) -> list[Object]:
        """One EndpointSlice for each endpoint, because each has another port."""
        made = []
        for number, listener in enumerate(self.listeners):
            host, port = address_of(listener)
            state = states[number] if number < len(states) else "ready"
            name = f"{self.name}-{number}"
            made.append(endpoints(self.name, endpoint(host, state), name=name, ports=(port,)))
        return made

    def accept(self, *, but: Sequence[int] = ()) -> Try:
        """Take the next connection, to whichever endpoint, except to those of the numbers `but`."""
        out = self.silent.union(but)
        wanted = [sock for number, sock in enumerate(self.listeners) if number not in out]
        ready = select.select(wanted, [], [], PATIENCE_S)[0]
        assert ready, f"nobody dials {self.name}"
        return self.accept_at(self.listeners.index(ready[0]))

    def accept_at(self, number: int) -> Try:
        return Try(self.rig.keep(sockets.accepted(self.listeners[number])), number)

    def refuse(self, number: int) -> None:
        """From now on nobody listens at this endpoint; its port stays ours."""
        host, port = address_of(self.listeners[number])
        self.listeners[number].close()
        self.listeners[number] = self.rig.keep(sockets.bound(host, port=port))
        self.silent.add(number)

    def expect_no_more(self, seconds: float = 0.05) -> None:
        wanted = [sock for at, sock in enumerate(self.listeners) if at not in self.silent]
        ready = select.select(wanted, [], [], seconds)[0]
        assert not ready, f"{self.name} is dialled"


class Cluster:
    """Objects that a test adds up, and then a proxy that reads them."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig = rig
        self.manifests = Manifests(directory)
        self.backends: dict[str, Backend] = {}
        self.objects: list[Object] = []
        self.slices: dict[str, list[Object]] = {}
        self.doors: dict[str, Address] = {}
        self._proxy: Proxy | None = None
        self._changes = 0

    # --- objects ---

    def service(
        self,
        name: str = "web",
        count: int = 2,
        *,
        full: Sequence[int] = (),
        policy: Object | None = None,
        annotations: dict[str, str] | None = None,
        **spec: object,
    ) -> Backend:
        """Add a service with so many endpoints; `policy` is what a DestinationRule says of it.

        Those of the numbers `full` do not answer a SYN.
        """
        number = len(self.backends) + 1
        hosts = [f"127.2.{number}.{each + 1}" for each in range(count)]
        listeners = [
            self.rig.full_listener(host) if each in full else self.rig.listen(host)
            for each, host in enumerate(hosts)
        ]
        made = Backend(self.rig, name, number, listeners, full)
        self.backends[name] = made
        self.add(service(name, made.ip, ports=(PORT,), annotations=annotations, **spec))
        if policy is not None:
            self.add(destination_rule(name, name, policy))
        self.slices[name] = made.slices()
        return made

    def add(self, *objects: Object) -> None:
        self.objects += objects

    def write(self) -> None:
        slices = [each for several in self.slices.values() for each in several]
        self.manifests.write(*self.objects, *slices)

    # --- the proxy ---

    @property
    def proxy(self) -> Proxy:
        assert self._proxy, "not started"
        return self._proxy

    def start(self, *flags: str) -> "Cluster":
        """Start a proxy with one worker and a listener for each service."""
        self.write()
        listens = [f"--listen=127.0.0.1:0={each.ip}:{PORT}" for each in self.backends.values()]
        where = ("--manifests", str(self.manifests.directory), "--namespace", "shop")
        one = () if "--workers" in flags else ("--workers", "1")
        recent = ("--recent", "1000")
        self._proxy = self.rig.start("--no-interception", *listens, *where, *one, *recent, *flags)
        doors = self._proxy.listeners("explicit")
        self.doors = dict(zip(self.backends, doors, strict=True))
        return self

    def change(self, name: str, *states: str) -> None:
        """Change the states of a service's endpoints, and wait until that is in force."""
        self.slices[name] = self.backends[name].slices(states)
        self.reload()

    def reload(self) -> None:
        """Write all objects again, and wait until they are in force."""
        self._changes += 1
        self.write()
        wait_loaded(self.proxy, self._changes)

    # --- requests ---

    def connect(self, name: str = "web") -> Stream:
        return Stream(self.rig.connect(self.doors[name]))

    def ask(self, text: bytes, name: str = "web") -> Message:
        """Send a request on a connection of its own; return the answer."""
        down = self.connect(name)
        with down.sock:
            down.send(text)
            return down.response(text.split(b" ", 1)[0].decode())

    def served(self, text: bytes, name: str = "web", by: str = "") -> tuple[Message, int]:
        """Have a request answered by an endpoint of `by`; what it got, and its number."""
        down = self.connect(name)
        down.send(text)
        up = self.backends[by or name].accept()
        with down.sock, up.sock:
            asked = up.request()
            up.send(response(b"ok", "Connection: close"))
            assert down.response().body == b"ok"
        return asked, up.number

    # --- what is told ---

    def requests(self, count: int) -> list[dict[str, Any]]:
        """Return the first `count` requests that ended, the oldest first, once they did."""
        path = self.proxy.control_path
        rows = eventually(
            f"{count} requests to end",
            lambda: (
                found
                if len(found := control.ask(path, "/requests?closed=1")["requests"]) >= count
                else None
            ),
        )
        assert rows
        return sorted(rows, key=lambda row: json.dumps(row["time"]))

    def ended(self, status: int, flag: str) -> float:
        """Count the requests that ended so."""
        return self.proxy.metrics()("response_total", status_code=str(status), flag=flag)

    def event(self, name: str, of: str = "web") -> float:
        metrics = self.proxy.metrics()
        return metrics("remora_traffic_events_total", service=f"shop/{of}", event=name)
