"""What groups of requests have counted, as the engine tells it."""

from proxy.engine import BUCKETS_US, METHODS, Golden, Group


def golden(
    gets: int = 0, endings: dict[tuple[int, str], int] | None = None, *, in_flight: int = 0
) -> Golden:
    """Return so many GET requests, each of them ended after 0.5 to 1 ms unless in flight."""
    requests, durations = [0] * len(METHODS), [0] * (len(BUCKETS_US) + 1)
    requests[METHODS.index("GET")] = gets
    durations[BUCKETS_US.index(1_000)] = gets - in_flight
    if endings is None:
        endings = {(200, "-"): gets - in_flight}
    return Golden(
        requests=requests,
        in_flight=in_flight,
        durations=durations,
        duration_us=700 * (gets - in_flight),
        first_bytes=durations,
        first_byte_us=500 * (gets - in_flight),
        request_bytes=3 * gets,
        response_bytes=5 * gets,
        endings=endings,
    )


class Goldens:
    """In place of an engine: the tests say what was counted."""

    def __init__(self, counted: dict[Group, Golden] | None = None) -> None:
        self.counted = counted or {}

    def groups(self) -> dict[Group, tuple[int, int]]:
        return {group: (sum(g.requests), g.in_flight) for group, g in self.counted.items()}

    def golden(self, group: Group) -> Golden:
        return self.counted[group]
