"""Pods: their addresses, their ServiceAccount, whether they are meshed, what probes them."""

import re
from typing import Final, NamedTuple

from proxy.sources.addresses import read_port
from proxy.sources.meta import Meta
from proxy.sources.strict import Value

CONTAINER: Final = "remora-proxy"
ANNOTATION: Final = "remora.dev/status"
INJECTED: Final = "injected"
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_ENDED: Final = ("Succeeded", "Failed")
_NUMBER: Final = re.compile(r"[0-9]{1,5}")


class Probe(NamedTuple):
    """A probe over HTTP that the kubelet makes."""

    port: int
    path: str


class Pod(NamedTuple):
    """A pod. `ips` is empty where its addresses are not its own, or not any more."""

    meta: Meta
    ips: tuple[str, ...]
    service_account: str
    is_meshed: bool
    probes: tuple[Probe, ...]


def read_pod(value: Value, meta: Meta) -> Pod:
    """Read a Pod. Of its many fields these mean something here; the others may be what they are."""
    spec = value.get("spec")
    containers = [
        container for name in ("initContainers", "containers") for container in _items(spec, name)
    ]
    account = value.get("spec", "serviceAccountName")
    return Pod(
        meta,
        _ips(value),
        account.text() if account else "default",
        _is_meshed(containers, meta),
        tuple(probe for container in containers for probe in _probes(container)),
    )


def _items(value: Value | None, name: str) -> list[Value]:
    found = value.get(name) if value else None
    return found.items() if found else []


def _ips(value: Value) -> tuple[str, ...]:
    shares_host = value.get("spec", "hostNetwork")
    phase = value.get("status", "phase")
    if (shares_host and shares_host.truth()) or (phase and phase.text() in _ENDED):
        return ()
    first = value.get("status", "podIP")
    ips = [first.text()] if first else []
    for item in _items(value.get("status"), "podIPs"):
        ip = item.get("ip")
        ips += [ip.text()] if ip else []
    return tuple(dict.fromkeys(ips))


def _is_meshed(containers: list[Value], meta: Meta) -> bool:
    names = [name.text() for each in containers if (name := each.get("name"))]
    return CONTAINER in names or meta.annotations.get(ANNOTATION) == INJECTED


def _probes(container: Value) -> list[Probe]:
    ports = {
        name.text(): number.integer()
        for port in _items(container, "ports")
        if (name := port.get("name")) and (number := port.get("containerPort"))
    }
    probes = []
    for kind in _PROBES:
        http = container.get(kind, "httpGet")
        port = http.get("port") if http else None
        if http is None or port is None:
            continue
        path = http.get("path")
        probes.append(Probe(_port(port, ports), path.text() if path else "/"))
    return probes


def _port(value: Value, named: dict[str, int]) -> int:
    """Return a port that is a number, or the name of one of the container's ports."""
    if not value.is_text:
        return read_port(value)
    name = value.text()
    if name in named:
        return named[name]
    if _NUMBER.fullmatch(name):
        return int(name)
    raise value.fault(f"the container has no port {name!r}")
