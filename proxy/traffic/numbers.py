"""Numbers for life: what workers learn about a backend or an endpoint outlives every snapshot.

A backend and a route keep their number for as long as the proxy runs: there are as many as there
were names. Endpoints come and go with every roll-out, so their slots are used again, each time as
another generation, and only when the endpoint is gone from the manifests: one that is not ready
keeps its slot.

And what was made with them is remembered: of 5,000 Services a change touches few.
"""

from collections import deque
from collections.abc import Iterable
from operator import is_
from typing import NamedTuple

from proxy.traffic.rows import Backend, Direct

Address = tuple[str, int]
Place = tuple[int, int]  # slot, generation
Places = dict[Address, Place]


class Made(NamedTuple):
    """A backend with the addresses behind it, and what it was made of."""

    objects: tuple[object, ...]  # the same ones give the same rows
    zone: str
    front: int
    backend: Backend
    directs: tuple[Direct, ...]

    def is_of(self, objects: tuple[object, ...], zone: str, front: int) -> bool:
        """Whether it would come out the same."""
        if (self.zone, self.front, len(self.objects)) != (zone, front, len(objects)):
            return False
        return all(map(is_, self.objects, objects))


class Numbers:
    """Gives out numbers. `commit` or `refuse` ends what `begin` began."""

    def __init__(self) -> None:
        self._backends: dict[str, int] = {}
        self._routes: dict[str, int] = {}
        self._places: dict[int, Places] = {}  # by backend
        self._asked: dict[int, Places] = {}
        self._made: dict[int, Made] = {}
        self._making: dict[int, Made] = {}
        self._fresh: list[Place] = []
        self._free: deque[Place] = deque()
        self._slot_count = 0

    def begin(self) -> None:
        """Begin a model: who is asked for from now on is in it."""
        self._asked, self._making, self._fresh = {}, {}, []

    def commit(self) -> None:
        """Take the model: endpoints that it did not ask for are gone for good."""
        gone: list[Place] = []
        for backend, places in self._places.items():
            now = self._asked.get(backend, {})
            if now is not places:
                gone += [place for address, place in places.items() if address not in now]
        self._free.extend(sorted(gone))
        self._places, self._made = self._asked, self._making
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

    def endpoints(self, backend: int, addresses: Iterable[Address]) -> Places:
        """Return slot and generation of all endpoints of a backend."""
        known = self._places.get(backend, {})
        places = {address: known.get(address) or self._new() for address in addresses}
        self._asked[backend] = places
        return places

    def known(self, backend: int) -> Made | None:
        """Return what was made for a backend, in the model that is in force."""
        return self._made.get(backend)

    def keep(self, backend: int, made: Made) -> None:
        """Remember what was made, now or before."""
        self._making[backend] = made
        if backend not in self._asked:
            self._asked[backend] = self._places[backend]

    def _new(self) -> Place:
        if self._free:
            slot, generation = self._free.popleft()
            place = (slot, generation + 1)
        else:
            place = (self._slot_count, 1)
            self._slot_count += 1
        self._fresh.append(place)
        return place
