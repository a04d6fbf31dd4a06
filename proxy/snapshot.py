"""Configuration → what workers read: integers and addresses, nothing left to decide.

The extension copies a draft into C, once; see `_fastpath.Snapshot`.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.config import Config
from proxy.listeners import Listener
from proxy.policy.rows import NOTHING, Judgement
from proxy.services import Service

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
)

# In place of a target's index: the listener sends each connection to its original destination.
TARGET_ORIGINAL: Final = -1


class Draft(NamedTuple):
    """Content of a snapshot. `targets[i]` belongs to the i-th explicit listener."""

    settings: dict[str, int]
    targets: list[tuple[str, int]]
    services: tuple[Service, ...]
    opaque_ports: tuple[int, ...]
    judgement: Judgement


def draft(config: Config, listeners: Iterable[Listener], judgement: Judgement = NOTHING) -> Draft:
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
        "splice": int(config.splice),
        **config.http.settings(),
    }
    targets = [(*listener.target,) for listener in listeners if listener.target]
    return Draft(settings, targets, config.services, config.opaque_ports, judgement)


def target_indexes(listeners: Iterable[Listener]) -> dict[int, int]:
    """Return listener id → index in a draft's targets, or TARGET_ORIGINAL."""
    indexes: dict[int, int] = {}
    explicit_count = 0
    for listener in listeners:
        if listener.target:
            indexes[listener.id] = explicit_count
            explicit_count += 1
        else:
            indexes[listener.id] = TARGET_ORIGINAL
    return indexes
