"""What Kubernetes has no fields for: annotations `remora.dev/...` of Services and routes.

An unknown name is a fault: a limit with a typing error would be no limit.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import Any, Final, NamedTuple

from proxy.sources.meta import Meta
from proxy.sources.strict import Fault, FaultsError, Value
from proxy.sources.times import gateway_ms
from proxy.traffic.rows import MILLION, Injected, Limit

PREFIX: Final = "remora.dev/"
RETRIES_MAX: Final = 100
STATUS_MIN, STATUS_MAX = 400, 599

_COUNT_MAX: Final = (1 << 31) - 1
_RATE_MAX: Final = 10_000_000
_RATE: Final = re.compile(r"([0-9]{1,8})/(s|m)(?: burst=([0-9]{1,8}))?")
_PER_KS: Final = {"s": 1000.0, "m": 1000 / 60}
_PERCENT: Final = r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%"
_DELAY: Final = re.compile(_PERCENT + r" ([0-9a-z]+)")
_ABORT: Final = re.compile(_PERCENT + r" ([0-9]{3})")
_BUDGET: Final = re.compile(r"([0-9]{1,3})%(?: min=([0-9]{1,6}))?")
_SUCCESS: Final = re.compile(r"([0-9]{1,3})%(?: requests=([0-9]{1,6}))?")
_PERCENT_MAX: Final = 100


class Budget(NamedTuple):
    """How many retries requests allow."""

    percent: int
    min_per_s: int = 10


class SuccessRate(NamedTuple):
    """Below which an endpoint is taken out, if it had so many requests in an interval."""

    percent: int
    requests_min: int = 5


class RouteAnnotations(NamedTuple):
    """Those of an HTTPRoute or GRPCRoute, for all of its rules. None: not said."""

    limit: Limit | None = None
    delay: Injected | None = None
    abort: Injected | None = None
    retry_attempts: int | None = None
    retry_codes: tuple[int, ...] | None = None
    retry_backoff_ms: int | None = None
    request_ms: int | None = None
    try_ms: int | None = None

    @property
    def fault(self) -> Injected:
        """Delay and abort together."""
        return _injected(self.delay, self.abort)


class ServiceAnnotations(NamedTuple):
    """Those of a Service. None: not said."""

    limit: Limit | None = None
    delay: Injected | None = None
    abort: Injected | None = None
    retry_attempts: int | None = None
    retry_codes: tuple[int, ...] | None = None
    retry_backoff_ms: int | None = None
    request_ms: int | None = None
    try_ms: int | None = None
    peer_limit: Limit | None = None
    requests_max: int | None = None
    budget: Budget | None = None
    slow_start_ms: int | None = None
    success_rate: SuccessRate | None = None

    @property
    def fault(self) -> Injected:
        """Delay and abort together."""
        return _injected(self.delay, self.abort)


def read_service_annotations(value: Value, meta: Meta, faults: list[Fault]) -> ServiceAnnotations:
    """Read those of a Service."""
    return ServiceAnnotations(**_found(value, meta, {**_OF_BOTH, **_OF_SERVICES}, faults))


def read_route_annotations(value: Value, meta: Meta, faults: list[Fault]) -> RouteAnnotations:
    """Read those of a route."""
    return RouteAnnotations(**_found(value, meta, _OF_BOTH, faults))


def _injected(delay: Injected | None, abort: Injected | None) -> Injected:
    delay, abort = delay or Injected(), abort or Injected()
    return Injected(
        delay.delay_per_million, delay.delay_ms, abort.abort_per_million, abort.abort_status
    )


def _found(
    value: Value, meta: Meta, known: "Mapping[str, _Reader]", faults: list[Fault]
) -> dict[str, Any]:
    names = [name for name in meta.annotations if name.startswith(PREFIX)]
    found: dict[str, Any] = {}
    for name in names:
        try:
            place = value.get("metadata", "annotations", name) or value
            field, said = _one(place, meta, name.removeprefix(PREFIX), known)
        except FaultsError as wrong:
            faults += wrong.faults
        else:
            found[field] = said
    request_ms, try_ms = found.get("request_ms"), found.get("try_ms")
    if request_ms and try_ms and try_ms > request_ms:
        text = f"annotation {PREFIX}try-timeout is longer than {PREFIX}timeout"
        faults += value.fault(text).faults
    return found


def _one(place: Value, meta: Meta, name: str, known: "Mapping[str, _Reader]") -> tuple[str, object]:
    reader = known.get(name)
    if reader is None:
        elsewhere = name in _OF_SERVICES
        text = f"is for Services, not for a {meta.kind}" if elsewhere else _unknown(known)
        raise place.fault(text)
    text = place.text()
    try:
        return reader.field, reader.read(text)
    except ValueError as wrong:
        raise place.fault(f"{text!r} {wrong}") from None


def _unknown(known: Iterable[str]) -> str:
    return f"is not supported (there are {', '.join(sorted(known))})"


# ---- values -------------------------------------------------------------------------------------


def _limit(text: str) -> Limit:
    match = _RATE.fullmatch(text)
    if not match:
        raise ValueError("is no rate (write 100/s, 30/m, or 100/s burst=200)")
    rate = int(match[1])
    if not 1 <= rate <= _RATE_MAX:
        raise ValueError(f"is outside 1 to {_RATE_MAX}")
    per_ks = round(rate * _PER_KS[match[2]])
    # Without a word on it: what comes in a second may come at once.
    burst = int(match[3]) if match[3] else ceil(per_ks / 1000)
    if not burst:
        raise ValueError("would let nothing through: its burst is 0")
    return Limit(per_ks, burst)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:12]) <= _COUNT_MAX:
        raise ValueError(f"is no number from 1 to {_COUNT_MAX}")
    return int(text)


def _attempts(text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or int(text) > RETRIES_MAX:
        raise ValueError(f"is no number from 0 to {RETRIES_MAX}")
    return int(text)


def _codes(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(re.fullmatch("[45][0-9]{2}", word) for word in words):
        raise ValueError("is no list of statuses from 400 to 599 (write 502,503,504)")
    return tuple(sorted({int(word) for word in words}))


def _per_million(percent: str) -> int:
    per_million = round(float(percent) * MILLION / 100)
    if not 0 < per_million <= MILLION:
        raise ValueError("is not above 0% and up to 100%")
    return per_million


def _delay(text: str) -> Injected:
    match = _DELAY.fullmatch(text)
    if not match:
        raise ValueError("is no delay (write 10% 200ms)")
    return Injected(delay_per_million=_per_million(match[1]), delay_ms=gateway_ms(match[2]))


def _abort(text: str) -> Injected:
    match = _ABORT.fullmatch(text)
    if not match or not STATUS_MIN <= int(match[2]) <= STATUS_MAX:
        raise ValueError("is no abort (write 5% 503; statuses from 400 to 599)")
    return Injected(abort_per_million=_per_million(match[1]), abort_status=int(match[2]))


def _budget(text: str) -> Budget:
    match = _BUDGET.fullmatch(text)
    if not match or int(match[1]) > _PERCENT_MAX:
        raise ValueError("is no retry budget (write 20% or 20% min=10)")
    return Budget(int(match[1]), int(match[2])) if match[2] else Budget(int(match[1]))


def _success_rate(text: str) -> SuccessRate:
    match = _SUCCESS.fullmatch(text)
    if not match or not 1 <= int(match[1]) <= _PERCENT_MAX or match[2] == "0":
        raise ValueError("is no success rate (write 80% or 80% requests=5)")
    found = SuccessRate(int(match[1]))
    return found._replace(requests_min=int(match[2])) if match[2] else found


class _Reader(NamedTuple):
    field: str
    read: Callable[[str], object]


_OF_BOTH: Final[Mapping[str, _Reader]] = {
    "rate-limit": _Reader("limit", _limit),
    "fault-delay": _Reader("delay", _delay),
    "fault-abort": _Reader("abort", _abort),
    "retry-attempts": _Reader("retry_attempts", _attempts),
    "retry-codes": _Reader("retry_codes", _codes),
    "retry-backoff": _Reader("retry_backoff_ms", gateway_ms),
    "timeout": _Reader("request_ms", gateway_ms),
    "try-timeout": _Reader("try_ms", gateway_ms),
}
_OF_SERVICES: Final[Mapping[str, _Reader]] = {
    "peer-rate-limit": _Reader("peer_limit", _limit),
    "concurrency-limit": _Reader("requests_max", _count),
    "retry-budget": _Reader("budget", _budget),
    "slow-start": _Reader("slow_start_ms", gateway_ms),
    "outlier-success-rate": _Reader("success_rate", _success_rate),
}
NAMES: Final = {PREFIX + name: name in _OF_SERVICES for name in (*_OF_BOTH, *_OF_SERVICES)}
