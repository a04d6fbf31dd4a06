"""Something that happens once a second while something else is measured."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Final

INTERVAL_SECONDS: Final = 1.0


@contextlib.contextmanager
def once_a_second(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with 1, 2, 3... from a thread; soon at first, for the shortest run has one."""
    over = threading.Event()

    def work() -> None:
        number = 0
        while not over.wait(INTERVAL_SECONDS if number else INTERVAL_SECONDS / 4):
            number += 1
            act(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
