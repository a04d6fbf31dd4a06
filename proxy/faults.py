"""Exceptions that nobody awaits: into the log, with their place in the code."""

import asyncio
import traceback
from pathlib import Path
from typing import Final

from proxy.logs import Log

# Innermost frames shown: enough to find the line, short enough for a log.
_FRAMES: Final = 3


class Faults:
    """Reports faults of ours. Service goes on."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def from_loop(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Report what a callback of the loop raised."""
        fault = context.get("exception")
        if isinstance(fault, Exception):
            self.from_handler(fault)
        else:
            self._log.error("fault", error=str(context.get("message")))

    def from_handler(self, fault: Exception) -> None:
        """Report an exception."""
        place = traceback.extract_tb(fault.__traceback__)[-_FRAMES:]
        self._log.error(
            "fault",
            error=f"{type(fault).__name__}: {fault}",
            at=[f"{Path(frame.filename).name}:{frame.lineno}" for frame in place],
        )
