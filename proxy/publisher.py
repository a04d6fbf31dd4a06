"""Everything that a snapshot is made of, brought together: flags, identity and manifests.

Whoever of them changes, one snapshot is built from all three and published.
"""

from typing import TYPE_CHECKING, Final

from proxy.config import Config
from proxy.engine import Engine
from proxy.listeners import Listener
from proxy.logs import Log
from proxy.mesh_options import STRICT
from proxy.policy.denials import Denials
from proxy.policy.rows import NOTHING, PROBES_MAX
from proxy.snapshot import draft, trust_of
from proxy.traffic.rows import NOTHING as NO_TRAFFIC

if TYPE_CHECKING:
    from proxy.identity.keeper import Keeper
    from proxy.policy.watch import PolicyWatch

_HINT: Final = (
    "give --identity a directory: until then strict ports refuse everybody (no_identity), and"
    " meshed pods are spoken to in plaintext"
)


class Publisher:
    """Publishes at the start, and whenever `keeper` or `policy` has something new."""

    def __init__(
        self,
        config: Config,
        listeners: list[Listener],
        engine: Engine,
        keeper: "Keeper | None",
        policy: "PolicyWatch | None",
    ) -> None:
        self._config = config
        self._listeners = listeners
        self._engine = engine
        self._keeper = keeper
        self._policy = policy

    def follow(self, log: Log) -> None:
        """Publish for the first time, and every change from now on."""
        if self._keeper is not None:
            self._engine.on_question = self._keeper.answer
            self._keeper.on_change = self.publish
        if self._policy is not None:
            self._engine.on_denials = Denials(log, self._own_identity).on_denials
            self._policy.on_change = lambda: self._on_policy(log)
            self._warn(log)
        self.publish()

    def publish(self) -> None:
        """Build a snapshot of what is known now."""
        found = self._policy.effective if self._policy else None
        contexts = self._keeper.contexts if self._keeper else None
        trust = trust_of(self._config, contexts, found)
        judgement = self._policy.judgement if self._policy else NOTHING
        # Those of the flags first: the data plane has room for all of them.
        probes = dict.fromkeys((*self._config.mesh.probes, *judgement.probes))
        judgement = judgement._replace(probes=list(probes)[:PROBES_MAX])
        traffic = self._policy.traffic if self._policy else NO_TRAFFIC
        self._engine.publish(draft(self._config, self._listeners, trust, judgement, traffic))

    def _on_policy(self, log: Log) -> None:
        self.publish()
        self._warn(log)

    def _own_identity(self) -> str:
        """Return who we are: what we can prove, else what the manifests say."""
        if self._keeper is not None:
            return str(self._keeper.material.identity)
        found = self._policy.effective if self._policy else None
        return found.me.identity if found else ""

    def _warn(self, log: Log) -> None:
        """Say what the manifests ask for that nobody can do without a certificate."""
        found = self._policy.effective if self._policy else None
        if self._keeper is not None or found is None:
            return
        strict = sorted(port for port, mode in found.mtls_ports.items() if mode == STRICT)
        if strict or found.mtls_default == STRICT or found.mesh:
            log.warning(
                "no_identity",
                mode=found.mtls_default,
                strict_ports=strict,
                meshed=len(found.mesh),
                hint=_HINT,
            )
