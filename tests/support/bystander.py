"""A proxy under attack on one listener, and an ordinary downstream beside it on another.

Both listeners belong to one worker. The bystander's requests must all be answered; how long they
took is told (in the report of junit, and on stdout), never asserted. The proxy's memory is looked
at in each round, so that what counts is the most that it ever had.
"""

import time
from collections.abc import Callable
from typing import Final

from tests.support.http import Talk, request, response, talk_once
from tests.support.memory import allowance
from tests.support.rig import Rig, Route
from tests.support.sockets import address_of, written
from tests.support.waiting import eventually

BODY: Final = b"undisturbed" * 90
# Of the bystander, between two acts of the hostile.
_EXCHANGES_EACH_ROUND: Final = 5
# An attack may take some of the timers of the proxy: far more than those take.
_PATIENCE_S: Final = 60.0


class Stand:
    """The proxy, the route of the hostile, and the bystander."""

    def __init__(self, rig: Rig, *flags: str) -> None:
        upstreams = [rig.listen(), rig.listen()]
        pairs = [f"127.0.0.1:0={written(address_of(upstream))}" for upstream in upstreams]
        listen = [word for pair in pairs for word in ("--listen", pair)]
        # Only the bystander itself may end its connection to its upstream.
        keep = ("--http-pool-idle-timeout", "1h")
        self.proxy = rig.start("--no-interception", *listen, *keep, *flags)
        addresses = self.proxy.listeners("explicit")
        self.route, calm = (
            Route(rig, self.proxy, address, upstream)
            for address, upstream in zip(addresses, upstreams, strict=True)
        )
        self._talk: Talk
        self._talk, self._up = talk_once(calm)
        self._seconds: list[float] = []
        self.proxy.metrics()  # the first scrape takes memory for good
        self._before = self._most = self.proxy.private_bytes()

    def round(self) -> None:
        """Some exchanges of the bystander, and a look at the memory."""
        for _ in range(_EXCHANGES_EACH_ROUND):
            started = time.perf_counter()
            _, answered = self._talk.exchange(self._up, request("/bystander"), response(BODY))
            self._seconds.append(time.perf_counter() - started)
            assert answered.body == BODY
        self._most = max(self._most, self.proxy.private_bytes())

    def rounds_until(self, what: str, act: Callable[[], bool]) -> None:
        """Let the hostile act, and the bystander between two of their acts, until that is true."""

        def played() -> bool:
            is_over = act()
            self.round()
            return is_over

        eventually(what, played, seconds=_PATIENCE_S)

    def answered(self, **labels: str) -> float:
        """Return how many responses were counted with these labels."""
        return self.proxy.metrics()("response_total", **labels)

    def check(self, growth_bytes: int, tell: Callable[[str, object], None]) -> None:
        """The proxy never had more than that above its start; the bystander's times are told."""
        times = sorted(self._seconds)
        told = {
            "bystander_exchanges": len(times),
            "bystander_p50_ms": round(times[len(times) // 2] * 1000, 3),
            "bystander_p99_ms": round(times[len(times) * 99 // 100] * 1000, 3),
            "memory_growth_bytes": self._most - self._before,
        }
        for name, value in told.items():
            tell(name, value)
        print(told)  # noqa: T201 - for people: pytest -rP
        assert told["memory_growth_bytes"] < allowance(growth_bytes)
