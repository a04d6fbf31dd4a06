"""Ending without breaking: SIGTERM, or `remora ctl drain`.

    running ──start──▶ draining: /ready fails at once, so that endpoints get removed
                          │ drain_delay
                          ▼
                       inbound and explicit listeners close; outbound stays open, because the
                       application may need it to finish what it has begun
                          │ no connection left, or drain_deadline: the rest is reset
                          ▼
                       drained

Both times count from the start. The process's end is not decided here: it exits after a signal and
stays after `ctl drain`.
"""

import asyncio
from enum import StrEnum
from typing import Final

from proxy.config import Config
from proxy.engine import DIRECTIONS, Engine
from proxy.listeners import EXPLICIT, INBOUND, OUTBOUND
from proxy.logs import Log
from proxy.readiness import Readiness

# A reset needs one tick of a worker. It is given this long, then the process goes on to stop.
_RESET_S_MAX: Final = 1.0


class Phase(StrEnum):
    """Where a drain stands; the name is what `ctl status` shows."""

    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"


class Drain:
    """The state machine above. `start` may be called in any phase."""

    def __init__(self, config: Config, engine: Engine, readiness: Readiness, log: Log) -> None:
        self.phase = Phase.RUNNING
        self._delay_s = config.drain_delay_ms / 1000
        self._deadline_s = config.drain_deadline_ms / 1000
        self._engine = engine
        self._readiness = readiness
        self._log = log
        self._outbound_listeners = 0
        self._task: asyncio.Task[None] | None = None

    def start(self, why: str) -> asyncio.Task[None]:
        """Begin; return the task that ends when drained.

        While draining this changes nothing. Once drained it only waits again for connections that
        outbound listeners have taken in since.
        """
        if self._task is None or self._task.done():
            is_first = self.phase is Phase.RUNNING
            self.phase = Phase.DRAINING
            self._readiness.withdraw("draining")
            self._log.info("draining", why=why, connections=self._connections())
            self._task = asyncio.get_running_loop().create_task(
                self._run(self._delay_s if is_first else 0.0)
            )
        return self._task

    def cancel(self) -> None:
        """Stop waiting: the process is going to be stopped by force."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_s
        await asyncio.sleep(delay_s)
        self._outbound_listeners = self._engine.listener_count(OUTBOUND)
        self._engine.stop_accepting((INBOUND, EXPLICIT))
        if not await self._engine.until(self._is_idle, deadline - loop.time()):
            self._log.warning("drain_deadline", connections=self._connections())
            self._engine.close_all(DIRECTIONS, "drain_deadline")
            await self._engine.until(self._is_idle, _RESET_S_MAX)
        self.phase = Phase.DRAINED
        self._log.info("drained")

    def _connections(self) -> int:
        return sum(state.connections for state in self._engine.states())

    def _is_idle(self) -> bool:
        # Listeners first: a connection that was waiting in a backlog is counted before its
        # listener is gone.
        listeners = sum(state.listeners for state in self._engine.states())
        return listeners == self._outbound_listeners and self._connections() == 0
