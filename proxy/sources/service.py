"""Services: addresses that stand for others, their ports, and how requests are spread."""

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from proxy.sources.addresses import PORT_MAX, read_ip, read_port
from proxy.sources.annotations import ServiceAnnotations, read_service_annotations
from proxy.sources.meta import Meta
from proxy.sources.strict import TOP, Fault, FaultsError, Fields, Value

CLUSTER_IP: Final = "ClusterIP"
HEADLESS: Final = "Headless"
EXTERNAL_NAME: Final = "ExternalName"
TYPES: Final = (CLUSTER_IP, EXTERNAL_NAME, "NodePort", "LoadBalancer")
PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
ZONE: Final = "zone"
TOPOLOGY: Final = (
    "service.kubernetes.io/topology-mode",
    "service.kubernetes.io/topology-aware-hints",
)

_NO_IP: Final = "None"
_DISTRIBUTIONS: Final = ("PreferClose", "PreferSameZone")
# What is read, what must have its default, and what says how others get in from outside.
_FIELDS: Final = (
    "type",
    "clusterIP",
    "clusterIPs",
    "externalName",
    "ports",
    "selector",
    "publishNotReadyAddresses",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "allocateLoadBalancerNodePorts",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "loadBalancerClass",
)


class ServicePort(NamedTuple):
    """A port. `target` is a number or the name of a container's port."""

    name: str
    port: int
    protocol: str  # in PROTOCOLS
    app_protocol: str
    target: str


class Service(NamedTuple):
    """A Service. With `faults` it must not be used: what could not be read is left out."""

    meta: Meta
    kind: str  # in TYPES, or HEADLESS
    cluster_ips: tuple[str, ...]
    external_name: str
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str]
    topology: str  # ZONE: endpoints of our own zone are preferred
    is_sticky: bool  # a client goes to the same endpoint every time
    publishes_not_ready: bool
    annotations: ServiceAnnotations
    faults: tuple[Fault, ...] = ()


def read_service(value: Value, meta: Meta) -> Service:
    """Read a Service."""
    faults: list[Fault] = []
    top = Fields(value, TOP, faults)
    spec = Fields(top.get("spec"), _FIELDS, faults)
    kind, ips = _addresses(spec, faults)
    ports = spec.each("ports", _port)
    spec.read("ports", lambda at: _no_twins(at, ports), None)
    spec.read("internalTrafficPolicy", _cluster, None)
    return Service(
        meta,
        kind,
        ips,
        _external_name(spec, value, faults) if kind == EXTERNAL_NAME else "",
        ports,
        spec.read("selector", Value.texts, {}),
        spec.read("trafficDistribution", _distribution, "") or _topology(value, meta, faults),
        spec.read("sessionAffinity", _affinity, "None") == "ClientIP",
        spec.read("publishNotReadyAddresses", Value.truth, False),  # noqa: FBT003 - a default
        read_service_annotations(value, meta, faults),
        tuple(faults),
    )


def _addresses(spec: Fields, faults: list[Fault]) -> tuple[str, tuple[str, ...]]:
    kind = spec.read("type", lambda at: at.choice(*TYPES), CLUSTER_IP)
    if kind == EXTERNAL_NAME:
        return kind, ()
    first = spec.get("clusterIP")
    try:
        given = [first] if first and first.text() else []
        given += spec.read("clusterIPs", Value.items, [])
        if any(each.text() == _NO_IP for each in given):
            return HEADLESS, ()
        return kind, tuple(dict.fromkeys(map(read_ip, given)))
    except FaultsError as wrong:
        faults += wrong.faults
        return kind, ()


def _port(value: Value) -> ServicePort:
    fields = value.members(("name", "port", "protocol", "appProtocol", "targetPort", "nodePort"))
    if "port" not in fields:
        raise value.fault("has no port")
    port = read_port(fields["port"])
    return ServicePort(
        fields["name"].text() if "name" in fields else "",
        port,
        fields["protocol"].choice(*PROTOCOLS) if "protocol" in fields else "TCP",
        fields["appProtocol"].text() if "appProtocol" in fields else "",
        _target(fields["targetPort"]) if "targetPort" in fields else str(port),
    )


def _target(value: Value) -> str:
    """Read a number or a name."""
    if value.is_text:
        return value.text()
    return str(value.between(1, PORT_MAX))


def _no_twins(value: Value, ports: tuple[ServicePort, ...]) -> None:
    numbers = Counter(f"the port {port.port}/{port.protocol}" for port in ports)
    names = Counter(f"the name {port.name!r}" for port in ports)
    for word, count in (*numbers.items(), *names.items()):
        if count > 1:
            raise value.fault(f"has {word} twice")


def _external_name(spec: Fields, value: Value, faults: list[Fault]) -> str:
    name = spec.read("externalName", Value.text, "")
    if not name and not spec.get("externalName"):
        faults += value.fault("is an ExternalName without an externalName").faults
    return name


def _distribution(value: Value) -> str:
    value.choice(*_DISTRIBUTIONS)
    return ZONE


def _topology(value: Value, meta: Meta, faults: list[Fault]) -> str:
    for name in TOPOLOGY:
        word = meta.annotations.get(name, "").lower()
        if word == "auto":
            return ZONE
        if word not in {"", "disabled"}:
            at = value.get("metadata", "annotations", name) or value
            text = f"{meta.annotations[name]!r} is neither Auto nor Disabled"
            faults += at.fault(text).faults
    return ""


def _cluster(value: Value) -> None:
    """Refuse what would keep requests on their node: which node that is, nobody tells us."""
    if value.choice("Cluster", "Local") == "Local":
        raise value.fault("'Local' is not supported")


def _affinity(value: Value) -> str:
    return value.choice("None", "ClientIP")
