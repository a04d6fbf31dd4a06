"""Objects and who we are → what the data plane gets to know of services and routes.

Pure but for the numbers, which outlive it: the same objects in the same order of loads give the
same rows.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from proxy.policy.effective import Who
from proxy.services import handling
from proxy.sources.destination_rule import Policy
from proxy.sources.endpoint_slice import EndpointSlice
from proxy.sources.objects import Objects
from proxy.sources.service import EXTERNAL_NAME, Service, ServicePort
from proxy.sources.strict import Fault, FaultsError
from proxy.traffic.endpoints import slices_by_service, standing_of, zone_of_pod
from proxy.traffic.names import names_of
from proxy.traffic.numbers import Address, Made, Numbers
from proxy.traffic.routing import Routing
from proxy.traffic.rows import Backend, Direct, Front, Injected, Limit, Traffic
from proxy.traffic.settings import policy_of, rules_by_service, wants_zone, with_settings

_TCP: Final = "TCP"
_NAMED_MAX: Final = 3


def traffic(
    objects: Objects,
    who: Who,
    numbers: Numbers,
    taken: frozenset[Address] = frozenset(),
) -> tuple[Traffic, tuple[str, ...]]:
    """Return the rows and what an operator should know. Raises FaultsError.

    `taken` are addresses of which flags speak: they win. After it, `numbers` wants to hear
    `commit` or `refuse`.
    """
    numbers.begin()
    model = _Model(objects, who, numbers, taken)
    rows = model.build()
    return rows, tuple(model.notes)


class _Model:
    """The rows while they come into being."""

    def __init__(
        self, objects: Objects, who: Who, numbers: Numbers, taken: frozenset[Address]
    ) -> None:
        self.notes: list[str] = []
        self._objects = objects
        self._zone = who.zone or zone_of_pod(objects, who.namespace, who.pod)
        self._who = who
        self._numbers = numbers
        self._taken = taken
        services = sorted(objects.services, key=lambda each: each.meta.path)
        self._services = {each.meta.path: each for each in services}
        self._backends: list[Backend] = []
        self._indexes: dict[tuple[str, int], int] = {}  # of backends, by Service and port
        self._pods: list[tuple[Direct, ...]] = []  # behind each of them
        self._fronts: list[Front] = []
        self._owners: dict[Address, str] = {}  # of cluster IPs

    def build(self) -> Traffic:
        """Return all rows."""
        faults = self._faults()
        self._make_backends()
        routing = Routing(self._who, self._services, self._indexes, self._backends, self._numbers)
        routes = (*self._objects.http_routes, *self._objects.grpc_routes)
        routing.attach(each for each in routes if not each.faults)
        faults += routing.faults
        if faults:
            raise FaultsError(faults)
        self._make_fronts(routing)
        directs = self._directs()
        self.notes += routing.notes
        return Traffic(
            tuple(self._fronts),
            tuple(self._backends),
            tuple(routing.rules),
            tuple(routing.dfas),
            tuple(directs),
        )

    def _faults(self) -> list[Fault]:
        """Return what is wrong with single objects: of traffic, all apply."""
        objects = self._objects
        found: list[Fault] = []
        for service in objects.services:
            found += service.faults
        for route in (*objects.http_routes, *objects.grpc_routes):
            found += route.faults
        for rule in objects.destination_rules:
            found += rule.faults
        return found

    def _make_backends(self) -> None:
        """Make one for each TCP port of a Service that has endpoints of its own."""
        slices = slices_by_service(self._objects.endpoint_slices)
        self._tell_of_orphans(slices)
        rules = rules_by_service(
            self._objects.destination_rules, self._who, self._services, self.notes
        )
        front_count = 0
        for path, service in self._services.items():
            if service.kind == EXTERNAL_NAME:
                continue
            for port in _tcp_ports(service):
                policy = policy_of(rules.get(path), port.port)
                made = self._made(service, port, policy, slices.get(path, ()), front_count)
                front_count += 1
                self._indexes[path, port.port] = len(self._backends)
                self._backends.append(made.backend)
                self._pods.append(made.directs)

    def _made(
        self,
        service: Service,
        port: ServicePort,
        policy: Policy | None,
        slices: Sequence[EndpointSlice],
        front: int,
    ) -> Made:
        """Return a backend: that of the last model, if it was made of the same objects."""
        path = service.meta.path
        number = self._numbers.backend(path, port.port)
        zone = self._zone if wants_zone(service, policy) else ""
        objects = (service, policy, *slices)
        made = self._numbers.known(number)
        if made is None or not made.is_of(objects, zone, front):
            standing = standing_of(service, port, slices, zone)
            places = self._numbers.endpoints(number, standing.states)
            found = standing.endpoints(places)
            backend = with_settings(Backend(number, path, port.port, *found), service, policy)
            how = handling(port.app_protocol)
            directs = tuple(Direct(*address, path, how, front) for address in places)
            made = Made(objects, zone, front, backend, directs)
        self._numbers.keep(number, made)
        return made

    def _tell_of_orphans(self, slices: Iterable[str]) -> None:
        orphans = [path for path in slices if path not in self._services]
        if orphans:
            named = ", ".join(orphans[:_NAMED_MAX])
            more = f" and {len(orphans) - _NAMED_MAX} more" if len(orphans) > _NAMED_MAX else ""
            self.notes.append(f"EndpointSlices without their Service are ignored: {named}{more}")

    # ---- fronts -----------------------------------------------------------------------------

    def _make_fronts(self, routing: Routing) -> None:
        for path, service in self._services.items():
            if service.kind == EXTERNAL_NAME:
                continue
            names = names_of(service.meta.namespace, service.meta.name, self._who.namespace)
            for port in _tcp_ports(service):
                backend = self._indexes[path, port.port]
                front = Front(
                    service=path,
                    handling=handling(port.app_protocol),
                    addresses=tuple(self._own_addresses(service, port)),
                    names=tuple((name.encode(), port.port) for name in names),
                    backend=backend,
                    number=self._backends[backend].number,
                    routes=routing.of_port(path, port),
                )
                self._fronts.append(_limited(front, service))

    def _own_addresses(self, service: Service, port: ServicePort) -> Iterable[Address]:
        for ip in service.cluster_ips:
            address = (ip, port.port)
            owner = self._owners.setdefault(address, service.meta.path)
            if owner != service.meta.path:
                self.notes.append(
                    f"{service.meta}: {ip}:{port.port} is Service {owner}'s, and stays so"
                )
            elif address not in self._taken:
                yield address

    def _directs(self) -> Iterable[Direct]:
        """Return the addresses of pods. One of several Services is the first one's, by name."""
        found: dict[Address, Direct] = {}
        for directs in self._pods:
            for direct in directs:
                found.setdefault((direct.host, direct.port), direct)
        for address in self._owners.keys() | self._taken:
            found.pop(address, None)
        return found.values()


def _tcp_ports(service: Service) -> Iterable[ServicePort]:
    return (port for port in service.ports if port.protocol == _TCP)


def _limited(front: Front, service: Service) -> Front:
    """Return a front with the limits of its Service."""
    said = service.annotations
    return front._replace(
        limit=said.limit or Limit(),
        peer_limit=said.peer_limit or Limit(),
        requests_max=said.requests_max or 0,
        fault=said.fault or Injected(),
    )
