"""Whether many Services cost a request anything: `python -m bench.services [SECONDS] [--save]`.

Two proxies live side by side on the proxy core, one with a single Service and one with 5,000, and
are asked in turns, a short while each. What drifts on a machine meets both alike, so that the
median of the ratios tells percents apart where single runs differ by a third. Then the second one
is asked at a fixed rate, in turns with and without a change of the Service once a second.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

from bench import record
from bench.build import program
from bench.generator import Outcome, Timing, generator
from bench.histogram import Buckets, Histogram, merged
from bench.manifests import changing
from bench.peer import REMORA
from bench.proc import cpu
from bench.running import Cores, Place, Running, running, upstream
from bench.table import Table
from bench.workloads import HTTP, HTTP_64

MANY: Final = 5_000
CONNECTIONS_MAX: Final = 500
SECONDS: Final = 60.0  # of each part
CLOSED_SECONDS: Final = 0.6
OPEN_SECONDS: Final = 2.5  # of which at least two changes are part
WARMUP_SECONDS: Final = 0.15
QUIET: Final = "nothing changes"
CHANGING: Final = "a change a second"
RATE: Final = 3_000.0  # requests a second, less than half of what the core can


def asked(proxy: Running, core: int, timing: Timing) -> tuple[float, Outcome]:
    """Return CPU us a request, and what the generator saw."""
    with generator(proxy.port, HTTP_64, timing, core) as warm:
        before = cpu(*proxy.pids)
        outcome = warm.measure()
        used = (cpu(*proxy.pids) - before).total_ns
    return used / 1000 / outcome.requests, outcome


def in_turns(
    seconds: float, first: Callable[[int], float], second: Callable[[int], float]
) -> Iterator[tuple[float, float]]:
    """Yield pairs of figures; each pair begins with the other one."""
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        number += 1
        if number % 2:
            one = first(number)
            yield one, second(number)
        else:
            other = second(number)
            yield first(number), other


def compare_cpu(
    one: Running, many: Running, core: int, seconds: float
) -> list[tuple[float, float]]:
    """Print and return what a request costs with one Service and with many."""

    def cost(proxy: Running) -> Callable[[int], float]:
        return lambda n: asked(proxy, core, Timing(CLOSED_SECONDS, WARMUP_SECONDS, seed=n))[0]

    pairs = list(in_turns(seconds, cost(one), cost(many)))
    low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    least = [min(column) for column in zip(*pairs, strict=True)]
    median = [statistics.median(column) for column in zip(*pairs, strict=True)]
    print(f"{len(pairs)} pairs; CPU us a request with 1 Service and with {MANY:,}:")
    print(f"  least {least[0]:.1f} and {least[1]:.1f}, median {median[0]:.1f} and {median[1]:.1f}")
    print(f"  ratio {middle:.3f}, half of the pairs between {low:.2f} and {high:.2f}")
    return pairs


def compare_latency(
    many: Running, port: int, core: int, seconds: float
) -> tuple[list[tuple[float, float]], dict[str, Buckets]]:
    """Print and return what changes do to the latency of requests."""
    seen: dict[bool, list[Outcome]] = {False: [], True: []}

    def p99(*, is_changed: bool) -> Callable[[int], float]:
        def work(number: int) -> float:
            timing = Timing(OPEN_SECONDS, WARMUP_SECONDS, RATE, seed=number)
            with changing(many.manifests if is_changed else None, port):
                outcome = asked(many, core, timing)[1]
            seen[is_changed].append(outcome)
            return outcome.latency.percentile(99)

        return work

    pairs = list(in_turns(seconds, p99(is_changed=False), p99(is_changed=True)))
    print(f"{len(pairs)} pairs; {RATE:,.0f} requests a second, {MANY:,} Services, us:")
    together: dict[str, Buckets] = {}
    for is_changed, title in ((False, QUIET), (True, CHANGING)):
        latency = merged(each.latency for each in seen[is_changed])
        together[title] = latency.buckets
        words = [f"p{p} {latency.percentile(p) / 1000:,.0f}" for p in (50, 90, 99)]
        print(f"  {title}: {', '.join(words)}")
    print(f"  p99: median of the ratios {statistics.median(b / a for a, b in pairs):.2f}")
    return pairs, together


def tables(data: dict[str, Any]) -> list[Table]:
    """Lay both out."""
    cpu_pairs, p99_pairs = data["cpu_us_pairs"], data["p99_ns_pairs"]
    rows = []
    for name, pairs in (("CPU a request", cpu_pairs), ("p99", p99_pairs)):
        ratios = [b / a for a, b in pairs]
        # Of a single pair there are no quarters.
        low, middle, high = statistics.quantiles(ratios * (1 + (len(ratios) == 1)), n=4)
        rows.append([name, str(len(pairs)), f"{middle:.3f}", f"{low:.2f}..{high:.2f}"])
    headers = ["", "pairs", "median of the ratios", "half of them between"]
    notes = [
        f"CPU a request: with {MANY:,} Services against one, closed loop",
        f"p99: with a change a second against none, {RATE:,.0f} requests a second",
    ]
    percents = (50, 90, 99, 99.9)
    waits = [
        [title, *(f"{Histogram(found).percentile(p) / 1000:,.0f}" for p in percents)]
        for title, found in data["latency_ns"].items()
    ]
    return [
        Table("In turns", headers, rows, notes),
        Table(f"Latency with {MANY:,} Services", ["", *(f"p{p} us" for p in percents)], waits),
    ]


def main() -> None:
    """Measure both, and write them down."""
    parser = argparse.ArgumentParser("python -m bench.services", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=SECONDS, help="of each part")
    record.add_option(parser)
    chosen = parser.parse_args()
    top = record.Top("One Service and 5,000, in turns", ["bench.services", *sys.argv[1:]])
    cores = Cores.allowed()
    program("load")
    with ExitStack() as stack:
        port, _ = stack.enter_context(upstream(cores.load, HTTP))
        one, many = (
            stack.enter_context(
                running(REMORA, Place(port, CONNECTIONS_MAX, cores.proxy, HTTP, manifests=services))
            )
            for services in (1, MANY)
        )
        cpu_pairs = compare_cpu(one, many, cores.load, chosen.seconds)
        p99_pairs, latency = compare_latency(many, port, cores.load, chosen.seconds)
    if chosen.save:
        data = {"cpu_us_pairs": cpu_pairs, "p99_ns_pairs": p99_pairs, "latency_ns": latency}
        record.save(record.name_of("services", chosen), record.files_of(top, tables(data), data))


if __name__ == "__main__":
    main()
