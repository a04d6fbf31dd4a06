"""Services that the configuration knows, by the addresses that lead to them."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy import values
from proxy.options import Group, Option
from proxy.values import Address

# What is done with the bytes of a connection: the data plane's words.
DETECT: Final = "detect"
RELAY: Final = "relay"
OPAQUE: Final = "opaque"

# Labels of requests whose destination no service has, and of those that found no series.
RESERVED: Final = frozenset({"unknown", "other"})

# `appProtocol` of a Service: IANA's names, Kubernetes' own, and what users write. Every other word
# names a protocol that is not HTTP, so looking for HTTP could only harm: opaque, as in Linkerd.
_HANDLING: Final = {
    **dict.fromkeys(("http", "http2", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws"), DETECT),
    **dict.fromkeys(("https", "tls", "kubernetes.io/wss"), RELAY),
}
_PROTOCOL: Final = re.compile(r"([a-z0-9.-]+/)?[a-z0-9]([a-z0-9_.-]*[a-z0-9])?", re.IGNORECASE)
_NAME: Final = re.compile(r"{0}(/{0})?".format("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"))


class Service(NamedTuple):
    """A name, the addresses that belong to it, and what is done with connections to them."""

    name: str
    addresses: tuple[Address, ...]
    handling: str


def service(text: str) -> Service:
    """Read "shop/web=10.96.0.10:80,10.0.0.7:8080/http"; the protocol may be left out."""
    name, equals, rest = text.partition("=")
    if not equals:
        raise ValueError("has no address (write NAME=ADDR:PORT[,ADDR:PORT...][/APP_PROTOCOL])")
    if not _NAME.fullmatch(name):
        raise ValueError(f"has a bad name {name!r} (NAME or NAMESPACE/NAME, as in Kubernetes)")
    if name in RESERVED:
        raise ValueError(f"has the name {name!r}, which means something else in metrics")
    addresses, slash, protocol = rest.partition("/")
    if slash and not _PROTOCOL.fullmatch(protocol):
        raise ValueError(f"has a bad protocol {protocol!r} (a word of appProtocol, such as http)")
    return Service(name, tuple(map(_endpoint, addresses.split(","))), handling(protocol))


def handling(app_protocol: str) -> str:
    """Return what is done with connections to a port that declares this `appProtocol`, or none."""
    return _HANDLING.get(app_protocol.lower(), OPAQUE) if app_protocol else DETECT


def _endpoint(text: str) -> Address:
    try:
        return values.endpoint(text)
    except ValueError as fault:
        raise ValueError(f"has the address {text!r}, which {fault}") from None


def port_ranges(text: str) -> tuple[int, ...]:
    """Read "3306,5432-5440": the ports, each once, in order."""
    ports: set[int] = set()
    for word in filter(None, text.split(",")):
        first, dash, last = word.strip().partition("-")
        low, high = _port(first, word), _port(last if dash else first, word)
        if low > high:
            raise ValueError(f"has the range {word!r}, whose end is below its beginning")
        ports.update(range(low, high + 1))
    return tuple(sorted(ports))


def _port(text: str, word: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= values.PORT_MAX):
        raise ValueError(f"has a bad port {word!r} (1 to {values.PORT_MAX}, or a range of them)")
    return int(text)


def clashes(services: Iterable[Service]) -> list[str]:
    """Return what cannot be true at once: two services of a name, an address of two services."""
    faults: list[str] = []
    names: set[str] = set()
    owners: dict[Address, str] = {}
    for each in services:
        if each.name in names:
            faults.append(f"{each.name!r} is given twice")
        names.add(each.name)
        for address in each.addresses:
            if address in owners:
                faults.append(f"'{address}' of {each.name!r} is taken by {owners[address]!r}")
            owners.setdefault(address, each.name)
    return faults


SERVICE: Final = Option(
    flag="--service",
    parse=service,
    default="",
    metavar="NAME=ADDR:PORT[,ADDR:PORT...][/APP_PROTOCOL]",
    repeatable=True,
    separator=" ",
    help="a destination that metrics and logs call by its name;\n"
    "APP_PROTOCOL as in a Kubernetes Service: http (or none) is\n"
    "detected, https and tls are not parsed, others are opaque",
)
OPAQUE_PORTS: Final = Option(
    flag="--opaque-ports",
    parse=port_ranges,
    default="",
    metavar="PORT[-PORT][,...]",
    help="destinations that are relayed at once, without a look",
)
GROUP: Final = Group("Services", (SERVICE, OPAQUE_PORTS))
