"""What a host and a port lead to: a Service's front, a pod, a flag's service, or the unknown."""

from typing import NamedTuple

from proxy.services import Service as FlagService
from proxy.traffic.rows import NOBODY, Direct, Front, Traffic
from proxy.values import Address, endpoint, is_ip


class Place(NamedTuple):
    """Where a request goes. One of the three is set, or none: nobody knows it."""

    kind: str  # "service", "pod", "flag", "unknown"
    service: str  # its name in metrics
    handling: str
    why: str
    front: Front | None = None
    direct: Direct | None = None


def place_of(rows: Traffic, flags: tuple[FlagService, ...], host: str, port: int) -> Place:
    """Return what a host and port lead to."""
    if not is_ip(host):
        return _named(rows, host.lower().rstrip("."), port)
    address = endpoint(str(Address(host, port)))
    for flag in flags:
        if address in flag.addresses:
            why = f"--service says that {address} is {flag.name}"
            return Place("flag", flag.name, flag.handling, why)
    return _addressed(rows, address)


def _named(rows: Traffic, host: str, port: int) -> Place:
    wanted = (host.encode(), port)
    for front in rows.fronts:
        if wanted in front.names:
            why = f"{host}:{port} is a name of Service {front.service}"
            return Place("service", front.service, front.handling, why, front)
    why = (
        f"no Service is called {host} at port {port}: it goes where the name leads, as a"
        " destination that nobody knows"
    )
    return Place("unknown", "unknown", "detect", why)


def _addressed(rows: Traffic, address: Address) -> Place:
    for front in rows.fronts:
        if address in front.addresses:
            why = f"{address} is an address of Service {front.service}"
            return Place("service", front.service, front.handling, why, front)
    for direct in rows.directs:
        if address == (direct.host, direct.port):
            why = (
                f"{address} is a pod of Service {direct.service}, spoken to directly: no route"
                " and no balancing"
            )
            front_of = rows.fronts[direct.front] if direct.front != NOBODY else None
            return Place("pod", direct.service, direct.handling, why, front_of, direct)
    why = f"{address} is nobody's: it goes there, as a destination that nobody knows"
    return Place("unknown", "unknown", "detect", why)
