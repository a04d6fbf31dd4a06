"""Which kinds of objects mean something, and who reads them. A new kind is a file and a row."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from proxy.sources.authorization_policy import AuthorizationPolicy, read_authorization_policy
from proxy.sources.meta import Meta
from proxy.sources.peer_authentication import PeerAuthentication, read_peer_authentication
from proxy.sources.pod import Pod, read_pod
from proxy.sources.strict import Value

Object = Pod | PeerAuthentication | AuthorizationPolicy


class Kind(NamedTuple):
    """A kind that is read: the API group's versions that are understood, and the reader."""

    group: str
    versions: tuple[str, ...]
    read: Callable[[Value, Meta], Object]


KINDS: Final[Mapping[str, Kind]] = {
    "Pod": Kind("", ("v1",), read_pod),
    "PeerAuthentication": Kind("security.istio.io", ("v1", "v1beta1"), read_peer_authentication),
    "AuthorizationPolicy": Kind("security.istio.io", ("v1", "v1beta1"), read_authorization_policy),
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
