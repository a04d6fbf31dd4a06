"""The generator against others: `python -m bench.check [--quick] [--peers NAMES] [--save]`.

All figures come from a load generator of our own (bench/c/load.c). Here the same proxies get the
same request from programs that are not ours: wrk as fast as it goes, and vegeta at a constant rate,
which sends when a request is due, whether or not earlier ones were answered. CPU is read from the
proxy in the same way each time, so what a generator says of itself matters for rates and latencies
only. Ratios between proxies must not depend on who asks.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import BENCH, machine, record
from bench.asking import item_request
from bench.build import BuildError, vegeta
from bench.files import allow
from bench.generator import Timing
from bench.measure import Bench, measure, settle
from bench.peer import PEERS, Peer, PeerMissingError
from bench.proc import cpu
from bench.rounds import PROBES_MAX, rotated, say_on_stderr
from bench.running import Cores, RunError, deployed, pinned, upstream
from bench.table import Table
from bench.workloads import HTTP_64

HEAD_BYTES: Final = 416  # the middle of what requests of the HTTP workloads have
WORK: Final = replace(HTTP_64, head=str(HEAD_BYTES))
WORKERS_MAX: Final = 2000  # of vegeta: requests that are due and wait for one of the connections
WARM_SECONDS: Final = 0.5
SHARE: Final = 0.25  # of what the slowest proxy does: vegeta and the upstream share a core
YARDSTICK: Final = "haproxy"
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69
US: Final = 1000  # ns


@dataclass(frozen=True)
class Seen:
    """One run: the proxy's CPU by us, the rest by the generator. Microseconds."""

    cpu_us: float
    rate: float
    p50: float
    p99: float


Runs = dict[tuple[str, str], list[Seen]]  # by generator and peer


class Comparison(NamedTuple):
    """Our generator and another one, at the same work."""

    title: str
    other: str
    runs: Runs


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser("python -m bench.check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a second")
    parser.add_argument("--peers", help="default: all that are tuned for nothing")
    parser.add_argument("--rounds", type=int, help="default 3, quick 1")
    parser.add_argument("--seconds", type=int, help="of one run; default 5, quick 1")
    parser.add_argument(
        "--download", action="store_true", help="let Go fetch the sources of vegeta, once"
    )
    record.add_option(parser)
    chosen = parser.parse_args()
    names = chosen.peers.split(",") if chosen.peers else [peer.name for peer in PEERS]
    peers = [p for p in PEERS if p.name in names and p.command and not p.variant_of]
    if not peers:
        sys.stderr.write("none of these peers is a proxy\n")
        return EXIT_USAGE
    if shutil.which("wrk") is None:
        sys.stderr.write("wrk is missing: apt-get install wrk\n")
        return EXIT_UNAVAILABLE
    try:
        for peer in peers:
            peer.binary()
        attacker: Path | None = vegeta(downloads=chosen.download)
    except PeerMissingError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_UNAVAILABLE
    except BuildError as error:
        sys.stderr.write(f"{error}: without a constant rate\n")
        attacker = None
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    seconds = chosen.seconds or (1 if chosen.quick else 5)
    top = record.Top("The generator against others", ["bench.check", *sys.argv[1:]])
    try:
        found = compared(peers, rounds, seconds, attacker)
    except RunError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED
    tables = [_table(peers, each) for each in found]
    print(f"machine: {machine.line(top.machine)}\n")
    print("\n\n".join(table.markdown() for table in tables))
    if chosen.save:
        record.save(record.name_of("check", chosen), record.files_of(top, tables, data(found)))
    return 0


def data(found: Sequence[Comparison]) -> dict[str, Any]:
    """Lay out every run for programs."""
    return {
        "comparisons": [
            {
                "title": title,
                "runs": [
                    {"generator": generator, "peer": peer, **asdict(seen)}
                    for (generator, peer), each in runs.items()
                    for seen in each
                ],
            }
            for title, _, runs in found
        ]
    }


def compared(
    peers: Sequence[Peer], rounds: int, seconds: int, attacker: Path | None
) -> list[Comparison]:
    """Run all generators against all peers, in turns."""
    bench = Bench(Cores.allowed(), allow(WORK.connections + PROBES_MAX))
    full: dict[str, Callable[[Peer], Seen]] = {
        "load.c": lambda peer: _ours(bench, peer, seconds, 0.0),
        "wrk": lambda peer: _theirs(bench, peer, seconds, _wrk),
    }
    runs = _in_turns(peers, rounds, full)
    found = [Comparison("As fast as it goes", "wrk", runs)]
    if attacker:
        slowest = min(statistics.median(s.rate for s in runs["load.c", p.name]) for p in peers)
        rate = round(slowest * SHARE)
        paced: dict[str, Callable[[Peer], Seen]] = {
            "load.c": lambda peer: _ours(bench, peer, seconds, rate),
            "vegeta": lambda peer: _theirs(
                bench, peer, seconds, lambda port, s: _vegeta(attacker, port, s, rate)
            ),
        }
        title = f"At {rate:,} requests a second"
        found.append(Comparison(title, "vegeta", _in_turns(peers, rounds, paced)))
    return found


def _in_turns(
    peers: Sequence[Peer], rounds: int, generators: dict[str, Callable[[Peer], Seen]]
) -> Runs:
    runs: Runs = {}
    for number in range(rounds):
        for peer in rotated(peers, number):
            names = list(generators) if number % 2 == 0 else list(reversed(generators))
            for name in names:
                say_on_stderr(f"round {number + 1} of {rounds}: {peer.name}, {name}")
                runs.setdefault((name, peer.name), []).append(generators[name](peer))
    return runs


def _table(peers: Sequence[Peer], compared: Comparison) -> Table:
    title, other, runs = compared

    def of(generator: str, peer: str, name: str) -> float:
        return statistics.median(float(getattr(seen, name)) for seen in runs[generator, peer])

    names = [peer.name for peer in peers]
    both = ("load.c", other)
    rows = []
    for name in names:
        cells = [f"{of(by, name, 'cpu_us'):.1f}" for by in both]
        for by in both:
            base = of(by, YARDSTICK, "cpu_us") if YARDSTICK in names else 0.0
            cells.append(f"{of(by, name, 'cpu_us') / base:.2f}" if base else "-")
        for figure in ("rate", "p50", "p99"):
            cells += [f"{of(by, name, figure):,.0f}" for by in both]
        rows.append([name, *cells])
    headers = ["peer"]
    for what in ("CPU us/request", f"x {YARDSTICK}", "request/s", "p50 us", "p99 us"):
        headers += [f"{what}: {both[0]}", both[1]]
    notes = [f"medians of {len(runs[other, names[0]])} rounds, {WORK.connections} connections"]
    return Table(title, headers, rows, notes)


def _ours(bench: Bench, peer: Peer, seconds: int, rate: float) -> Seen:
    sample = measure(bench, peer, WORK, Timing(seconds, WARM_SECONDS, rate, seed=1))
    used = sample.proxy.total_ns / sample.requests / US
    p50, p99 = (sample.latency.percentile(percent) / US for percent in (50, 99))
    return Seen(used, sample.rate, p50, p99)


def _theirs(
    bench: Bench,
    peer: Peer,
    seconds: int,
    run: Callable[[int, float], tuple[dict[str, Any], Seen]],
) -> Seen:
    """Run another generator where ours would be; the proxy's CPU as in measure.measure()."""
    load = bench.cores.load
    with (
        upstream(load, WORK.family) as (port, _),
        deployed(peer, WORK, bench.place(port, WORK)) as proxy,
        pinned(load),
    ):
        run(proxy.port, WARM_SECONDS)
        settle(proxy.pids)
        before = cpu(*proxy.pids)
        said, seen = run(proxy.port, seconds)
        settle(proxy.pids)
        used = (cpu(*proxy.pids) - before).total_ns
    if said["errors"]:
        raise RunError(f"{peer.name}: {said}")
    return replace(seen, cpu_us=used / said["requests"] / US)


def _fields() -> list[str]:
    """Fields of one request as ours are, with a head of HEAD_BYTES."""
    text = item_request(1024).decode()
    fields = text.strip().split("\r\n")[1:]
    padding = HEAD_BYTES - len(text) - len("X-Padding: \r\n")
    return [*fields, f"X-Padding: {'x' * padding}"]


def _url(port: int) -> str:
    path = item_request(1024).decode().split(" ")[1]
    return f"http://127.0.0.1:{port}{path}"


def _wrk(port: int, seconds: float) -> tuple[dict[str, Any], Seen]:
    words = ["wrk", "-t1", f"-c{WORK.connections}", f"-d{max(1, round(seconds))}s"]
    for field in _fields():
        words += ["-H", field]
    said: dict[str, Any] = json.loads(
        _run([*words, "-s", str(BENCH / "wrk.lua"), _url(port)]).splitlines()[-1]
    )
    return said, Seen(0.0, said["requests"] / said["seconds"], said["p50"], said["p99"])


def _vegeta(binary: Path, port: int, seconds: float, rate: float) -> tuple[dict[str, Any], Seen]:
    with tempfile.TemporaryDirectory(prefix="remora-bench-") as name:
        targets, results = Path(name) / "targets", Path(name) / "results"
        targets.write_text("\n".join([f"GET {_url(port)}", *_fields(), ""]))
        words = [str(binary), "attack", f"-targets={targets}", f"-output={results}"]
        words += [f"-rate={rate:.0f}/s", f"-duration={seconds}s"]
        words += [f"-connections={WORK.connections}", f"-max-connections={WORK.connections}"]
        words += [f"-workers={WORK.connections}", f"-max-workers={WORKERS_MAX}"]
        _run(words)
        report = json.loads(_run([str(binary), "report", "-type=json", str(results)]))
    latencies = report["latencies"]
    errors = report["requests"] - report["status_codes"].get("200", 0)
    said = {"requests": report["requests"], "errors": errors, "said": report["errors"]}
    p50, p99 = (latencies[key] / US for key in ("50th", "99th"))
    return said, Seen(0.0, report["throughput"], p50, p99)


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{words[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
