"""What a running proxy shows of itself to the admin server, to operators and to metrics.

Set once by app.py, in start order; nobody else writes here.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.config import Config
from proxy.drain import Drain, Phase
from proxy.engine import Engine
from proxy.events import Events
from proxy.listeners import Listener
from proxy.logs import Log
from proxy.readiness import Readiness
from proxy.snapshot import Trust, trust_of
from proxy.values import Address

if TYPE_CHECKING:
    from proxy.identity.keeper import Keeper
    from proxy.policy.watch import PolicyWatch  # has PyYAML in tow


@dataclass(slots=True)
class Places:
    """Where the servers of the control side listen; None where switched off."""

    admin: Address | None = None
    control: str | None = None
    control_listen: Address | None = None

    def describe(self) -> dict[str, object]:
        """Return them as text."""
        return {
            "admin": str(self.admin) if self.admin else None,
            "control": self.control,
            "control_listen": str(self.control_listen) if self.control_listen else None,
        }


@dataclass(slots=True)
class Running:
    """One running proxy."""

    config: Config
    log: Log
    listeners: list[Listener]
    engine: Engine
    events: Events
    readiness: Readiness
    drain: Drain
    connections_max: int
    started_monotonic_s: float
    places: Places = field(default_factory=Places)
    keeper: "Keeper | None" = None  # None: there is no mesh TLS
    policy: "PolicyWatch | None" = None  # without --manifests there is none

    @property
    def trust(self) -> Trust:
        """Return what is said of mesh TLS now."""
        found = self.policy.effective if self.policy else None
        return trust_of(self.config, self.keeper.contexts if self.keeper else None, found)

    @property
    def phase(self) -> str:
        """Return "starting", "running", "draining" or "drained"."""
        if self.drain.phase is Phase.RUNNING and not self.readiness.is_ready:
            return "starting"
        return str(self.drain.phase)
