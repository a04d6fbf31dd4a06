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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from bench import machine, manifests, proc, record
from bench.identities import SERVER, identities
from bench.running import READY, RunError, announced
from bench.table import Table
from bench.verdicts import INIT_MS_MAX, READY_MS_MAX

EXIT_UNAVAILABLE: Final = 69

# How the names of mapped files begin, and what they are.
PARTS: Final = {
    proc.ANONYMOUS: "each one's own: objects of Python, heap, stacks, relocations",
    "libpython": "file: the interpreter",
    "_rust.": "file: cryptography, with its OpenSSL",
    "libcrypto": "file: OpenSSL's libcrypto of the system",
    "loop.": "file: uvloop",
    "_fastpath.": "file: remora's data plane",
}
OTHERS: Final = "files: all others"


class Start(NamedTuple):
    """One start: milliseconds, and bytes once it was ready."""

    wall_ms: float
    cpu_ms: float
    memory: proc.Memory = proc.Memory()
    mapped: Mapping[str, int] = MappingProxyType({})  # PSS by file; see proc.mapped


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
        used, memory, mapped = proc.cpu(pid), proc.memory(pid), proc.mapped(pid)
    return Start(wall_ms, used.total_ns / 1e6, memory, mapped)


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


def memory_table(starts: dict[str, list[Start]]) -> Table:
    """Say what the memory of the proxies is made of."""
    with_memory = {name: found for name, found in starts.items() if found[0].mapped}
    rows = []
    for part in [*PARTS.values(), OTHERS]:
        columns = [
            statistics.median(_of_part(part, each.mapped) for each in found) / 1e6
            for found in with_memory.values()
        ]
        rows.append([part, *(f"{each:.1f}" for each in columns)])
    note = (
        "PSS in MB, medians. Pages of files are there once for all sidecars of a node that run the"
        " same image, and here there is one; pages that were written to are told as each one's own"
    )
    return Table("What its memory is", ["", *with_memory], rows, [note])


def _of_part(part: str, mapped: Mapping[str, int]) -> int:
    return sum(size for name, size in mapped.items() if _part_of(name) == part)


def _part_of(name: str) -> str:
    begins = (part for start, part in PARTS.items() if start and name.startswith(start))
    return next(begins, OTHERS) if name else PARTS[proc.ANONYMOUS]


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
    made = [table("A pod starts", starts), memory_table(starts)]
    sys.stdout.write(f"machine: {machine.line(top.machine)}\n")
    sys.stdout.writelines(f"\n{each.markdown()}\n" for each in made)
    if chosen.save:
        record.save(record.name_of("start", chosen), record.files_of(top, made, data(starts)))


def data(starts: dict[str, list[Start]]) -> dict[str, Any]:
    """Lay out every start for programs."""
    return {
        "steps": {
            name: [
                {
                    "wall_ms": each.wall_ms,
                    "cpu_ms": each.cpu_ms,
                    **asdict(each.memory),
                    "mapped": dict(each.mapped),
                }
                for each in found
            ]
            for name, found in starts.items()
        }
    }


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
