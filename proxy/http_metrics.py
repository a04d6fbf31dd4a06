"""Golden metrics of HTTP: Linkerd's `request_total` and `response_total`, and `remora_http_*`.

Nothing that a downstream chooses makes a series: a method outside the registered ones is "OTHER",
and hosts and paths are no labels. Services are those that the configuration names; how many series
they and an application's statuses may make is bounded by `http_series`.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import Metric

from proxy.engine import Group, Stats
from proxy.families import Row, counter, gauge, histogram
from proxy.http_series import OTHER, Account, HttpSeries, Source

_BASE: Final = ("direction", "service", "route", "protocol", "tls")
_Accounts = dict[tuple[str, ...], Account]


def _base(group: Group) -> tuple[str, ...]:
    direction, service, is_mesh, route = group
    tls = OTHER if service == OTHER else str(is_mesh).lower()
    return (direction, service, route, "http1", tls)


class HttpMetrics:
    """The families of HTTP."""

    def __init__(self, series: HttpSeries) -> None:
        self._series = series

    def collect(self, stats: Stats, source: Source) -> Iterator[Metric]:
        """Yield every family from one reading of the counters."""
        accounts = {_base(group): each for group, each in self._series.read(source).items()}
        yield counter(
            "request",
            "Requests begun.",
            [*_BASE, "method"],
            [((*base, m), n) for base, each in accounts.items() for m, n in each.requests.items()],
        )
        yield counter(
            "response",
            "Requests ended. Status 0: no answer was made.",
            [*_BASE, "status_code", "classification", "flag"],
            [((*base, *e), n) for base, each in accounts.items() for e, n in each.endings.items()],
        )
        yield from _times(accounts)
        yield from _bodies(accounts)
        text = "Requests begun and not ended."
        rows = [(base, each.in_flight) for base, each in accounts.items()]
        yield gauge("remora_http_in_flight_requests", text, _BASE, rows)
        yield from _pools(stats)


def _times(accounts: _Accounts) -> Iterator[Metric]:
    yield histogram(
        "remora_http_request_duration_seconds",
        "From the first byte of a request to the end of its answer, counted then.",
        _BASE,
        [(base, each.durations, each.duration_us) for base, each in accounts.items()],
    )
    yield histogram(
        "remora_http_first_byte_seconds",
        "From the first byte of a request to the first one of the upstream's final answer.",
        _BASE,
        [(base, each.first_bytes, each.first_byte_us) for base, each in accounts.items()],
    )


def _bodies(accounts: _Accounts) -> Iterator[Metric]:
    text = "Payload of ended requests, without heads and framing."
    rows: list[Row] = [(base, each.request_bytes) for base, each in accounts.items()]
    yield counter("remora_http_request_bytes", text, _BASE, rows)
    text = "Payload of upstreams' answers, without heads and framing, counted at their end."
    rows = [(base, each.response_bytes) for base, each in accounts.items()]
    yield counter("remora_http_response_bytes", text, _BASE, rows)


def _pools(stats: Stats) -> Iterator[Metric]:
    pools = list(stats.pools())
    rows: list[Row] = []
    for direction, pool in pools:
        rows += [((direction, "idle"), pool.idle), ((direction, "busy"), pool.busy)]
    text = "Connections to upstreams that requests share."
    yield gauge("remora_http_pool_connections", text, ["direction", "state"], rows)
    text = "Requests in the queues of full pools."
    rows = [((direction,), pool.waiting) for direction, pool in pools]
    yield gauge("remora_http_pool_waiting_requests", text, ["direction"], rows)
    text = "Requests that got a connection which had served another one."
    rows = [((direction,), pool.reused) for direction, pool in pools]
    yield counter("remora_http_pool_reused", text, ["direction"], rows)
