"""What clients know of a service's pods: the EndpointSlice, and how late they learn of a change."""

import time
from threading import Lock
from typing import NamedTuple

from tests.lifecycle.rules import Conditions


class _Change(NamedTuple):
    at: float
    host: str
    conditions: Conditions | None


class Endpoints:
    """Every change of every endpoint, so that each client may look at its own past."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._changes: list[_Change] = []

    def tell(self, host: str, conditions: Conditions | None) -> None:
        """Note how an endpoint is from now on; None: it is gone."""
        with self._lock:
            self._changes.append(_Change(time.monotonic(), host, conditions))

    def seen(self, delay_s: float = 0.0) -> dict[str, Conditions]:
        """Return the endpoints as a client sees them that learns of changes so late."""
        until = time.monotonic() - delay_s
        found: dict[str, Conditions] = {}
        with self._lock:
            for change in self._changes:
                if change.at > until:
                    break
                if change.conditions is None:
                    found.pop(change.host, None)
                else:
                    found[change.host] = change.conditions
        return found

    def usable(self, delay_s: float = 0.0) -> list[str]:
        """Return where requests go: to the ready ones, else to those that serve while they end."""
        found = self.seen(delay_s)
        ready = [host for host, each in found.items() if each.ready]
        return ready or [host for host, each in found.items() if each.serving and each.terminating]
