"""remora beside its peers: `python -m bench [--quick] [--save]`; exit 69 if a peer is missing.

Without a family or workloads it measures everything: all three families (relay, HTTP, mutual TLS),
then the cross-check of the generator, the start of a pod (as root) and the shop, and draws it. It
says first how long that takes. By default each workload takes 30 s a peer in all, 5 rounds of 6;
open loops a minute. `--seconds 2 --rounds 3` takes 46 minutes; `--quick` is for a look.
"""

import argparse
import contextlib
import datetime as dt
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from bench import OUT, beside, calls, machine, meshes, network, record, report, smp, tables
from bench.build import BuildError, program
from bench.files import allow
from bench.identities import identities
from bench.measure import Bench
from bench.peer import PEERS, Peer, PeerMissingError
from bench.proof import prove_all
from bench.recorded import REPORTS
from bench.rounds import PROBES_MAX, Fault, Plan, minutes, run, say_on_stderr
from bench.running import Cores, RunError
from bench.summary import Results
from bench.verdicts import verdicts
from bench.workloads import FAMILIES, IDLE, MTLS, TCP, WORKLOADS, Workload

T = TypeVar("T")

DISTURBED_SHARE_MAX: Final = 0.1  # of the measurements
EXIT_FAILED: Final = 1
EXIT_UNAVAILABLE: Final = 69
EXIT_USAGE: Final = 64


class UsageError(Exception):
    """The command line asks for something that does not exist."""


def main(argv: Sequence[str]) -> int:
    """Measures, prints, writes."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        record.check(options, parser)
        plans = _plans(options)
        missing = _missing(plans[0].peers)
        if missing:
            here = ",".join(p.name for p in plans[0].peers if p.name not in missing)
            print("\n".join(missing.values()), file=sys.stderr)
            print(f"or leave them out: --peers {here}", file=sys.stderr)
            return EXIT_UNAVAILABLE
        if options.syscalls and not calls.is_there():
            print("strace is missing: apt-get install strace", file=sys.stderr)
            return EXIT_UNAVAILABLE
        others = meshes.given(options)
        if options.congestion:
            network.enter_own(options.congestion)
        failed = _run(plans, others, options, argv)
    except (UsageError, record.PartialError, meshes.PathError, network.NetworkError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except (BuildError, RunError) as error:
        print(f"\n{error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\nstopped; what was not finished is not written", file=sys.stderr)
        return 128 + signal.SIGINT
    return EXIT_FAILED if failed else 0


def _run(
    plans: Sequence[Plan],
    others: Sequence[meshes.Mesh],
    options: argparse.Namespace,
    argv: Sequence[str],
) -> bool:
    """Measure all that was asked for, and say at the end what was written; True if some failed."""
    parts = beside.parts(options) if _is_all(options) else []
    seconds = sum(plan.expected_seconds for plan in plans) + sum(part.seconds for part in parts)
    seconds += calls.SECONDS * sum(len(_counted(plan, options)) for plan in plans)
    say_on_stderr(f"this takes about {minutes(seconds)}")
    say_on_stderr("")
    paths: list[Path] = []
    failed = False
    for plan in plans:
        written, faults = _measure(plan, options, argv)
        paths += written
        failed |= bool(faults)
    if others:
        top = record.Top("Proxies of other meshes", ["bench", *argv])
        found = meshes.report_on(others, top)
        paths += _write("meshes", options, lambda _: found)
    for part in parts:
        say_on_stderr(f"{part.title}: about {minutes(part.seconds)}")
        written, went_well = beside.run(part)
        paths += written
        failed |= not went_well
    print("\n" + "\n".join(f"written: {os.path.relpath(path)}" for path in paths))
    return failed


def _counted(plan: Plan, options: argparse.Namespace) -> list[calls.Step]:
    """Tell whose system calls are counted: of whole families without being asked."""
    is_whole = not options.workloads and not options.quick and calls.is_there()
    return calls.steps(plan, every=options.syscalls) if options.syscalls or is_whole else []


def _is_all(options: argparse.Namespace) -> bool:
    return options.family is None and not options.workloads


def _write(
    stem: str, options: argparse.Namespace, files: Callable[[str], dict[str, str]]
) -> list[Path]:
    """Write a report by its time and, where it is for the record, by its fixed name.

    The record has pictures; a run of everything that is not for it has them, too.
    """
    name = f"{stem}-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}"
    if options.save:
        saved = record.name_of(stem, options)
        return [*report.write(OUT, name, files(name)), *record.save(saved, files(saved), REPORTS)]
    return (
        record.save(name, files(name), OUT)
        if _is_all(options)
        else report.write(OUT, name, files(name))
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ",".join(peer.name for peer in PEERS)
    works = ",".join(work.name for work in WORKLOADS)
    parser.add_argument("--quick", action="store_true", help="a quarter of an hour, wide spread")
    for family in FAMILIES:
        text = f"only: {family.title}"
        parser.add_argument(
            f"--{family.name}", dest="family", action="store_const", const=family, help=text
        )
    record.add_option(parser)
    parser.add_argument("--peers", default=names, help=f"default: {names}")
    parser.add_argument("--workloads", help=f"default: {works}")
    parser.add_argument("--rounds", type=int, help="default 5, quick 2")
    parser.add_argument(
        "--seconds", type=float, help="of one measurement; default 6, quick 0.5; open loops twice"
    )
    meshes.add_options(parser)
    parser.add_argument(
        "--syscalls",
        action="store_true",
        help="count the system calls of all that saturates, in runs of their own; a whole family"
        " counts those of its plain work anyway",
    )
    parser.add_argument(
        "--congestion",
        metavar="NAME",
        help="run in a network of its own with this TCP congestion control, as root",
    )
    parser.add_argument("--rate", type=float, default=0.0, help="of half loads, requests a second")
    return parser


def _plans(options: argparse.Namespace) -> list[Plan]:
    """One for each family that has a chosen workload."""
    works = {work.name: work for work in WORKLOADS if options.family in {None, work.family}}
    chosen = _chosen(options.workloads or ",".join(works), works)
    names = {work.name for work in chosen}
    for work in chosen:
        if work.half_of and work.half_of not in names and not options.rate:
            rate_of = f"the workload `{work.half_of}`: add it, or --rate N"
            raise UsageError(f"{work.name} takes its rate from {rate_of}")
    families = [[work for work in chosen if work.family == family] for family in FAMILIES]
    return [_plan(options, of_one) for of_one in families if of_one]


def _plan(options: argparse.Namespace, chosen: list[Workload]) -> Plan:
    peers = {peer.name: peer for peer in PEERS}
    rounds = options.rounds or (2 if options.quick else 5)
    return Plan(
        peers=_chosen(options.peers, peers),
        workloads=chosen,
        rounds=rounds,
        seconds=options.seconds or (0.5 if options.quick else 6.0),
        warmup_seconds=0.15 if options.quick else 0.3,
        idle_rounds=min(rounds, 1 if options.quick else 3),
        rate=options.rate,
    )


def _chosen(words: str, known: dict[str, T]) -> list[T]:
    wanted = [word for word in words.split(",") if word]
    wrong = [word for word in wanted if word not in known]
    if wrong or not wanted:
        unknown = ",".join(wrong) or "an empty list"
        raise UsageError(f"unknown: {unknown}; known: {','.join(known)}")
    return [value for name, value in known.items() if name in wanted]


def _missing(peers: Sequence[Peer]) -> dict[str, str]:
    missing = {}
    for peer in peers:
        try:
            peer.binary()
        except PeerMissingError as error:
            missing[peer.name] = str(error)
    return missing


def _measure(
    plan: Plan, options: argparse.Namespace, argv: Sequence[str]
) -> tuple[list[Path], list[Fault]]:
    """Run a family, print it and write it down; return what was written, and what failed."""
    for name in ("load", "upstream", *(["load-tls"] if plan.family == MTLS else [])):
        program(name)
    allowed = allow(IDLE.connections + PROBES_MAX)
    header = report.Header(
        plan.family.title,
        plan.family.note,
        dt.datetime.now(dt.UTC).date().isoformat(),
        shlex.join(["python", "-m", "bench", *argv]),
        machine.describe(),
        {p.name: p.version() for p in plan.peers if p.command and not p.variant_of},
    )
    with identities() if plan.family == MTLS else contextlib.nullcontext(Path()) as folder:
        bench = Bench(Cores.allowed(), allowed, folder)
        proofs = prove_all(bench, plan.peers, say_on_stderr) if plan.family == MTLS else []
        samples, faults = run(bench, plan, say_on_stderr)
        counted = calls.count_all(bench, plan, _counted(plan, options), say_on_stderr)
    say_on_stderr("")
    results = Results(samples)
    variants = {p.name: p.variant_of for p in PEERS if p.variant_of}
    budgets = verdicts(results, variants, plan.family)
    made = tables.all_tables(results, plan.workloads, budgets)
    if proofs:
        made.insert(0, tables.agreed(proofs))
    if plan.family != TCP:
        made.insert(0, tables.extras([p for p in plan.peers if not p.variant_of]))
    if counted:
        made.insert(-1, tables.system_calls(counted))
    if faults:
        made.insert(0, tables.failed(faults))
    print(report.text(header, made))
    if results.disturbed_share() > DISTURBED_SHARE_MAX:
        print("\nThis machine was busy with other things: not a run for the record.")

    def files(name: str) -> dict[str, str]:
        return {
            "md": report.markdown(header, made),
            "json": report.raw(header, results, budgets, counted, faults),
            "smp.json": smp.documents(header, results, plan.workloads, name),
        }

    return _write(plan.family.stem, options, files), faults


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
