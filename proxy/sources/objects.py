"""What all objects have, and the collection of those that were read."""

from collections.abc import Mapping
from typing import NamedTuple

from proxy.sources.authorization_policy import AuthorizationPolicy
from proxy.sources.destination_rule import DestinationRule
from proxy.sources.endpoint_slice import EndpointSlice
from proxy.sources.kinds import KINDS
from proxy.sources.peer_authentication import PeerAuthentication
from proxy.sources.pod import Pod
from proxy.sources.route import HttpRoute
from proxy.sources.service import Service


class Objects(NamedTuple):
    """Everything that was read at one moment."""

    pods: tuple[Pod, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    authorization_policies: tuple[AuthorizationPolicy, ...] = ()
    skipped: Mapping[str, int] = {}  # kinds that remora has no use for, and how many of each
    services: tuple[Service, ...] = ()
    endpoint_slices: tuple[EndpointSlice, ...] = ()
    http_routes: tuple[HttpRoute, ...] = ()
    grpc_routes: tuple[HttpRoute, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return how many objects there are of each kind in use."""
        return {kind: len(getattr(self, known.field)) for kind, known in KINDS.items()}
