"""A simulated world around the decisions of the data plane: requests, endpoints, and a clock.

Nothing here sleeps or measures: time goes from event to event, and dice are seeded. What chooses,
learns, ejects and pays for retries is the compiled code (tests/probes/decisions.pyx).
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from proxy.traffic.rows import Backend, Endpoint, Outlier, Traffic

NUMBER: Final = 7  # of the backend
START_US: Final = 1_000_000_000
SECOND_US: Final = 1_000_000
NEVER: Final = Outlier(errors_max=0, local_errors_max=0)  # takes nobody out


def endpoints(count: int, first: int = 0, generation: int = 1) -> tuple[Endpoint, ...]:
    """Return so many endpoints; the slot is in the address."""
    return tuple(
        Endpoint(f"10.0.{slot // 250}.{slot % 250 + 1}", 80, slot, generation)
        for slot in range(first, first + count)
    )


def backend(
    of: int | Iterable[Endpoint] = 5,
    **more: Any,  # noqa: ANN401 - fields of Backend
) -> Backend:
    """Return a backend with so many endpoints, or with these."""
    rows = endpoints(of) if isinstance(of, int) else tuple(of)
    return Backend(number=NUMBER, service="shop/web", port=80, endpoints=rows, **more)


def traffic_of(row: Backend) -> Traffic:
    """Return rows with nothing but a backend."""
    return Traffic(backends=(row,))


@dataclass
class Behaviour:
    """How an endpoint does: it works on `workers` requests at once, others wait."""

    mean_ms: float
    workers: int = 100
    outcome: str = "ok"
    busy_until_us: list[int] = field(default_factory=list)

    def end_of(self, now_us: int, dice: random.Random) -> int:
        """Return when a request that comes now is answered."""
        self.busy_until_us = [end for end in self.busy_until_us if end > now_us]
        start = now_us
        if len(self.busy_until_us) >= self.workers:
            start = sorted(self.busy_until_us)[-self.workers]
        took_us = max(1, round(dice.gammavariate(4, self.mean_ms * 1000 / 4)))
        self.busy_until_us.append(start + took_us)
        return start + took_us


@dataclass(frozen=True)
class Answer:
    """What became of one try."""

    begun_us: int
    took_us: int
    slot: int
    outcome: str
    is_retry: bool


class World:
    """One proxy in front of one backend."""

    def __init__(self, decisions: ModuleType, row: Backend, *, seed: int = 1) -> None:
        self.decisions = decisions
        self.fleet = decisions.Fleet(seed)
        self.dice = random.Random(seed)  # noqa: S311 - no secret
        self.now_us = START_US
        self.behaviours: dict[int, Behaviour] = {}
        self.answers: list[Answer] = []
        self.attempts = 0  # further ones
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._event_count = 0
        self.publish(row)

    def publish(self, row: Backend) -> None:
        """Make another snapshot current."""
        self.row = row
        self.policy = self.decisions.Policy(traffic_of(row))

    def at(self, when_us: int, what: Callable[[], None]) -> None:
        """Let something happen at a time."""
        self._event_count += 1
        heapq.heappush(self._events, (when_us, self._event_count, what))

    def advance(self, seconds: float) -> None:
        """Let all happen that is due within that time."""
        end_us = self.now_us + round(seconds * SECOND_US)
        while self._events and self._events[0][0] <= end_us:
            self.now_us, _, what = heapq.heappop(self._events)
            what()
        self.now_us = end_us

    def ask(self, seconds: float, per_s: float) -> None:
        """Let requests come at random times, as many a second on average, and be answered."""
        end_us = self.now_us + round(seconds * SECOND_US)
        when_us = self.now_us
        while when_us < end_us:
            self.at(when_us, self.request)
            when_us += max(1, round(self.dice.expovariate(per_s) * SECOND_US))
        self.advance(seconds)

    def request(self) -> None:
        """Make a request now."""
        if self.row.budget_percent or self.row.budget_min_per_s:
            self.fleet.deposit(self.policy, NUMBER, self.now_us)
        self._try(())

    def _try(self, tried: tuple[int, ...]) -> None:
        chosen = self.fleet.pick(self.policy, NUMBER, self.now_us, 0, tried)
        if chosen is None:
            return
        slot, generation = chosen
        self.fleet.begin(self.policy, NUMBER, slot, self.now_us)
        behaviour, begun_us = self.behaviours[slot], self.now_us

        def end() -> None:
            took_us = self.now_us - begun_us
            outcome = behaviour.outcome
            self.answers.append(Answer(begun_us, took_us, slot, outcome, bool(tried)))
            self.fleet.end(self.policy, NUMBER, slot, generation, outcome, took_us, self.now_us)
            if outcome != "ok" and len(tried) < self.attempts:
                self.at(self.now_us + self.dice.randrange(25_000), lambda: retry((*tried, slot)))

        def retry(slots: tuple[int, ...]) -> None:
            if self.fleet.withdraw(self.policy, NUMBER, self.now_us):
                self._try(slots)

        self.at(behaviour.end_of(self.now_us, self.dice), end)

    def counts(self, since_us: int = 0) -> Counter[int]:
        """Return how many tries each endpoint got, by slot."""
        return Counter(answer.slot for answer in self.answers if answer.begun_us >= since_us)

    def percentile_us(self, percent: float) -> int:
        """Return a percentile of the latencies."""
        took = sorted(answer.took_us for answer in self.answers)
        return took[min(len(took) - 1, int(len(took) * percent / 100))]


def even(count: int, mean_ms: float = 10, **more: Any) -> dict[int, Behaviour]:  # noqa: ANN401
    """Return as many endpoints that do the same."""
    return {slot: Behaviour(mean_ms, **more) for slot in range(count)}
