"""Waiting for a state, with a bound: the one place of the suite that lets time pass.

A test never sleeps: it names what it waits for, and a wait that runs out fails with that name.
"""

import os
import time
from collections.abc import Callable
from threading import Event
from typing import Final, TypeVar

State = TypeVar("State")

# Far above what any healthy state change takes, sanitizer builds on two busy cores included:
# reaching it means "never", not "slow". A developer in a hurry may set another.
PATIENCE_S: Final = float(os.environ.get("TEST_PATIENCE_S", "20"))
POLL_S: Final = 0.005


def eventually(what: str, probe: Callable[[], State], *, seconds: float = PATIENCE_S) -> State:
    """Call `probe` until its result is true and return it; fail naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = Event()
    while not (state := probe()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}; last seen: {state!r}")
        pause.wait(POLL_S)
    return state
