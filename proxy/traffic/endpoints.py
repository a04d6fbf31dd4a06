"""EndpointSlices → who may get requests: ready ones, those of our zone first."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from proxy.sources.endpoint_slice import IPV4, IPV6, EndpointSlice, SliceEndpoint
from proxy.sources.objects import Objects
from proxy.sources.service import Service, ServicePort
from proxy.traffic.numbers import Address, Place
from proxy.traffic.rows import Endpoint

# States of an endpoint, the best first. One that ends and still serves is better than none.
_READY: Final = 0
_ENDING: Final = 1
_OUT: Final = 2


def slices_by_service(slices: Iterable[EndpointSlice]) -> dict[str, list[EndpointSlice]]:
    """Return the slices of each Service, by NAMESPACE/NAME."""
    found: dict[str, list[EndpointSlice]] = {}
    for each in slices:
        found.setdefault(f"{each.meta.namespace}/{each.service}", []).append(each)
    return found


def zone_of_pod(objects: Objects, namespace: str, pod: str) -> str:
    """Return the zone in which the slices place a pod; "" where they do not."""
    if not pod:
        return ""
    zones = (
        endpoint.zone
        for each in objects.endpoint_slices
        if each.meta.namespace == namespace
        for endpoint in each.endpoints
        if endpoint.pod == pod and endpoint.zone
    )
    return next(zones, "")


def standing_of(
    service: Service, port: ServicePort, slices: Iterable[EndpointSlice], zone: str
) -> "Standing":
    """Return the state of everybody behind a port of a Service. `zone` "": it does not matter."""
    states: dict[Address, tuple[int, SliceEndpoint]] = {}
    for each in slices:
        number = _number(each, port)
        if not number:
            continue
        for endpoint in each.endpoints:
            state = _state(endpoint, publishes_not_ready=service.publishes_not_ready)
            for host in endpoint.addresses:
                known = states.get((host, number))
                # While a pod moves from one slice to another it stands in both.
                if known is None or state < known[0]:
                    states[host, number] = (state, endpoint)
    is_ipv6 = bool(service.cluster_ips) and ":" in service.cluster_ips[0]
    return Standing(states, IPV6 if is_ipv6 else IPV4, zone)


class Standing(NamedTuple):
    """The endpoints of a port, with their states."""

    states: Mapping[Address, tuple[int, SliceEndpoint]]
    family: str  # of a Service of two families, the one that is used
    zone: str  # "": wherever they are

    def endpoints(self, places: Mapping[Address, Place]) -> tuple[tuple[Endpoint, ...], int]:
        """Return who may get requests, those of our zone first, and how many they are."""
        chosen = self._chosen()
        local = self._local(chosen)
        order = [*local, *(key for key in chosen if key not in local)] if local else chosen
        return tuple(Endpoint(*key, *places[key]) for key in order), len(local)

    def _chosen(self) -> list[Address]:
        best = min((state for state, _ in self.states.values()), default=_OUT)
        if best == _OUT:
            return []
        chosen = sorted(key for key, (state, _) in self.states.items() if state == best)
        # A pod of two families is one endpoint, not two.
        own = [key for key in chosen if (":" in key[0]) == (self.family == IPV6)]
        return own or chosen

    def _local(self, chosen: list[Address]) -> dict[Address, None]:
        """Return those of our zone: as the hints say where everybody has some, else by place."""
        if not self.zone:
            return {}
        endpoints = {key: self.states[key][1] for key in chosen}
        has_hints = all(endpoint.for_zones for endpoint in endpoints.values())
        return {
            key: None
            for key, endpoint in endpoints.items()
            if (self.zone in endpoint.for_zones if has_hints else self.zone == endpoint.zone)
        }


def _number(each: EndpointSlice, port: ServicePort) -> int:
    """Return the port that a slice has for one of the Service, by its name; 0: none."""
    for found in each.ports:
        if found.name == port.name and found.protocol == port.protocol:
            return found.port or port.port
    return 0


def _state(endpoint: SliceEndpoint, *, publishes_not_ready: bool) -> int:
    if endpoint.is_ready and (publishes_not_ready or not endpoint.is_terminating):
        return _READY
    return _ENDING if endpoint.is_serving and endpoint.is_terminating else _OUT
