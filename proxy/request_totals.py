"""What `ctl status` says of HTTP: requests, success rate and latency, since the start."""

from typing import Final

from proxy.answers import NO_FLAG, SUCCESS, classify
from proxy.engine import BUCKETS_US, Responses, Stats
from proxy.latency import quantile_us

_QUANTILES: Final = {"p50_ms": 0.5, "p99_ms": 0.99}


def request_totals(stats: Stats, responses: list[Responses]) -> dict[str, dict[str, object]]:
    """Return, by direction, what has happened since the start.

    `success_rate` (0 to 1) and the estimated quantiles are None as long as nothing has ended.
    """
    begun: dict[str, int] = {}
    for direction, _, count in stats.requests():
        begun[direction] = begun.get(direction, 0) + count
    in_flight = dict(stats.in_flight())
    return {
        direction: {
            "begun": begun[direction],
            "in_flight": in_flight[direction],
            "success_rate": _success_rate(direction, responses),
            **_latency(counts),
        }
        for direction, counts, _ in stats.histogram("request")
    }


def flag_counts(responses: list[Responses]) -> dict[str, dict[str, int]]:
    """Return direction → flag → how many requests ended with it; those without a flag left out."""
    counts: dict[str, dict[str, int]] = {}
    for direction, _, flag, total in responses:
        if flag != NO_FLAG:
            by_flag = counts.setdefault(direction, {})
            by_flag[flag] = by_flag.get(flag, 0) + total
    return counts


def _success_rate(direction: str, responses: list[Responses]) -> float | None:
    ended = [each for each in responses if each.direction == direction]
    total = sum(each.total for each in ended)
    if not total:
        return None
    good = sum(each.total for each in ended if classify(each.status, each.flag) == SUCCESS)
    return good / total


def _latency(counts: list[int]) -> dict[str, float | None]:
    estimates = {
        name: quantile_us(counts, BUCKETS_US, quantile) for name, quantile in _QUANTILES.items()
    }
    return {name: None if us is None else us / 1000 for name, us in estimates.items()}
