"""Whether many Services cost a request anything: `python -m bench.services [SECONDS]`.

Two proxies live side by side on the proxy core, one with a single Service and one with 5,000, and
are asked in turns, a short while each. What drifts on a machine meets both alike, so that the
median of the ratios tells percents apart where single runs differ by a third. Then the second one
is asked at a fixed rate, in turns with and without a change of the Service once a second.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

from bench.build import program
from bench.generator import Outcome, Timing, generator
from bench.histogram import merged
from bench.manifests import changing
from bench.peer import REMORA
from bench.proc import cpu
from bench.running import Cores, Place, Running, running, upstream
from bench.workloads import HTTP, HTTP_64

MANY: Final = 5_000
CONNECTIONS_MAX: Final = 500
SECONDS: Final = 60.0  # of each part
CLOSED_SECONDS: Final = 0.6
OPEN_SECONDS: Final = 2.5  # of which at least two changes are part
WARMUP_SECONDS: Final = 0.15
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


def compare_cpu(one: Running, many: Running, core: int, seconds: float) -> None:
    """Print what a request costs with one Service and with many."""

    def cost(proxy: Running) -> Callable[[int], float]:
        return lambda n: asked(proxy, core, Timing(CLOSED_SECONDS, WARMUP_SECONDS, seed=n))[0]

    pairs = list(in_turns(seconds, cost(one), cost(many)))
    low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    least = [min(column) for column in zip(*pairs, strict=True)]
    median = [statistics.median(column) for column in zip(*pairs, strict=True)]
    print(f"{len(pairs)} pairs; CPU us a request with 1 Service and with {MANY:,}:")
    print(f"  least {least[0]:.1f} and {least[1]:.1f}, median {median[0]:.1f} and {median[1]:.1f}")
    print(f"  ratio {middle:.3f}, half of the pairs between {low:.2f} and {high:.2f}")


def compare_latency(many: Running, port: int, core: int, seconds: float) -> None:
    """Print what changes do to the latency of requests."""
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
    for is_changed, title in ((False, "nothing changes"), (True, "a change a second")):
        latency = merged(each.latency for each in seen[is_changed])
        words = [f"p{p} {latency.percentile(p) / 1000:,.0f}" for p in (50, 90, 99)]
        print(f"  {title}: {', '.join(words)}")
    print(f"  p99: median of the ratios {statistics.median(b / a for a, b in pairs):.2f}")


def main() -> None:
    """Measure both."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
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
        compare_cpu(one, many, cores.load, seconds)
        compare_latency(many, port, cores.load, seconds)


if __name__ == "__main__":
    main()
