"""What probes and hooks do, begun and asked for their result later: nobody waits for them here."""

import http.client
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from tests.lifecycle.container import Process
from tests.lifecycle.manifest import Handler

# A hook has no time-out of its own: the grace period ends it, or the test's end.
HOOK_S_MAX: Final = 3600.0
_GOOD: Final = range(200, 400)


class Task:
    """A handler at work. `result` is None until it is over, then whether it went well."""

    def __init__(self, look: Callable[[], bool | None], cancel: Callable[[], None]) -> None:
        self._look = look
        self._cancel = cancel
        self._result: bool | None = None

    @property
    def result(self) -> bool | None:
        """Look whether it is over."""
        if self._result is None:
            self._result = self._look()
        return self._result

    @property
    def is_over(self) -> bool:
        """Whether it has a result."""
        return self.result is not None

    def cancel(self) -> None:
        """Give it up."""
        if self._result is None:
            self._result = False
            self._cancel()


def begin(
    handler: Handler,
    host: str,
    timeout_s: float,
    execute: Callable[[tuple[str, ...]], Process],
    submit: Callable[[Callable[[], bool]], Future[bool]],
) -> Task:
    """Begin what a handler says. `execute` runs a program inside; `submit` work on the node."""
    deadline = time.monotonic() + timeout_s
    if handler.command:
        return _program(execute(handler.command), deadline)
    if handler.sleep_s:
        until = time.monotonic() + handler.sleep_s
        return Task(lambda: True if time.monotonic() >= until else None, lambda: None)
    work = (lambda: get(host, handler, timeout_s)) if handler.path else None
    future = submit(work or (lambda: connect(host, handler.port, timeout_s)))
    return Task(lambda: future.result() if future.done() else None, lambda: None)


def _program(process: Process, deadline: float) -> Task:
    def look() -> bool | None:
        if process.exit_code is None and time.monotonic() >= deadline:
            process.end()
        return None if process.exit_code is None else process.exit_code == 0

    return Task(look, process.end)


def get(host: str, handler: Handler, timeout_s: float) -> bool:
    """Ask over HTTP, as the kubelet does."""
    connection = http.client.HTTPConnection(host, handler.port, timeout=timeout_s)
    headers = {"User-Agent": "kube-probe/1.33", "Accept": "*/*", "Connection": "close"}
    try:
        connection.request("GET", handler.path, headers=headers)
        return connection.getresponse().status in _GOOD
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def connect(host: str, port: int, timeout_s: float) -> bool:
    """Connect, and no more."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True
