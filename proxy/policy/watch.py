"""The manifests directory, watched: what they mean for this pod now, and what is wrong with them.

A change that cannot be used changes nothing: everything stays as it was, and the faults are told in
the log, on /metrics and by `remora ctl policy`, until a later change mends them.
"""

import asyncio
import gc
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from proxy.errors import EXIT_USAGE, StartError
from proxy.logs import Log
from proxy.mesh_options import PERMISSIVE, MeshConfig
from proxy.policy.effective import DEFAULT_TRUST_DOMAIN, Effective, Who, effective
from proxy.policy.options import PolicyConfig
from proxy.policy.rows import NOTHING, Judgement
from proxy.policy.table import excess, table
from proxy.services import Service
from proxy.sources.directory import SETTLE_S, ManifestDirectory
from proxy.sources.objects import Objects
from proxy.sources.strict import Fault, FaultsError
from proxy.traffic.counts import counts
from proxy.traffic.endpoints import zone_of_pod
from proxy.traffic.model import traffic
from proxy.traffic.numbers import Numbers
from proxy.traffic.rows import NOTHING as NO_TRAFFIC
from proxy.traffic.rows import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_S: Final = 0.5
# Faults, and notes, written to the log at once; all of them are in `remora ctl policy`.
_LOGGED_MAX: Final = 10


class PolicyWatch:
    """What the manifests say. `on_change` is called after every change."""

    def __init__(
        self,
        config: PolicyConfig,
        log: Log,
        trust_domain: str = DEFAULT_TRUST_DOMAIN,
        mesh: MeshConfig | None = None,
        services: Iterable[Service] = (),
    ) -> None:
        assert config.manifests is not None, "no manifests, no watch"  # noqa: S101
        self.who = Who(
            config.namespace,
            config.pod.name if config.pod else "",
            config.labels,
            trust_domain,
            config.root_namespace,
            mesh.mode if mesh else PERMISSIVE,
            mesh.ports if mesh else {},
            config.zone,
        )
        # Of these addresses flags speak, and they win.
        self._taken = frozenset((*each,) for service in services for each in service.addresses)
        self._numbers = Numbers()
        self.on_change: Callable[[], None] = lambda: None
        self.effective: Effective | None = None
        self.objects = Objects()
        self.faults: tuple[Fault, ...] = ()
        self.judgement: Judgement = NOTHING
        self.traffic: Traffic = NO_TRAFFIC
        self.counts = counts(NO_TRAFFIC)
        self.notes: tuple[str, ...] = ()
        self.loads = {"good": 0, "bad": 0}
        self.loaded_unix_s = 0.0
        self._log = log
        self._source = ManifestDirectory(config.manifests)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def directory(self) -> str:
        """Where the objects are."""
        return str(self._source.directory)

    @property
    def zone(self) -> str:
        """Where we are, "" where nobody tells."""
        return self.who.zone or zone_of_pod(self.objects, self.who.namespace, self.who.pod)

    def start(self) -> None:
        """Read for the first time. Raises StartError: there is no good state to keep."""
        try:
            self._read()
            self.loads["good"] += 1
        except FaultsError as wrong:
            raise StartError(
                f"the manifests cannot be used: {wrong}",
                "mend the objects that are named; docs/policy.md and docs/traffic.md say what is"
                " supported",
                EXIT_USAGE,
            ) from wrong

    def watch(self) -> None:
        """Look for changes from now on, until `close`."""
        delay_s = SETTLE_S if self._source.is_settling else _LOOK_S
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        try:
            self._source.look(time.monotonic(), self._reload)
        finally:
            self.watch()

    def _read(self) -> None:
        """Read and take. It makes many objects and no garbage: the collector waits."""
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            self._take(self._source.load())
        finally:
            if was_enabled:
                gc.enable()

    def _reload(self) -> None:
        before = dict(vars(self))
        try:
            self._read()
            self.on_change()
        except FaultsError as wrong:
            self._refuse(wrong.faults)
            return
        except ValueError as wrong:  # of the data plane: more than it takes
            vars(self).update(before)
            self._refuse((Fault(self.directory, 0, "", "", str(wrong)),))
            return
        self.loads["good"] += 1
        self._log.info(
            "manifests_loaded",
            **self.objects.counts(),
            policies=[policy.meta.path for policy in self.effective.policies]
            if self.effective
            else [],
        )

    def _refuse(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        self.loads["bad"] += 1
        for fault in faults[:_LOGGED_MAX]:
            self._log.warning("manifests_fault", **fault._asdict())
        self._log.warning(
            "manifests_refused",
            faults=len(faults),
            hint="what was read before stays in force; see `remora ctl config`",
        )

    def _take(self, objects: Objects) -> None:
        """Make objects the ones that count; all or nothing."""
        found = effective(objects, self.who)
        rows = table(found.policies)
        if too_much := excess(rows):
            raise FaultsError([Fault(self.directory, 0, "", "", too_much)])
        try:
            self.traffic, notes = traffic(objects, self.who, self._numbers, self._taken)
        except FaultsError:
            self._numbers.refuse()
            raise
        self._numbers.commit()
        self.counts = counts(self.traffic)
        generation = self.judgement.generation
        if rows != self.judgement.policies:
            generation += 1
        probes = [(probe.port, probe.path.encode()) for probe in found.probes]
        self.judgement = Judgement(rows, generation, probes)
        self.objects, self.effective, self.faults = objects, found, ()
        self.loaded_unix_s = time.time()
        self._tell((*found.notes, *notes))

    def _tell(self, notes: tuple[str, ...]) -> None:
        """Write what is new among the notes to the log."""
        known = frozenset(self.notes)
        new = [note for note in notes if note not in known]
        self.notes = notes
        for note in new[:_LOGGED_MAX]:
            self._log.warning("manifests_note", text=note)
        if len(new) > _LOGGED_MAX:
            more = len(new) - _LOGGED_MAX
            self._log.warning("manifests_note", text=f"{more} more: see `remora ctl config`")
