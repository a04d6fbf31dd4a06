"""Ending without breaking: SIGTERM, or `remora ctl drain`.

    running ──start──▶ draining: /ready fails at once, so that endpoints get removed, and each
                          │      answer ends its connection, so that clients look for another pod
                          │ drain_delay
                          ▼
                       inbound and explicit listeners close; outbound goes on as ever, because the
                       application needs it to finish what it has begun
                          │ no inbound connection left, or drain_deadline: the rest is reset
                          ▼
                       drained

Both times count from the start. The process stays, until it is told to end by a signal: then it
also waits for what is outbound, and has until the same deadline.

In a pod the preStop hook starts the drain, and the signal comes when the applications have gone, or
when the grace period is over. Either way nobody is left to take newcomers in: a delay that has not
passed yet is over with the signal, so that an idle proxy ends at once.
"""

import asyncio
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

from proxy.config import Config
from proxy.engine import DIRECTIONS, Engine
from proxy.listeners import EXPLICIT, INBOUND, OUTBOUND
from proxy.logs import Log
from proxy.readiness import Readiness

# A reset needs one tick of a worker. It is given this long, then the process goes on to stop.
_RESET_S_MAX: Final = 1.0
# A signal that comes after a drain may come at the end of the grace period. Kubernetes gives 2 s
# until it kills, whatever is left.
_LAST_S: Final = 1.5
_INWARD: Final = (INBOUND, EXPLICIT)


class Phase(StrEnum):
    """Where a drain stands; the name is what `ctl status` shows."""

    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"


class Drain:
    """The state machine above. `start` and `end` may be called in any phase."""

    def __init__(self, config: Config, engine: Engine, readiness: Readiness, log: Log) -> None:
        self.phase = Phase.RUNNING
        self._delay_s = config.drain_delay_ms / 1000
        self._deadline_s = config.drain_deadline_ms / 1000
        self._deadline = 0.0
        self._engine = engine
        self._readiness = readiness
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._end_task: asyncio.Task[None] | None = None
        self._is_hurried = asyncio.Event()

    def start(self, why: str) -> asyncio.Task[None]:
        """Begin, unless that was done before; return the task that ends when drained."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self.phase = Phase.DRAINING
            self._deadline = loop.time() + self._deadline_s
            self._readiness.withdraw("draining")
            self._engine.end_keep_alive(_INWARD)
            self._log.info("draining", why=why, connections=self._connections())
            self._task = loop.create_task(self._run())
        return self._task

    def end(self, why: str) -> asyncio.Task[None]:
        """Drain for good: return the task that ends when no connection is left at all."""
        if self._end_task is None:
            loop = asyncio.get_running_loop()
            if self._task is not None:
                self._is_hurried.set()
                self._log.info("ending", why=why, connections=self._connections())
            was_begun, begun = self._task is not None, self.start(why)
            deadline = max(self._deadline, loop.time() + _LAST_S if was_begun else 0.0)
            self._end_task = loop.create_task(self._finish(begun, deadline))
        return self._end_task

    def cancel(self) -> None:
        """Stop waiting: the process is going to be stopped by force."""
        for task in (self._task, self._end_task):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._delay_s):
                await self._is_hurried.wait()
        except TimeoutError:
            pass
        self._engine.stop_accepting(_INWARD)
        await self._empty(_INWARD, self._deadline, self._is_closed_inward)
        self.phase = Phase.DRAINED
        self._log.info("drained")

    async def _finish(self, begun: asyncio.Task[None], deadline: float) -> None:
        await begun
        await self._empty(DIRECTIONS, deadline, lambda: self._connections() == 0)

    async def _empty(
        self, directions: Iterable[str], deadline: float, is_empty: Callable[[], bool]
    ) -> None:
        """Wait until no connection of some directions is left, and reset those that stay."""
        left_s = deadline - asyncio.get_running_loop().time()
        if not await self._engine.until(is_empty, left_s):
            self._log.warning("drain_deadline", connections=self._connections())
            self._engine.close_all(directions, "drain_deadline")
            await self._engine.until(is_empty, _RESET_S_MAX)

    def _connections(self) -> int:
        return sum(state.connections for state in self._engine.states())

    def _is_closed_inward(self) -> bool:
        # Listeners first: a connection that was waiting in a backlog is counted before its
        # listener is gone.
        listeners = sum(state.listeners for state in self._engine.states())
        if listeners != self._engine.listener_count(OUTBOUND):
            return False
        if self._connections() == 0:
            return True
        return not any(count for d, _, count in self._engine.stats().open() if d in _INWARD)
