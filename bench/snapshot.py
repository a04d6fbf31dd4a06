"""What a snapshot costs by the number of services: `python -m bench.snapshot [--save]`.

Times of the data plane are taken inside the compiled decisions (tests/probes), a million rounds at
a time; the time to build is that of the extension itself. The least of some runs counts.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from bench import record
from bench.table import Table
from proxy import _fastpath
from proxy.traffic.rows import (
    MAGLEV,
    PREFIX,
    RING,
    Backend,
    Direct,
    Endpoint,
    Front,
    Route,
    Rule,
    Share,
    Traffic,
)
from tests.probes import build

SIZES: Final = (1, 100, 1_000, 5_000)
ENDPOINTS: Final = 10
HOT: Final = 100  # services that one pod speaks with, however many there are
ROUNDS: Final = 1_000_000
RUNS: Final = 5
DECISIONS: Final = ("address", "name", "balance")
ENDINGS: Final = ("", ".shop", ".shop.svc", ".shop.svc.cluster.local")


def rows_of(services: int, balance: str = "ewma") -> Traffic:
    """Return so many services with a route and ten endpoints each, whose pods are known, too."""
    many = range(services)
    return Traffic(
        fronts=tuple(_front(n) for n in many),
        backends=tuple(Backend(n, f"shop/s{n}", 80, _endpoints(n), balance=balance) for n in many),
        rules=tuple(Rule(n, f"shop/r{n}", (Share(n),)) for n in many),
        directs=tuple(
            Direct(each.host, each.port, f"shop/s{n}", "detect", n)
            for n in many
            for each in _endpoints(n)
        ),
    )


def _front(n: int) -> Front:
    names = tuple((f"s{n}{ending}".encode(), 80) for ending in ENDINGS)
    address = (f"10.96.{n // 250}.{n % 250 + 1}", 80)
    route = Route(n, PREFIX, b"/api")
    return Front(f"shop/s{n}", "detect", (address,), names, n, n, (route,))


def _endpoints(n: int) -> tuple[Endpoint, ...]:
    slots = range(n * ENDPOINTS, (n + 1) * ENDPOINTS)
    return tuple(
        Endpoint(f"10.{slot // 62_500}.{slot // 250 % 250}.{slot % 250 + 1}", 8080, slot, 1)
        for slot in slots
    )


def snapshot_of(rows: Traffic) -> _fastpath.Snapshot:
    """Build what the workers read."""
    numbers: dict[str, int] = {}

    def number(name: str) -> int:
        return numbers.setdefault(name, len(numbers) + 2)

    settings = {name: lowest for name, (lowest, _) in _fastpath.SETTING_LIMITS.items()}
    return _fastpath.Snapshot(1, settings, [], traffic=(rows, number, number))


def least_s(what: Callable[[], object]) -> float:
    """Return the shortest of some runs."""
    found = []
    for _ in range(RUNS):
        gc.collect()
        begun = time.perf_counter()
        what()
        found.append(time.perf_counter() - begun)
    return min(found)


def resident_kib() -> int:
    """Return the memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def memory_kib(rows: Traffic) -> int:
    """Return what a snapshot adds to this process."""
    snapshots = [snapshot_of(rows)]  # the first one may find room that was free
    before = resident_kib()
    snapshots += [snapshot_of(rows) for _ in range(4)]
    return (resident_kib() - before) // 4


def nanoseconds(decisions: ModuleType, rows: Traffic) -> list[float]:
    """Return the times of finding an address, finding a name, and of a request's balancing."""
    policy, fleet = decisions.Policy(rows), decisions.Fleet(1)
    names = len(rows.fronts) * len(ENDINGS)
    fleet.spin(policy, HOT, ROUNDS)  # states are made
    spins = (
        lambda: policy.spin_addresses(HOT, ROUNDS),
        lambda: policy.spin_names(HOT, names, ROUNDS),
        lambda: fleet.spin(policy, HOT, ROUNDS),
    )
    return [least_s(spin) / ROUNDS * 1e9 for spin in spins]


def size(decisions: ModuleType, services: int) -> dict[str, float]:
    """Measure one number of services."""
    rows = rows_of(services)
    address, name, balance = nanoseconds(decisions, rows)
    return {
        "services": services,
        "endpoints": services * ENDPOINTS,
        "build_ms": least_s(lambda: snapshot_of(rows)) * 1000,
        "memory_kib": memory_kib(rows),
        "address_ns": address,
        "name_ns": name,
        "balance_ns": balance,
    }


def hashed(balance: str) -> dict[str, float]:
    """Measure what tables of a hash cost 100 services."""
    rows = rows_of(100, balance)
    return {
        "build_ms": least_s(lambda: snapshot_of(rows)) * 1000,
        "memory_kib": memory_kib(rows),
    }


def tables(sizes: Sequence[dict[str, float]], hashes: dict[str, dict[str, float]]) -> list[Table]:
    """Lay both out."""
    headers = ["services", "endpoints", "build ms", "memory KiB"]
    rows = [
        [
            *(f"{each['services']:,}", f"{each['endpoints']:,}", f"{each['build_ms']:.1f}"),
            f"{each['memory_kib']:,.0f}",
            *(f"{each[f'{name}_ns']:.0f}" for name in DECISIONS),
        ]
        for each in sizes
    ]
    of_hashes = [
        [name, f"{each['build_ms']:.1f}", f"{each['memory_kib']:,.0f}"]
        for name, each in hashes.items()
    ]
    return [
        Table("Snapshots", [*headers, *(f"{name} ns" for name in DECISIONS)], rows),
        Table("100 services with a hash", ["hash", "build ms", "memory KiB"], of_hashes),
    ]


def main() -> None:
    """Print both tables, and write them down."""
    parser = argparse.ArgumentParser("python -m bench.snapshot", description=__doc__)
    record.add_option(parser)
    chosen = parser.parse_args()
    note = "The least of some runs; see `bench/snapshot.py`."
    top = record.Top("Snapshots of Services", ["bench.snapshot", *sys.argv[1:]], note)
    decisions = build.loaded("decisions_release")
    sizes = [size(decisions, services) for services in SIZES]
    hashes = {balance: hashed(balance) for balance in (RING, MAGLEV)}
    made = tables(sizes, hashes)
    print("\n\n".join(each.text() for each in made))
    if chosen.save:
        files = record.files_of(top, made, {"sizes": sizes, "hashes": hashes})
        record.save(record.name_of("snapshot", chosen), files)


if __name__ == "__main__":
    main()
