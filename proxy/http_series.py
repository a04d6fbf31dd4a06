"""Which requests have series of their own, and which share those of `service="other"`.

A group is a direction, a service and a route. It has its own series while there is room for them
and as long as it has traffic. What happened between two readings goes to the series that the group
has at the second one, so that no counter ever goes back and nothing is counted twice, whoever comes
and goes.
"""

import time
from collections.abc import Callable
from operator import sub
from typing import Final, NamedTuple, Protocol, TypeVar

from proxy.answers import classify
from proxy.engine import (
    BUCKETS_US,
    DIRECTIONS,
    METHODS,
    STATUS_REST,
    STATUS_REST_ERROR,
    Golden,
    Group,
)

T = TypeVar("T")

OTHER: Final = "other"
_OTHER_METHOD: Final = METHODS[0]
_BUCKET_COUNT: Final = len(BUCKETS_US) + 1
_NOTHING: Final = Golden(
    [0] * len(METHODS), 0, [0] * _BUCKET_COUNT, 0, [0] * _BUCKET_COUNT, 0, 0, 0, {}
)

# Series that a group needs in any case: two histograms with sum and count, bytes both ways, in
# flight; the method and the two endings that take what finds no room.
_ACCOUNT_SERIES: Final = 2 * (_BUCKET_COUNT + 2) + 3 + 3
# What the groups without series of their own need, whatever happens.
SHARED_SERIES: Final = len(DIRECTIONS) * _ACCOUNT_SERIES


class Ending(NamedTuple):
    """The labels of `response_total` that differ within a group."""

    status_code: str
    classification: str
    flag: str


class Source(Protocol):
    """Where counters come from: the engine."""

    def groups(self) -> dict[Group, tuple[int, int]]:
        """Return requests begun and in flight of every group."""

    def golden(self, group: Group) -> Golden:
        """Read what a group has counted."""


class Account:
    """What the series of one group, or of all that have none, say so far."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.endings: dict[Ending, int] = {}
        self.in_flight = 0
        self.durations = [0] * _BUCKET_COUNT
        self.duration_us = 0
        self.first_bytes = [0] * _BUCKET_COUNT
        self.first_byte_us = 0
        self.request_bytes = 0
        self.response_bytes = 0

    @property
    def series(self) -> int:
        """How many series it may show at least: those that it has, and those kept free for it."""
        methods = self.requests.keys() - {_OTHER_METHOD}
        endings = [ending for ending in self.endings if ending.status_code != OTHER]
        return _ACCOUNT_SERIES + len(methods) + len(endings)

    def add(self, now: Golden, before: Golden, has_room: Callable[[], bool]) -> None:
        """Add what happened between two readings. `has_room` is asked for each new series."""
        for method, begun in zip(METHODS, map(sub, now.requests, before.requests), strict=True):
            if begun:
                is_own = method in {_OTHER_METHOD, *self.requests} or has_room()
                _count(self.requests, method if is_own else _OTHER_METHOD, begun)
        for (status, flag), total in now.endings.items():
            ended = total - before.endings.get((status, flag), 0)
            if ended:
                _count(self.endings, self._ending(status, flag, has_room), ended)
        self.durations = _grown(self.durations, now.durations, before.durations)
        self.duration_us += now.duration_us - before.duration_us
        self.first_bytes = _grown(self.first_bytes, now.first_bytes, before.first_bytes)
        self.first_byte_us += now.first_byte_us - before.first_byte_us
        self.request_bytes += now.request_bytes - before.request_bytes
        self.response_bytes += now.response_bytes - before.response_bytes

    def _ending(self, status: int, flag: str, has_room: Callable[[], bool]) -> Ending:
        classification = classify(status, flag)
        ending = Ending(str(status), classification, flag)
        is_rest = status in {STATUS_REST, STATUS_REST_ERROR}
        if is_rest or (ending not in self.endings and not has_room()):
            return Ending(OTHER, classification, OTHER)
        return ending


class _Known:
    """What is remembered of a group."""

    def __init__(self) -> None:
        self.counts = (0, 0)
        self.seen = _NOTHING
        self.changed_s = 0.0
        self.own: Account | None = None  # from when it first had series of its own
        self.is_shown = False


class HttpSeries:
    """The accounts behind the series of HTTP.

    At most `series_max` series; those of a group without traffic for `idle_s` (0: for ever) are
    put away, and come back with all that they had counted.
    """

    def __init__(
        self, series_max: int, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._left = series_max - SHARED_SERIES
        self._idle_s = idle_s
        self._clock = clock
        self._known: dict[Group, _Known] = {}
        self._shared = {direction: Account() for direction in DIRECTIONS}

    def read(self, source: Source) -> dict[Group, Account]:
        """Read the counters, and return what is to be shown."""
        groups = source.groups()
        for account in self._shared.values():
            account.in_flight = 0
        # The busiest first: they get what room there is.
        for group in sorted(groups, key=lambda each: -groups[each][0]):
            known = self._known.get(group)
            if known is None:
                known = self._known[group] = _Known()
            self._update(known, group, groups[group], source)
        shown = {
            group: known.own
            for group, known in self._known.items()
            if known.is_shown and known.own is not None
        }
        for direction, account in self._shared.items():
            if account.requests:
                shown[direction, OTHER, False, OTHER] = account
        return shown

    def _update(self, known: _Known, group: Group, counts: tuple[int, int], source: Source) -> None:
        if counts == known.counts and not counts[1]:
            self._put_away_if_idle(known)
            return
        known.counts, known.changed_s = counts, self._clock()
        account = self._account_of(known, group)
        now = source.golden(group)
        if account is None:
            account = self._shared[group[0]]
            account.add(now, known.seen, lambda: False)
            account.in_flight += now.in_flight
        else:
            account.add(now, known.seen, self._take_one)
            account.in_flight = now.in_flight
        known.seen = now

    def _account_of(self, known: _Known, group: Group) -> Account | None:
        """Return the group's own account, if it has series or there is room for them."""
        if known.is_shown:
            return known.own
        if self._left < _ACCOUNT_SERIES or group[1] == OTHER:
            return None
        account = known.own or Account()
        if account.series > self._left:
            return None
        self._left -= account.series
        known.own, known.is_shown = account, True
        return account

    def _put_away_if_idle(self, known: _Known) -> None:
        if not known.is_shown or known.own is None or not self._idle_s:
            return
        if self._clock() - known.changed_s >= self._idle_s:
            known.is_shown = False
            self._left += known.own.series

    def _take_one(self) -> bool:
        has_room = self._left > 0
        self._left -= has_room
        return has_room


def _count(counts: dict[T, int], label: T, amount: int) -> None:
    counts[label] = counts.get(label, 0) + amount


def _grown(counts: list[int], now: list[int], before: list[int]) -> list[int]:
    return [count + new - old for count, new, old in zip(counts, now, before, strict=True)]
