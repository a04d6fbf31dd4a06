"""Where the worker's time goes: `python -m bench.flame [--workload http-64] [--seconds 5]`.

Builds the extension with frame pointers (build/profile), samples the worker under load with `perf`,
and leaves a flame graph in bench/out/. The tables say who ran itself, and which system calls a
request takes (strace, in a run of its own). Needs linux-perf and root, or perf_event_paranoid 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench import OUT, ROOT, calls
from bench.generator import Timing, generator
from bench.identities import identities
from bench.measure import Bench
from bench.peer import Peer
from bench.revisions import BUILD
from bench.running import Cores, RunError
from bench.stacks import Frame, shares, stacks, svg, tree
from bench.table import Table
from bench.tables import system_calls
from bench.trees import CONNECTIONS_MAX, placed, remora_of
from bench.workloads import WORKLOADS, Workload

FOLDER: Final = ROOT / "build" / "profile"
FLAGS: Final = "-O2 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls"
WORKER: Final = "remora-worker"
HERTZ: Final = 997  # no multiple of anything else
FUNCTIONS: Final = 20
EXIT_UNAVAILABLE: Final = 69
EXIT_USAGE: Final = 64


def built() -> Path:
    """Return a folder with remora and an extension that can be looked into."""
    sources = [*(ROOT / "proxy").glob("*.p[yx][xd]*"), *(ROOT / "proxy" / "fast").glob("*.pxd")]
    mark = FOLDER / ".built"
    if not mark.exists() or max(each.stat().st_mtime for each in sources) > mark.stat().st_mtime:
        sys.stderr.write("building with frame pointers...\n")
        words = [sys.executable, *BUILD, "build_ext", "--build-temp", f"{FOLDER}-work"]
        _run([*words, "--build-lib", str(FOLDER)], CFLAGS=FLAGS)
        mark.touch()
    _run([sys.executable, *BUILD, "build_py", "--build-lib", str(FOLDER)])
    return FOLDER


def _run(words: Sequence[str], **more: str) -> str:
    environment = {**os.environ, **more}
    done = subprocess.run(
        words, check=False, cwd=ROOT, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RunError(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def sampled(
    peer: Peer, workload: Workload, seconds: float, cores: Cores, issued: Path
) -> list[list[Frame]]:
    """Return the stacks of the workers under load."""
    timing = Timing(seconds, 0.5)
    with (
        TemporaryDirectory() as name,
        placed(peer, workload, cores, issued) as proxy,
        generator(proxy.port, workload, timing, cores.load, issued) as warm,
    ):
        data = str(Path(name) / "perf.data")
        pids = ",".join(map(str, proxy.pids))
        words = ["perf", "record", "-q", "-F", str(HERTZ), "-e", "cpu-clock", "-g", "-p", pids]
        with subprocess.Popen([*words, "-o", data], stderr=subprocess.PIPE, text=True) as perf:
            warm.measure()
            perf.terminate()
            perf.communicate()
        script = ["perf", "script", "-i", data, "-F", "comm,ip,sym,dso"]
        return list(stacks(_run(script).splitlines(), WORKER))


def tables(found: Sequence[Sequence[Frame]], title: str) -> list[Table]:
    """Lay out who ran: by kind, and by function."""
    kinds, functions = shares(found)
    total = sum(kinds.values())

    def percent(samples: int) -> str:
        return f"{100 * samples / total:.1f}"

    by_kind = [[kind, percent(count)] for kind, count in kinds.most_common()]
    by_name = [
        [frame.name, frame.kind, percent(count)]
        for frame, count in functions.most_common(FUNCTIONS)
    ]
    return [
        Table(f"{title}: {total} samples", ["what", "%"], by_kind),
        Table("By itself", ["function", "", "%"], by_name, words=frozenset({0, 1})),
    ]


def main() -> int:
    """Sample, draw, and print."""
    works = {work.name: work for work in WORKLOADS if not work.half_of and not work.idle}
    parser = argparse.ArgumentParser("python -m bench.flame", description=__doc__)
    parser.add_argument("--workload", default="http-64", help=f"of {', '.join(works)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="default: 5")
    chosen = parser.parse_args()
    if chosen.workload not in works:
        sys.stderr.write(f"unknown: {chosen.workload}; known: {', '.join(works)}\n")
        return EXIT_USAGE
    if shutil.which("perf") is None:
        sys.stderr.write("perf is missing: apt-get install linux-perf\n")
        return EXIT_UNAVAILABLE
    work = works[chosen.workload]
    try:
        peer, cores = remora_of(built()), Cores.allowed()
        with identities() as issued:
            found = sampled(peer, work, chosen.seconds, cores, issued)
            bench = Bench(cores, CONNECTIONS_MAX, issued)
            counted = [calls.count(bench, peer, work)] if calls.is_there() else []
    except RunError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    if not found:
        sys.stderr.write("perf saw nothing: may it sample? (kernel.perf_event_paranoid)\n")
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    picture = OUT / f"flame-{work.name}.svg"
    picture.write_text(svg(tree(found), f"{work.title}: the worker, {len(found)} samples"))
    for each in (*tables(found, work.title), system_calls(counted)):
        sys.stdout.write(each.text() + "\n\n")
    sys.stdout.write(f"written: {picture}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
