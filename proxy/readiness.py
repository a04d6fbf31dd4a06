"""Whether traffic may come: named tasks hold readiness back, and a drain withdraws it."""

from proxy.logs import Log


class Readiness:
    """Ready once every named task is done, and until somebody withdraws it for good."""

    def __init__(self, log: Log, tasks: tuple[str, ...]) -> None:
        self._log = log
        self._pending = list(tasks)
        self._withdrawn: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether traffic may come."""
        return not self.pending

    @property
    def pending(self) -> list[str]:
        """Names of what holds readiness back; empty when ready."""
        return [self._withdrawn] if self._withdrawn else list(self._pending)

    def done(self, task: str) -> None:
        """Mark a task as done."""
        self._pending.remove(task)
        self._log.debug("ready_task_done", task=task, pending=self._pending)

    def withdraw(self, why: str) -> None:
        """Be unready from here on, whatever the tasks say."""
        self._withdrawn = why
