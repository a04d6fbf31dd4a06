"""Random configurations of one service and three more behind it, and what each of them allows.

Every rule writes the number of its configuration into the answer, so that an answer proves which
one decided. Whoever saw a number must see none below it afterwards: there is one worker, and it
never goes back.
"""

import json
import random
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Final, NamedTuple

from tests.support.http import Message
from tests.support.policy import Manifests
from tests.support.traffic import (
    Object,
    destination_rule,
    endpoint,
    endpoints,
    route,
    rule,
    service,
    to,
)

Address = tuple[str, int]

DOOR: Final = "web"
BEHIND: Final = ("a", "b", "c")
PATHS: Final = ("/one", "/two", "/three", "/four")
TAG: Final = "x-config"
# Ten seconds of configurations: no request takes as long.
_KEPT_MAX: Final = 1_000
_BALANCES: Final[Sequence[Object]] = (
    {"simple": "ROUND_ROBIN"},
    {"simple": "LEAST_REQUEST"},
    {"consistentHash": {"httpHeaderName": "x-user"}},
    {"consistentHash": {"httpHeaderName": "x-user", "maglev": {"tableSize": 101}}},
)
_NO_EXPRESSION: Final = {"path": {"type": "RegularExpression", "value": "/(a"}}
_BROKEN: Final[Sequence[str | tuple[Object, ...]]] = (
    "{",
    (service(DOOR, sessionAffinity="Sometimes"),),
    (service(DOOR, annotations={"rate-limit": "much"}),),
    (service(DOOR), service(DOOR)),
    (service(DOOR), route("web", rule(to("a"), matches=[{"path": {"type": "Prefix"}}]))),
    (service(DOOR), route("web", rule(to("a"), matches=[_NO_EXPRESSION]))),
)


class Told(NamedTuple):
    """What a configuration allows: by path, the endpoints that may answer; none: a 404."""

    answers: dict[str, frozenset[str]]


class Shuffle:
    """Writes configurations, good and broken ones, with numbers from 1; the first one is good."""

    def __init__(
        self, manifests: Manifests, places: dict[str, list[Address]], door_ip: str, seed: int
    ) -> None:
        self._manifests = manifests
        self._places = places  # by service: where its endpoints listen
        self._door_ip = door_ip
        self._dice = random.Random(seed)  # noqa: S311 - not a secret
        self.written = 0
        self.good = 0  # number of the last one that is not broken
        self.told: dict[int, Told] = {}

    @property
    def directory(self) -> str:
        return str(self._manifests.directory)

    def write(self, *, good: bool | None = None) -> None:
        """Write the next one: one of four is broken, unless it must be `good`."""
        number = self.written + 1
        if good or self._dice.random() < 0.75:
            text, told = self._configuration(number)
            self.told[number] = told  # before anybody can be answered by it
            self.good = number
            self.told.pop(number - _KEPT_MAX, None)
        else:
            broken = self._dice.choice(_BROKEN)
            text = broken if isinstance(broken, str) else written(*broken)
        self.written = number
        self._manifests.write_text(text)

    def _configuration(self, number: int) -> tuple[str, Told]:
        dice = self._dice
        up = {name: self._who_is_up(name) for name in BEHIND}
        answers: dict[str, frozenset[str]] = {path: frozenset() for path in PATHS}
        rules = []
        asked: set[str] = set()
        for path in dice.sample(PATHS, dice.randint(1, len(PATHS))):
            names = dice.sample(BEHIND, dice.randint(1, len(BEHIND)))
            weights = [dice.randint(0, 9) for _ in names]
            weights[0] += 1
            asked.update(names)
            backends = [
                to(name, weight=weight) for name, weight in zip(names, weights, strict=True)
            ]
            fields = self._match(path) | {"timeouts": {"request": f"{dice.randint(8, 30)}s"}}
            rules.append(rule(*backends, filters=[_tagging(number)], **fields))
            answers[path] = frozenset(
                each
                for name, weight in zip(names, weights, strict=True)
                for each in up[name]
                if weight
            )
        objects = [service(DOOR, self._door_ip), route("web", *rules)]
        for name in BEHIND:
            if name in asked or dice.random() < 0.5:  # else it is gone for a while
                objects += self._behind(name, up[name])
        return written(*objects), Told(answers)

    def _who_is_up(self, name: str) -> list[str]:
        every = [f"{name}{number}" for number in range(len(self._places[name]))]
        return self._dice.sample(every, self._dice.randint(1, len(every)))

    def _match(self, path: str) -> Object:
        kinds = {"PathPrefix": path, "RegularExpression": f"{path}/[0-9]+"}
        kind = self._dice.choice([*kinds])
        return {"matches": [{"path": {"type": kind, "value": kinds[kind]}}]}

    def _behind(self, name: str, up: Sequence[str]) -> Iterator[Object]:
        dice = self._dice
        timeout = {"timeout": f"{dice.randint(8, 30)}s"} if dice.random() < 0.5 else {}
        yield service(name, f"127.1.1.{1 + BEHIND.index(name)}", annotations=timeout)
        yield destination_rule(name, name, {"loadBalancer": dice.choice(_BALANCES)})
        for number, (host, port) in enumerate(self._places[name]):
            of = f"{name}{number}"
            state = "ready" if of in up else dice.choice(["not", "gone", ""])
            if state:  # else it is in no slice at all
                yield endpoints(name, endpoint(host, state), name=of, ports=(port,))


def written(*objects: Object) -> str:
    return "\n---\n".join(map(json.dumps, objects))


def _tagging(number: int) -> Object:
    change = {"set": [{"name": TAG, "value": str(number)}]}
    return {"type": "ResponseHeaderModifier", "responseHeaderModifier": change}


class Judge:
    """Holds every answer against the configurations that may have decided it."""

    def __init__(self, shuffle: Shuffle) -> None:
        self._shuffle = shuffle
        self._lock = Lock()
        self.newest = 0  # seen in an answer
        self.answered = 0
        self.missed = 0  # by intent: 404

    def check(self, path: str, oldest: int, answer: Message) -> None:
        """`oldest` is what was the newest when the request was sent."""
        tag = answer.get(TAG.encode())
        with self._lock:
            if tag is None:
                self._check_none(path, oldest, answer)
                self.missed += 1
                return
            number = int(tag)
            assert oldest <= number <= self._shuffle.good, f"{number} decided after {oldest}"
            assert answer.status == 200, answer
            allowed = self._shuffle.told[number].answers[path]
            assert answer.body.decode() in allowed, f"{path} in {number}: {answer.body!r}"
            self.newest = max(self.newest, number)
            self.answered += 1

    def _check_none(self, path: str, oldest: int, answer: Message) -> None:
        assert answer.status == 404, answer
        known = self._shuffle.told.copy()  # at once: the thread that writes goes on adding
        recent = [told for number, told in known.items() if number >= oldest]
        assert any(not told.answers[path] for told in recent), f"404 for {path} since {oldest}"
