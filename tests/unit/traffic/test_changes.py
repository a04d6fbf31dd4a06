"""Many changes in a row: the rows are those of the objects, and numbers stay who they are."""

import json
import random
from pathlib import Path

import pytest

from proxy.policy.effective import Who
from proxy.sources.directory import ManifestDirectory
from proxy.sources.strict import FaultsError
from proxy.traffic.model import traffic
from proxy.traffic.numbers import Numbers
from proxy.traffic.rows import Backend, Traffic
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

WHO = Who("shop", zone="a")
NAMES = ["a", "b", "c", "d", "e"]
CHANGES = 50


class World(random.Random):
    """A directory with a file for each Service, changed at random."""

    def files(self) -> dict[str, list[Object]]:
        names = self.sample(NAMES, self.randrange(2, 6))
        return {name: self.objects(name) for name in names}

    def objects(self, name: str) -> list[Object]:
        ip = f"10.96.0.{NAMES.index(name) + 1}"
        # Sometimes one that cannot be used: the whole change is refused.
        wrong = {"rate-limit": "much"} if self.random() < 0.05 else None
        kind = self.choice([ip, ip, ip, "None"])
        extra: Object = {"trafficDistribution": "PreferClose"} if self.random() < 0.5 else {}
        found = [service(name, kind, annotations=wrong, **extra)]
        pods = self.sample(range(1, 20), self.randrange(6))
        states = ["ready", "ready", "ready", "not", "ending"]
        each = [
            endpoint(f"10.0.{NAMES.index(name)}.{pod}", self.choice(states), zone=self.choice("ab"))
            for pod in pods
        ]
        found.append(endpoints(name, *each))
        if self.random() < 0.4:
            found.append(route(name, rule(to(self.choice(NAMES))), to=name))
        if self.random() < 0.3:
            simple = self.choice(["RANDOM", "ROUND_ROBIN"])
            found.append(destination_rule(name, name, {"loadBalancer": {"simple": simple}}))
        return found


def bare(rows: Traffic) -> Traffic:
    """Return rows without what tells one life from another."""
    backends = tuple(
        each._replace(
            number=0,
            endpoints=tuple(e._replace(slot=0, generation=0) for e in each.endpoints),
        )
        for each in rows.backends
    )
    fronts = tuple(each._replace(number=0) for each in rows.fronts)
    rules = tuple(each._replace(number=0) for each in rows.rules)
    return rows._replace(backends=backends, fronts=fronts, rules=rules)


def lives(backends: tuple[Backend, ...]) -> dict[tuple[str, int, str], tuple[int, int]]:
    return {
        (each.service, each.port, one.host): (one.slot, one.generation)
        for each in backends
        for one in each.endpoints
    }


@pytest.mark.parametrize("seed", range(4))
def test_a_long_life_gives_the_rows_of_a_new_one(tmp_path: Path, seed: int) -> None:
    world, numbers, directory = World(seed), Numbers(), ManifestDirectory(tmp_path)
    files: dict[str, list[Object]] = {}
    before: dict[tuple[str, int, str], tuple[int, int]] = {}
    taken: dict[tuple[int, int], tuple[str, int, str]] = {}
    refused = 0
    for _ in range(CHANGES):
        changed = world.files()
        files = {name: changed[name] for name in changed} | {
            name: files[name] for name in files if name in changed and world.random() < 0.7
        }
        for path in tmp_path.iterdir():
            if path.stem not in files:
                path.unlink()
        for name, objects in files.items():
            (tmp_path / f"{name}.json").write_text("\n---\n".join(map(json.dumps, objects)))
        try:
            rows, notes = traffic(directory.load(), WHO, numbers)
        except FaultsError:
            numbers.refuse()
            refused += 1
            continue
        numbers.commit()
        fresh, fresh_notes = traffic(ManifestDirectory(tmp_path).load(), WHO, Numbers())
        assert (bare(rows), notes) == (bare(fresh), fresh_notes)
        now = lives(rows.backends)
        for who in now.keys() & before.keys():
            assert now[who] == before[who]
        for who, life in now.items():
            assert taken.setdefault(life, who) == who, "a life of somebody else"
        before = now
    assert 0 < refused < CHANGES / 2
    assert max(slot for slot, _ in taken) < 2 * len(NAMES) * 20
