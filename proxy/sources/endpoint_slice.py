"""EndpointSlices: who stands behind a Service, and in which state.

There are many of them, so that this reader looks at every field once.
"""

from typing import Final, NamedTuple

from proxy.sources.addresses import read_ip, read_port
from proxy.sources.meta import Meta
from proxy.sources.strict import Value

SERVICE_LABEL: Final = "kubernetes.io/service-name"
IPV4, IPV6, FQDN = "IPv4", "IPv6", "FQDN"

_TOP: Final = ("apiVersion", "kind", "metadata", "addressType", "ports", "endpoints")
_ENDPOINT: Final = (
    "addresses",
    "conditions",
    "hostname",
    "targetRef",
    "deprecatedTopology",
    "nodeName",
    "zone",
    "hints",
)


class SlicePort(NamedTuple):
    """A port of all endpoints; 0: every port."""

    name: str
    port: int
    protocol: str
    app_protocol: str


class SliceEndpoint(NamedTuple):
    """Somebody who answers at each of the addresses."""

    addresses: tuple[str, ...]
    is_ready: bool
    is_serving: bool
    is_terminating: bool
    zone: str
    node: str
    pod: str  # its name, "" where it is none
    for_zones: tuple[str, ...]


class EndpointSlice(NamedTuple):
    """A part of the endpoints of a Service. Of the family FQDN it has none, as in kube-proxy."""

    meta: Meta
    service: str  # of the same namespace; "": of none
    family: str
    ports: tuple[SlicePort, ...]
    endpoints: tuple[SliceEndpoint, ...]


def read_endpoint_slice(value: Value, meta: Meta) -> EndpointSlice:
    """Read an EndpointSlice."""
    fields = value.members(_TOP)
    family = fields["addressType"].choice(IPV4, IPV6, FQDN) if "addressType" in fields else ""
    if not family:
        raise value.fault("has no addressType")
    items = fields["endpoints"].items() if "endpoints" in fields and family != FQDN else []
    return EndpointSlice(
        meta,
        meta.labels.get(SERVICE_LABEL, ""),
        family,
        tuple(map(_port, fields["ports"].items() if "ports" in fields else [])),
        tuple(map(_endpoint, items)),
    )


def _port(value: Value) -> SlicePort:
    fields = value.members(("name", "port", "protocol", "appProtocol"))
    return SlicePort(
        fields["name"].text() if "name" in fields else "",
        read_port(fields["port"]) if "port" in fields else 0,
        fields["protocol"].text() if "protocol" in fields else "TCP",
        fields["appProtocol"].text() if "appProtocol" in fields else "",
    )


def _endpoint(value: Value) -> SliceEndpoint:
    fields = value.members(_ENDPOINT)
    told = fields["conditions"].members() if "conditions" in fields else {}
    # What is not told is so, as the API says; but who is terminating says it.
    is_ready = told["ready"].truth() if "ready" in told else True
    is_terminating = told["terminating"].truth() if "terminating" in told else False
    return SliceEndpoint(
        tuple(map(read_ip, fields["addresses"].items() if "addresses" in fields else [])),
        is_ready,
        told["serving"].truth() if "serving" in told else is_ready,
        is_terminating,
        fields["zone"].text() if "zone" in fields else "",
        fields["nodeName"].text() if "nodeName" in fields else "",
        _pod(fields["targetRef"]) if "targetRef" in fields else "",
        _for_zones(fields["hints"]) if "hints" in fields else (),
    )


def _pod(value: Value) -> str:
    fields = value.members()
    if "kind" not in fields or fields["kind"].text() != "Pod" or "name" not in fields:
        return ""
    return fields["name"].text()


def _for_zones(value: Value) -> tuple[str, ...]:
    zones = value.get("forZones")
    names = [zone.get("name") for zone in zones.items()] if zones else []
    return tuple(name.text() for name in names if name)
