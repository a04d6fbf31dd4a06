"""Durations, in milliseconds, as the two APIs write them."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from proxy.sources.strict import Value

# What fits 32 bits; 24 days.
MS_MAX: Final = (1 << 31) - 1

_UNIT_MS: Final = {
    "h": Decimal(3_600_000),
    "m": Decimal(60_000),
    "s": Decimal(1000),
    "ms": Decimal(1),
    "us": Decimal("0.001"),
    "µs": Decimal("0.001"),
    "ns": Decimal("0.000001"),
}
_GATEWAY: Final = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_GO: Final = re.compile(r"([0-9]{1,10}(\.[0-9]{1,9})?(h|ms|m|s|us|µs|ns)){1,7}|0")
_PART: Final = re.compile(r"([0-9.]+)(ms|us|µs|ns|h|m|s)")


def gateway_ms(text: str) -> int:
    """Read a duration of Gateway API (GEP-2257). Raises ValueError."""
    if not _GATEWAY.fullmatch(text):
        raise ValueError("is no duration (write 500ms, 10s, 1m30s or 1h)")
    return _sum_ms(text)


def go_ms(text: str) -> int:
    """Read a duration as Istio takes it: "1.5s", "100ms". Raises ValueError."""
    if not _GO.fullmatch(text):
        raise ValueError("is no duration (write 500ms, 1.5s, 1m or 1h)")
    return _sum_ms(text)


def of_gateway(value: Value) -> int:
    """Read a field of Gateway API."""
    return _of(value, gateway_ms)


def of_istio(value: Value) -> int:
    """Read a field of Istio's API."""
    return _of(value, go_ms)


def _of(value: Value, read: Callable[[str], int]) -> int:
    text = value.text()
    try:
        return read(text)
    except ValueError as wrong:
        raise value.fault(f"{text!r} {wrong}") from None


def _sum_ms(text: str) -> int:
    total = sum((Decimal(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text)), _ZERO)
    if total != int(total):
        raise ValueError("is finer than a millisecond")
    if total > MS_MAX:
        raise ValueError("is longer than 24 days")
    return int(total)


_ZERO: Final = Decimal(0)
