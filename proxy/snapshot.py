"""Configuration → what workers read: integers and addresses, nothing left to decide.

The extension copies a draft into C, once; see `_fastpath.Snapshot`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.config import Config
from proxy.listeners import Listener
from proxy.mesh_options import DISABLE, PLAIN, STRICT, MeshEndpoint
from proxy.policy.rows import NOTHING, Judgement
from proxy.services import Service
from proxy.traffic.rows import NOTHING as NO_TRAFFIC
from proxy.traffic.rows import Traffic

if TYPE_CHECKING:  # a proxy without an identity does not load OpenSSL
    from proxy.identity.contexts import Contexts
    from proxy.policy.effective import Effective

# Every setting that a snapshot holds; the extension refuses a missing or unknown one.
SETTINGS: Final = (
    "connect_inbound_ms",
    "connect_outbound_ms",
    "connect_explicit_ms",
    "idle_ms",
    "half_open_ms",
    "keepalive_idle_s",
    "keepalive_interval_s",
    "keepalive_count",
    "user_timeout_ms",
    "detect_bytes_max",
    "unknown_max",
    "splice",
    "http",
    "detect_ms",
    "head_ms",
    "http_idle_ms",
    "flush_ms",
    "pool_idle_ms",
    "pool_connections_max",
    "body_bytes_max",
    "forwarded_inbound",
    "forwarded_outbound",
    "forwarded_explicit",
    "request_ids",
    "tls_ms",
    "server_first_ms",
)

# In place of a target's index: the listener sends each connection to its original destination.
TARGET_ORIGINAL: Final = -1
# ... to the Service that each request's Host names.
TARGET_BY_HOST: Final = -2


class Trust(NamedTuple):
    """Mesh TLS in a snapshot: who we are, who is meshed, who may come in."""

    contexts: "Contexts | None" = None  # None: there is no mesh TLS
    endpoints: tuple[MeshEndpoint, ...] = ()
    mode: str = DISABLE
    ports: Mapping[int, str] = MappingProxyType({})


NO_TRUST: Final = Trust()


class Draft(NamedTuple):
    """Content of a snapshot. `targets[i]` belongs to the i-th explicit listener."""

    settings: dict[str, int]
    targets: list[tuple[str, int]]
    services: tuple[Service, ...]
    opaque_ports: tuple[int, ...]
    target_modes: list[str]
    trust: Trust
    judgement: Judgement
    traffic: Traffic = NO_TRAFFIC


def draft(
    config: Config,
    listeners: Iterable[Listener],
    trust: Trust = NO_TRUST,
    judgement: Judgement = NOTHING,
    traffic: Traffic = NO_TRAFFIC,
) -> Draft:
    """Return what workers need to know of a configuration."""
    settings = {
        "connect_inbound_ms": config.connect_inbound_ms,
        "connect_outbound_ms": config.connect_ms,
        "connect_explicit_ms": config.connect_ms,
        "idle_ms": config.idle_ms,
        "half_open_ms": config.half_open_ms,
        "keepalive_idle_s": config.keepalive.idle_s,
        "keepalive_interval_s": config.keepalive.interval_s,
        "keepalive_count": config.keepalive.probes,
        "user_timeout_ms": config.user_timeout_ms,
        "detect_bytes_max": config.detect_bytes_max,
        # Workers share what is allowed, and count for themselves.
        "unknown_max": -(-config.unknown_max // config.workers),
        "splice": int(config.splice),
        **config.http.settings(),
        **config.mesh.settings(),
    }
    explicit = [listener for listener in listeners if listener.target]
    targets = [(*listener.target,) for listener in explicit if listener.target]
    modes = [_mode(listener, trust) for listener in explicit]
    return Draft(
        *(settings, targets, config.services, config.opaque_ports),
        *(modes, trust, judgement, traffic),
    )


def _mode(listener: Listener, trust: Trust) -> str:
    """Return who may come to an explicit listener: to a judged one, as to the inbound port."""
    if listener.is_mesh:
        return STRICT
    if not listener.is_judged or listener.target is None:
        return DISABLE
    return trust.ports.get(listener.target.port, trust.mode)


def trust_of(
    config: Config, contexts: "Contexts | None", found: "Effective | None" = None
) -> Trust:
    """Return what flags and manifests say of mesh TLS.

    Without an identity no endpoint is meshed: nobody could prove a thing to it. Who may come in
    stays what the manifests say, and where that is strict, nobody may.
    """
    mesh = config.mesh
    mode, ports = (found.mtls_default, found.mtls_ports) if found else (mesh.mode, mesh.ports)
    if contexts is None:
        return Trust(None, (), mode, ports) if found else NO_TRUST
    return Trust(contexts, _endpoints(mesh.endpoints, found), mode, ports)


def _endpoints(
    given: tuple[MeshEndpoint, ...], found: "Effective | None"
) -> tuple[MeshEndpoint, ...]:
    """Return the endpoints of the flags, and of the manifests those of which no flag speaks."""
    if found is None:
        return given
    all_ports = {host for host, port, _ in given if not port}
    taken = {(host, port) for host, port, _ in given}
    pods = [MeshEndpoint(host, 0, identity) for host, identity in found.mesh.items()]
    pods += [MeshEndpoint(host, port, PLAIN) for host, port in sorted(found.mesh_plain)]
    return given + tuple(
        each for each in pods if each.host not in all_ports and each[:2] not in taken
    )


def target_indexes(listeners: Iterable[Listener]) -> dict[int, int]:
    """Return listener id → index in a draft's targets, or TARGET_ORIGINAL, or TARGET_BY_HOST."""
    indexes: dict[int, int] = {}
    explicit_count = 0
    for listener in listeners:
        if listener.target:
            indexes[listener.id] = explicit_count
            explicit_count += 1
        else:
            indexes[listener.id] = TARGET_BY_HOST if listener.is_by_host else TARGET_ORIGINAL
    return indexes
