"""What policies had to say of requests and connections → the log."""

from collections.abc import Callable
from typing import Final

from proxy.describe import address_text, readable
from proxy.engine import Denial
from proxy.logs import Log

# Events of the log, by the data plane's verdict.
EVENTS: Final = {"denied": "denied", "dry_run": "denied_dry_run", "audited": "audited"}


class Denials:
    """Writes a line for each; the data plane sends no more of them than people read."""

    def __init__(self, log: Log, identity: Callable[[], str]) -> None:
        self._log = log
        self._identity = identity

    def on_denials(self, denials: list[tuple[str, Denial]]) -> None:
        """Take (policy, what it said) from the engine."""
        for policy, denial in denials:
            fields: dict[str, object] = {
                "policy": policy,
                "unit": denial.unit,
                "source": readable(denial.peer) or None,
                "destination": self._identity() or None,
                "downstream": address_text(denial.downstream),
                "address": address_text(denial.destination),
                "direction": denial.direction,
                "connection_id": denial.connection_id,
            }
            if denial.unit == "request":
                fields |= {
                    "method": readable(denial.method),
                    "host": readable(denial.host),
                    "target": readable(denial.target),
                }
            if denial.untold:
                fields["untold"] = denial.untold
            self._log.warning(EVENTS[denial.verdict], **fields)
