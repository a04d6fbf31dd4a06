"""Traffic policy in numbers: what there is to route to, and what became of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.core import Metric

from proxy.engine import TRAFFIC_EVENTS, BackendState, Engine
from proxy.families import Row, counter, gauge

if TYPE_CHECKING:
    from proxy.policy.watch import PolicyWatch

# Series of events, and of services with ejected endpoints; events that find no room are counted
# together, so that 5,000 services cannot make 80,000 of them.
_EVENT_SERIES_MAX: Final = 128
_EJECTED_SERIES_MAX: Final = 16
# All of them, with what has no room and one for each kind of object.
TRAFFIC_SERIES_MAX: Final = _EVENT_SERIES_MAX + len(TRAFFIC_EVENTS) + _EJECTED_SERIES_MAX + 10
_OTHER: Final = "other"
_States = dict[str, list[BackendState]]


def traffic_families(engine: Engine, watch: "PolicyWatch | None") -> Iterator[Metric]:
    """Yield every family of traffic policy."""
    rows: list[Row] = [((kind,), count) for kind, count in watch.counts.items()] if watch else []
    text = "Services, their ports and endpoints, routes: what is in force of each."
    yield gauge("remora_traffic_objects", text, ["kind"], rows)
    states = _states(engine, watch) if watch else {}
    yield counter(
        "remora_traffic_events",
        "What retries, limits, breakers, time-outs and faults did to the requests of a service.",
        ["service", "event"],
        _events(states),
    )
    text = "Endpoints that get no requests because they failed too many."
    out = {service: sum(each.ejected for each in found) for service, found in states.items()}
    ejected: list[Row] = [((service,), count) for service, count in out.items() if count]
    del ejected[_EJECTED_SERIES_MAX:]
    yield gauge("remora_traffic_ejected_endpoints", text, ["service"], ejected)


def _states(engine: Engine, watch: "PolicyWatch") -> _States:
    """Return what is known of the services that somebody has asked something of."""
    states: _States = {}
    for backend in sorted(watch.traffic.backends, key=lambda each: each.number):
        state = engine.backend(backend.number)
        if state is not None:
            states.setdefault(backend.service, []).append(state)
    return states


def _events(states: _States) -> list[Row]:
    counts: dict[tuple[str, ...], int] = {}
    for service, found in states.items():
        for state in found:
            for event, count in state.events.items():
                if count:
                    _count(counts, service, event, count)
    return list(counts.items())


def _count(counts: dict[tuple[str, ...], int], service: str, event: str, count: int) -> None:
    key = (service, event)
    if key not in counts and len(counts) >= _EVENT_SERIES_MAX:
        key = (_OTHER, event)
    counts[key] = counts.get(key, 0) + count
