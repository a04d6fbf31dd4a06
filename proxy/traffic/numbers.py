"""Numbers for life: what workers learn about a backend or an endpoint outlives every snapshot.

A backend and a route keep their number for as long as the proxy runs: there are as many as there
were names. Endpoints come and go with every roll-out, so their slots are used again, each time as
another generation, and only when the endpoint is gone from the manifests: one that is not ready
keeps its slot.
"""

from collections import deque

Key = tuple[int, str, int]  # number of the backend, host, port
Place = tuple[int, int]  # slot, generation


class Numbers:
    """Gives out numbers. `commit` or `refuse` ends what `begin` began."""

    def __init__(self) -> None:
        self._backends: dict[str, int] = {}
        self._routes: dict[str, int] = {}
        self._places: dict[Key, Place] = {}
        self._asked: dict[Key, Place] = {}
        self._fresh: list[Place] = []
        self._free: deque[Place] = deque()
        self._slot_count = 0

    def begin(self) -> None:
        """Begin a model: who is asked for from now on is in it."""
        self._asked = {}
        self._fresh = []

    def commit(self) -> None:
        """Take the model: endpoints that it did not ask for are gone for good."""
        gone = self._places.keys() - self._asked.keys()
        self._free.extend(sorted(self._places[key] for key in gone))
        self._places = self._asked
        self.begin()

    def refuse(self) -> None:
        """Forget the model: what was in force stays."""
        self._free.extendleft(reversed(self._fresh))
        self.begin()

    def backend(self, path: str, port: int) -> int:
        """Return the number of a port of a Service."""
        return self._backends.setdefault(f"{path}:{port}", len(self._backends))

    def route(self, path: str) -> int:
        """Return the number of a route: its rules share it, and so the bucket of its limit."""
        return self._routes.setdefault(path, len(self._routes))

    def endpoint(self, backend: int, host: str, port: int) -> Place:
        """Return slot and generation of an endpoint."""
        key = (backend, host, port)
        place = self._asked.get(key)
        if place is None:
            place = self._places.get(key) or self._new()
            self._asked[key] = place
        return place

    def _new(self) -> Place:
        if self._free:
            slot, generation = self._free.popleft()
            place = (slot, generation + 1)
        else:
            place = (self._slot_count, 1)
            self._slot_count += 1
        self._fresh.append(place)
        return place
