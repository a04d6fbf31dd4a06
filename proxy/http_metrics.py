"""Golden metrics of HTTP: Linkerd's `request_total` and `response_total`, and `remora_http_*`.

Nothing that a downstream chooses makes a series: a method outside the registered ones is "OTHER",
and hosts and paths are no labels. The one word that an application chooses is the status: above
`_RESPONSES_MAX` combinations of status and flag, new ones share one series for each direction and
classification. A series that was shown once stays, so that no counter goes back.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from prometheus_client.core import Metric

from proxy.answers import classify
from proxy.engine import Responses, Stats
from proxy.families import Row, counter, gauge, histogram

_RESPONSES_MAX: Final = 800
_OTHER: Final = "other"
_UNKNOWN: Final = "unknown"

# No service or route is configured yet, and what an exchange speaks is one thing.
_BASE: Final = ("direction", "service", "route", "protocol", "tls")


def _base(direction: str) -> tuple[str, ...]:
    return (direction, _UNKNOWN, _UNKNOWN, "http1", "false")


class _Ending(NamedTuple):
    """The labels of `response_total` that differ within a direction."""

    direction: str
    status_code: str
    classification: str
    flag: str


class HttpMetrics:
    """The families of HTTP. It remembers which series it has shown."""

    def __init__(self) -> None:
        self._shown: set[_Ending] = set()

    def collect(self, stats: Stats, responses: list[Responses]) -> Iterator[Metric]:
        """Yield every family from one reading of the counters."""
        yield counter(
            "request",
            "Requests begun.",
            [*_BASE, "method"],
            [((*_base(d), m), n) for d, m, n in stats.requests() if n],
        )
        yield counter(
            "response",
            "Requests ended. Status 0: no answer was made.",
            [*_BASE, "status_code", "classification", "flag"],
            self._endings(responses),
        )
        yield _durations(stats)
        yield _first_bytes(stats)
        yield from _bodies(stats)
        text = "Requests begun and not ended."
        rows = [(_base(d), n) for d, n in stats.in_flight()]
        yield gauge("remora_http_in_flight_requests", text, _BASE, rows)
        yield from _pools(stats)

    def _endings(self, responses: list[Responses]) -> list[Row]:
        counts: dict[_Ending, int] = {}
        for response in responses:
            ending = self._series(response)
            counts[ending] = counts.get(ending, 0) + response.total
        return [((*_base(e.direction), *e[1:]), count) for e, count in counts.items()]

    def _series(self, response: Responses) -> _Ending:
        direction, status, flag, _ = response
        classification = classify(status, flag)
        ending = _Ending(direction, str(status), classification, flag)
        if ending not in self._shown:
            if len(self._shown) >= _RESPONSES_MAX:
                return _Ending(direction, _OTHER, classification, _OTHER)
            self._shown.add(ending)
        return ending


def _durations(stats: Stats) -> Metric:
    return histogram(
        "remora_http_request_duration_seconds",
        "From the first byte of a request to the end of its answer, counted then.",
        _BASE,
        [(_base(d), counts, sum_us) for d, counts, sum_us in stats.histogram("request")],
    )


def _first_bytes(stats: Stats) -> Metric:
    return histogram(
        "remora_http_first_byte_seconds",
        "From the first byte of a request to the first one of the upstream's final answer.",
        _BASE,
        [(_base(d), counts, sum_us) for d, counts, sum_us in stats.histogram("first_byte")],
    )


def _bodies(stats: Stats) -> Iterator[Metric]:
    rows = list(stats.body_bytes())
    text = "Payload of ended requests, without heads and framing."
    yield counter("remora_http_request_bytes", text, _BASE, [(_base(d), n) for d, n, _ in rows])
    text = "Payload of upstreams' answers, without heads and framing, counted at their end."
    yield counter("remora_http_response_bytes", text, _BASE, [(_base(d), n) for d, _, n in rows])


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
