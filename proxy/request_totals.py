"""What `ctl status` says of HTTP: requests, success rate and latency, since the start."""

from collections.abc import Iterable, Mapping
from typing import Final

from proxy.answers import NO_FLAG, SUCCESS, classify
from proxy.engine import BUCKETS_US, DIRECTIONS, Golden, Group
from proxy.latency import quantile_us

Totals = dict[str, object]

_QUANTILES: Final = {"p50_ms": 0.5, "p99_ms": 0.99}


def request_totals(goldens: Mapping[Group, Golden]) -> dict[str, Totals]:
    """Return, by direction, what has happened since the start.

    `success_rate` (0 to 1) and the estimated quantiles are None as long as nothing has ended.
    """
    return {
        direction: _totals([each for group, each in goldens.items() if group[0] == direction])
        for direction in DIRECTIONS
    }


def service_totals(goldens: Mapping[Group, Golden], count_max: int) -> list[Totals]:
    """Return the same for the groups with the most requests, these first."""
    busiest = sorted(goldens, key=lambda group: (-sum(goldens[group].requests), group))
    return [
        {
            "direction": group[0],
            "service": group[1],
            "tls": group[2],
            "route": group[3],
            **_totals([goldens[group]]),
        }
        for group in busiest[:count_max]
    ]


def flag_counts(goldens: Mapping[Group, Golden]) -> dict[str, dict[str, int]]:
    """Return direction → flag → how many requests ended with it; those without a flag left out."""
    counts: dict[str, dict[str, int]] = {}
    for (direction, *_), golden in goldens.items():
        for (_, flag), total in golden.endings.items():
            if flag != NO_FLAG:
                by_flag = counts.setdefault(direction, {})
                by_flag[flag] = by_flag.get(flag, 0) + total
    return counts


def _totals(goldens: list[Golden]) -> Totals:
    durations = [sum(column) for column in zip(*(each.durations for each in goldens), strict=True)]
    return {
        "begun": sum(sum(each.requests) for each in goldens),
        "in_flight": sum(each.in_flight for each in goldens),
        "success_rate": _success_rate(goldens),
        **_latency(durations),
    }


def _success_rate(goldens: Iterable[Golden]) -> float | None:
    total = good = 0
    for golden in goldens:
        for (status, flag), count in golden.endings.items():
            total += count
            good += count if classify(status, flag) == SUCCESS else 0
    return good / total if total else None


def _latency(counts: list[int]) -> dict[str, float | None]:
    estimates = {
        name: quantile_us(counts, BUCKETS_US, quantile) for name, quantile in _QUANTILES.items()
    }
    return {name: None if us is None else us / 1000 for name, us in estimates.items()}
