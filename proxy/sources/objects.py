"""What all objects have, and the collection of those that were read."""

from collections.abc import Mapping
from typing import NamedTuple

from proxy.sources.authorization_policy import AuthorizationPolicy
from proxy.sources.peer_authentication import PeerAuthentication
from proxy.sources.pod import Pod


class Objects(NamedTuple):
    """Everything that was read at one moment."""

    pods: tuple[Pod, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    authorization_policies: tuple[AuthorizationPolicy, ...] = ()
    skipped: Mapping[str, int] = {}  # kinds that remora has no use for, and how many of each

    def counts(self) -> dict[str, int]:
        """Return how many objects there are of each kind in use."""
        return {
            "Pod": len(self.pods),
            "PeerAuthentication": len(self.peer_authentications),
            "AuthorizationPolicy": len(self.authorization_policies),
        }
