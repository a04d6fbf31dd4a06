"""The manifests directory, watched: what they mean for this pod now, and what is wrong with them.

A change that cannot be used changes nothing: everything stays as it was, and the faults are told in
the log, on /metrics and by `remora ctl policy`, until a later change mends them.

Reading a large cluster takes seconds. It happens in a thread of its own, so that probes, scrapes
and the operator are answered meanwhile; what was read is taken, and published, on the loop.
"""

import asyncio
import gc
import time
from collections.abc import Iterable
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.errors import EXIT_USAGE, StartError
from proxy.logs import Log
from proxy.mesh_options import PERMISSIVE, MeshConfig
from proxy.policy.effective import DEFAULT_TRUST_DOMAIN, Effective, Who, effective
from proxy.policy.options import PolicyConfig
from proxy.policy.rows import NOTHING, Judgement, PolicyRow
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


class _Reading(NamedTuple):
    """What a directory held, and what it means for us."""

    objects: Objects
    effective: Effective
    policies: list[PolicyRow]
    traffic: Traffic
    notes: tuple[str, ...]


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
        self.is_reading = False
        self._is_closed = False
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
            self._take(self._read())
        except FaultsError as wrong:
            raise StartError(
                f"the manifests cannot be used: {wrong}",
                "mend the objects that are named; docs/policy.md and docs/traffic.md say what is"
                " supported",
                EXIT_USAGE,
            ) from wrong
        self._numbers.commit()
        self.loads["good"] += 1

    def watch(self) -> None:
        """Look for changes from now on, until `close`."""
        delay_s = SETTLE_S if self._source.is_settling else _LOOK_S
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def close(self) -> None:
        """Look no more. A reading under way is left alone: its end finds nobody."""
        self._is_closed = True
        if self._timer:
            self._timer.cancel()

    def reload(self) -> None:
        """Read now, and wait for it."""
        self._end(self._attempt())

    def _look(self) -> None:
        try:
            self._source.look(time.monotonic(), self._begin)
        finally:
            if not self.is_reading:
                self.watch()

    def _begin(self) -> None:
        """Read in a thread; nobody looks at the directory meanwhile.

        It is a daemon, because the end of the process must not wait for it.
        """
        self.is_reading = True
        loop = asyncio.get_running_loop()
        Thread(target=self._read_aside, args=(loop,), name="manifests", daemon=True).start()

    def _read_aside(self, loop: asyncio.AbstractEventLoop) -> None:
        outcome = self._attempt()
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(self._finish, outcome)

    def _finish(self, outcome: _Reading | Exception) -> None:
        self.is_reading = False
        if self._is_closed:
            return
        try:
            self._end(outcome)
        finally:
            self.watch()

    def _attempt(self) -> _Reading | Exception:
        """Read; return what came of it. All else happens where everybody may look."""
        try:
            return self._read()
        except Exception as fault:  # noqa: BLE001 - raised where it is seen: see `_end`
            return fault

    def _read(self) -> _Reading:
        """Read and understand. It makes many objects and no garbage: the collector waits."""
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return self._understand(self._source.load())
        finally:
            if was_enabled:
                gc.enable()

    def _end(self, outcome: _Reading | Exception) -> None:
        """Take what was read, or refuse it; all or nothing."""
        before = dict(vars(self))
        try:
            if isinstance(outcome, Exception):
                raise outcome
            self._take(outcome)
            self.on_change()
        except FaultsError as wrong:
            self._numbers.refuse()
            self._refuse(wrong.faults)
            return
        except ValueError as wrong:  # of the data plane: more than it takes
            self._numbers.refuse()
            vars(self).update(before)
            self._refuse((Fault(self.directory, 0, "", "", str(wrong)),))
            return
        self._numbers.commit()
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

    def _understand(self, objects: Objects) -> _Reading:
        """Return what objects mean for us; `_numbers` waits for `commit` or `refuse`."""
        found = effective(objects, self.who)
        rows = table(found.policies)
        if too_much := excess(rows):
            raise FaultsError([Fault(self.directory, 0, "", "", too_much)])
        rows_of_traffic, notes = traffic(objects, self.who, self._numbers, self._taken)
        return _Reading(objects, found, rows, rows_of_traffic, (*found.notes, *notes))

    def _take(self, reading: _Reading) -> None:
        """Make it the one that counts."""
        self.traffic, self.counts = reading.traffic, counts(reading.traffic)
        generation = self.judgement.generation
        if reading.policies != self.judgement.policies:
            generation += 1
        probes = [(probe.port, probe.path.encode()) for probe in reading.effective.probes]
        self.judgement = Judgement(reading.policies, generation, probes)
        self.objects, self.effective, self.faults = reading.objects, reading.effective, ()
        self.loaded_unix_s = time.time()
        self._tell(reading.notes)

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
