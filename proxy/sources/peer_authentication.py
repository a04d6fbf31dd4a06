"""PeerAuthentication: which connections must be mutual TLS."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from proxy.sources.meta import Meta, read_selector
from proxy.sources.strict import Fault, FaultsError, Value

UNSET: Final = "UNSET"
MODES: Final = (UNSET, "DISABLE", "PERMISSIVE", "STRICT")
_PORT: Final = re.compile(r"[0-9]{1,5}")


class PeerAuthentication(NamedTuple):
    """One policy. With `faults` it cannot be used where it applies."""

    meta: Meta
    selector: Mapping[str, str] | None
    mode: str  # in MODES
    ports: Mapping[int, str]  # port of the workload → mode
    faults: tuple[Fault, ...] = ()


def read_peer_authentication(value: Value, meta: Meta) -> PeerAuthentication:
    """Read a PeerAuthentication."""
    selector: Mapping[str, str] | None = None
    try:
        top = value.members(("apiVersion", "kind", "metadata", "spec", "status"))
        if "spec" not in top:
            return PeerAuthentication(meta, None, UNSET, {})
        fields = top["spec"].members()
        selector = read_selector(fields.get("selector"))
        fields = top["spec"].members(("selector", "mtls", "portLevelMtls"))
        ports = _ports(fields.get("portLevelMtls"))
        if ports and selector is None:
            raise fields["portLevelMtls"].fault("needs a selector")
        return PeerAuthentication(meta, selector, _mode(fields.get("mtls")), ports)
    except FaultsError as wrong:
        return PeerAuthentication(meta, selector, UNSET, {}, wrong.faults)


def _mode(value: Value | None) -> str:
    mode = value.members(("mode",)).get("mode") if value else None
    return mode.choice(*MODES) if mode else UNSET


def _ports(value: Value | None) -> dict[int, str]:
    ports: dict[int, str] = {}
    for name, mtls in (value.members() if value else {}).items():
        if not (_PORT.fullmatch(name) and 0 < int(name) < 1 << 16):
            raise mtls.fault("is no port")
        ports[int(name)] = _mode(mtls)
    return ports
