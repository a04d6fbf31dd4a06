"""Which kinds of objects mean something, and who reads them. A new kind is a file and a row."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from proxy.sources.authorization_policy import AuthorizationPolicy, read_authorization_policy
from proxy.sources.destination_rule import DestinationRule, read_destination_rule
from proxy.sources.endpoint_slice import EndpointSlice, read_endpoint_slice
from proxy.sources.grpc_route import read_grpc_route
from proxy.sources.http_route import read_http_route
from proxy.sources.meta import Meta
from proxy.sources.peer_authentication import PeerAuthentication, read_peer_authentication
from proxy.sources.pod import Pod, read_pod
from proxy.sources.route import GATEWAY_GROUP, HttpRoute
from proxy.sources.service import Service, read_service
from proxy.sources.strict import Value

Object = (
    Pod
    | PeerAuthentication
    | AuthorizationPolicy
    | Service
    | EndpointSlice
    | HttpRoute
    | DestinationRule
)

_ISTIO: Final = ("v1", "v1beta1")


class Kind(NamedTuple):
    """A kind that is read: the API group's versions that are understood, and the reader."""

    group: str
    versions: tuple[str, ...]
    read: Callable[[Value, Meta], Object]
    field: str  # of Objects


KINDS: Final[Mapping[str, Kind]] = {
    "Pod": Kind("", ("v1",), read_pod, "pods"),
    "PeerAuthentication": Kind(
        "security.istio.io", _ISTIO, read_peer_authentication, "peer_authentications"
    ),
    "AuthorizationPolicy": Kind(
        "security.istio.io", _ISTIO, read_authorization_policy, "authorization_policies"
    ),
    "Service": Kind("", ("v1",), read_service, "services"),
    "EndpointSlice": Kind("discovery.k8s.io", ("v1",), read_endpoint_slice, "endpoint_slices"),
    "HTTPRoute": Kind(GATEWAY_GROUP, ("v1", "v1beta1"), read_http_route, "http_routes"),
    "GRPCRoute": Kind(GATEWAY_GROUP, ("v1",), read_grpc_route, "grpc_routes"),
    "DestinationRule": Kind(
        "networking.istio.io", (*_ISTIO, "v1alpha3"), read_destination_rule, "destination_rules"
    ),
}


def kind_of(value: Value, kind: str, api_version: str) -> Kind | None:
    """Return how to read an object; None: it is of a kind that means nothing here."""
    group, _, version = api_version.rpartition("/")
    known = KINDS.get(kind)
    if known is None or group != known.group:
        return None
    if version not in known.versions:
        raise value.fault(
            f"{kind} of {api_version!r} is not supported ({', '.join(known.versions)})"
        )
    return known
