"""What a pod waits for: `python -m bench.start [--rounds 15] [--services 100] [--save]`.

Each round makes a network namespace with both address families, runs the init step in it, and then
starts the proxy with interception, as injection does: bare, with an identity, and with the
manifests of some services besides. Time counts from the fork: of the init step to its end, of the
proxy to its log line `ready`. CPU is that of the process and all its children. Files are in the
page cache, as on a node that has run the image before. Needs root.
"""

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from bench import machine, manifests, proc, record
from bench.identities import SERVER, identities
from bench.running import READY, RunError, announced
from bench.table import Table
from bench.verdicts import INIT_MS_MAX, READY_MS_MAX

EXIT_UNAVAILABLE: Final = 69


class Start(NamedTuple):
    """One start: milliseconds, and bytes once it was ready."""

    wall_ms: float
    cpu_ms: float
    memory: proc.Memory = proc.Memory()


@contextmanager
def namespace(number: int) -> Iterator[list[str]]:
    """Yield the words that run a command in a network namespace of its own."""
    name = f"remora-start-{os.getpid()}-{number}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ["nsenter", f"--net=/run/netns/{name}", "--"]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def init_step(words: Sequence[str]) -> Start:
    """Run the init step to its end."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    wall_ms = (time.monotonic() - begun) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Start(wall_ms, used * 1000)


def proxy(words: Sequence[str]) -> Start:
    """Start a proxy, wait until it is ready, and end it."""
    begun = time.monotonic()
    with announced(words, READY) as pid:
        wall_ms = (time.monotonic() - begun) * 1000
        used, memory = proc.cpu(pid), proc.memory(pid)
    return Start(wall_ms, used.total_ns / 1e6, memory)


def table(title: str, starts: dict[str, list[Start]]) -> Table:
    """Lay the medians out, with the spread of the times."""
    rows = []
    for name, found in starts.items():
        walls = [each.wall_ms for each in found]
        at_most = INIT_MS_MAX if name.startswith("init") else READY_MS_MAX
        median = statistics.median(walls)
        rows.append(
            [
                name,
                f"{median:.0f}",
                f"{min(walls):.0f}..{max(walls):.0f}",
                f"{statistics.median(each.cpu_ms for each in found):.0f}",
                str(at_most),
                "met" if median <= at_most else "MISSED",
                *_megabytes([each.memory for each in found]),
            ]
        )
    headers = ["step", "ms", "spread", "CPU ms", "at most", "", "PSS MB", "RSS MB", "private MB"]
    return Table(title, headers, rows, words=frozenset({0, 5}))


def _megabytes(found: Sequence[proc.Memory]) -> list[str]:
    columns = zip(*((each.pss, each.rss, each.private) for each in found), strict=True)
    medians = [statistics.median(column) / 1e6 for column in columns]
    return [f"{each:.1f}" if each else "-" for each in medians]


def measured(command: Sequence[str], rounds: int, services: int) -> dict[str, list[Start]]:
    """Measure everything, in turns."""
    known = "proxy, identity"
    full = f"{known}, manifests of {services} services"
    starts: dict[str, list[Start]] = {"init step": [], "proxy": [], known: [], full: []}
    with TemporaryDirectory() as directory, identities() as issued:
        objects = Path(directory) / "manifests"
        manifests.write(objects, services, 8080)
        identity = ["--identity", str(issued / SERVER)]
        for number in range(rounds):
            sys.stderr.write(f"[{number + 1}/{rounds}]\n")
            with namespace(number) as inside:
                here = [*inside, *command]
                starts["init step"].append(init_step([*here, "init"]))
                control = ["--control", f"{directory}/control.sock"]
                starts["proxy"].append(proxy([*here, "proxy", *control]))
                told = [*here, "proxy", *control, *identity]
                starts[known].append(proxy(told))
                starts[full].append(proxy([*told, "--manifests", str(objects)]))
    return starts


def main() -> None:
    """Print the table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=15, help="default: 15")
    parser.add_argument("--services", type=int, default=100, help="default: 100")
    parser.add_argument(
        "--command", default=f"{sys.executable} -m proxy", help="another remora, say of an image"
    )
    record.add_option(parser)
    chosen = parser.parse_args()
    if os.getuid() != 0:
        sys.stderr.write("bench: network namespaces need root\n")
        sys.exit(EXIT_UNAVAILABLE)
    note = f"Medians of {chosen.rounds} rounds; see `bench/start.py`."
    top = record.Top("What a pod waits for", ["bench.start", *sys.argv[1:]], note)
    try:
        starts = measured(chosen.command.split(), chosen.rounds, chosen.services)
    except (RunError, subprocess.CalledProcessError) as fault:
        sys.exit(f"bench: {fault}")
    made = table("A pod starts", starts)
    sys.stdout.write(f"machine: {machine.line(top.machine)}\n\n{made.markdown()}\n")
    if chosen.save:
        record.save(record.name_of("start", chosen), record.files_of(top, [made], data(starts)))


def data(starts: dict[str, list[Start]]) -> dict[str, Any]:
    """Lay out every start for programs."""
    return {
        "steps": {
            name: [
                {"wall_ms": each.wall_ms, "cpu_ms": each.cpu_ms, **asdict(each.memory)}
                for each in found
            ]
            for name, found in starts.items()
        }
    }


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
