"""`remora check`: are the manifests of a directory good? The code of the proxy itself says it.

Checks of a cluster live in `inject.cluster`.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from proxy import values
from proxy.ctl_table import printable, table
from proxy.errors import EXIT_CHECK_USAGE, EXIT_FAULTS, EXIT_OK
from proxy.options import Group, Option, Reader, help_text
from proxy.policy.effective import Who, effective
from proxy.policy.options import LABELS, NAMESPACE, POD, ROOT_NAMESPACE
from proxy.policy.table import excess
from proxy.policy.table import table as rows_of
from proxy.sources.directory import ManifestDirectory
from proxy.sources.hints import hint
from proxy.sources.objects import Objects
from proxy.sources.strict import Fault, FaultsError
from proxy.traffic.model import traffic
from proxy.traffic.numbers import Numbers

USAGE: Final = """\
usage: remora check DIR [flags]
       remora check --pre | --cluster | --data-plane [flags]

Reads the manifests in DIR as `remora proxy --manifests DIR` does, without a cluster and without a
proxy, and prints what was found and everything that is wrong with it.

The second form looks at a cluster: `remora check --cluster --help` explains it."""

EPILOGUE: Final = """\
Examples:
  kubectl get service,endpointslice,httproute,pod -A -o yaml > manifests/cluster.yaml
  remora check manifests
  remora check manifests --pod shop/web-1
  remora check manifests -o json | jq -r '.faults[].sentence'

With --pod it looks with the eyes of that pod, too: which policies apply to it, its probes.

Exit codes: 0 all is good; 1 there are faults; 2 bad words here."""

OUTPUT: Final = Option(
    flag="-o",
    parse=values.choice("text", "json"),
    default="text",
    metavar="text|json",
    help="for people or for machines",
)
# What is said of a cluster, and not of a directory: see inject.cluster.
CLUSTER_FLAGS: Final = frozenset({"--pre", "--cluster", "--data-plane"})
GROUPS: Final = (Group("Flags", (POD, NAMESPACE, LABELS, ROOT_NAMESPACE, OUTPUT)),)

_BOLD, _RED, _GREEN, _DIM = "1", "31", "32", "2"


class Checked(NamedTuple):
    """What a check found. Notes are worth knowing and no faults."""

    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


Check = Callable[[Objects, Who], Checked]


class Report(NamedTuple):
    """All that there is to say about a directory."""

    directory: Path
    objects: Objects
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def main(arguments: Sequence[str]) -> int:
    """Check a directory, or a cluster where a flag asks for it; return the exit code."""
    if CLUSTER_FLAGS & {word.partition("=")[0] for word in arguments}:
        from inject.cluster.command import main as cluster_main  # noqa: PLC0415 - half of it

        return cluster_main(arguments)
    reader = Reader(GROUPS, arguments, {})
    if reader.wants_help:
        sys.stdout.write(help_text(USAGE, GROUPS, EPILOGUE))
        return EXIT_OK
    as_json = reader.one(OUTPUT) == "json"
    pod, namespace = reader.one(POD), reader.one(NAMESPACE)
    labels, root = reader.one(LABELS), reader.one(ROOT_NAMESPACE)
    name, *more = reader.words or [""]
    faults = [*reader.faults, *reader.stray_words(more)]
    if not name:
        faults.append("needs a directory (remora check DIR), or --pre, --cluster, --data-plane")
    elif not Path(name).is_dir():
        faults.append(f"{name!r} is no directory")
    if pod and not reader.is_default(NAMESPACE) and namespace != pod.namespace:
        faults.append(f"{NAMESPACE.flag}: {namespace!r} contradicts {POD.flag}")
    if faults:
        for fault in faults:
            sys.stderr.write(f"remora check: {fault}\n")
        return EXIT_CHECK_USAGE
    who = Who(
        pod.namespace if pod else namespace, pod.name if pod else "", labels, root_namespace=root
    )
    report = check(Path(name), who)
    page = _json(report) if as_json else _text(report, has_colours=_has_colours())
    sys.stdout.write(f"{page}\n")
    return EXIT_FAULTS if report.faults else EXIT_OK


def check(directory: Path, who: Who) -> Report:
    """Read a directory and look at it in every way."""
    objects, found = ManifestDirectory(directory).survey()
    faults, notes = dict.fromkeys(found), dict[str, None]()
    for look in CHECKS:
        checked = look(objects, who)
        faults |= dict.fromkeys(checked.faults)
        notes |= dict.fromkeys(checked.notes)
    told = [str(fault) for fault in faults]
    return Report(
        directory,
        objects,
        tuple(sorted(faults, key=lambda fault: (fault.file, fault.line))),
        # What is told as a fault is not told again.
        tuple(note for note in notes if not any(fault in note for fault in told)),
    )


# ---- what is looked at ---------------------------------------------------------------------------


def _objects(objects: Objects, _who: Who) -> Checked:
    """Every object by itself, those that do not apply to this pod, too."""
    lists = [each for each in objects if isinstance(each, tuple)]
    return Checked(
        tuple(fault for each in lists for thing in each for fault in getattr(thing, "faults", ()))
    )


def _policy(objects: Objects, who: Who) -> Checked:
    """What `remora proxy` would make of it: policies, modes, probes and the mesh."""
    try:
        found = effective(objects, who)
    except FaultsError as wrong:
        return Checked(wrong.faults)
    too_much = excess(rows_of(found.policies))
    faults = (Fault("", 0, "", "", too_much),) if too_much else ()
    return Checked(faults, found.notes)


def _traffic(objects: Objects, who: Who) -> Checked:
    """What `remora proxy` would make of it: services, endpoints and routes."""
    try:
        return Checked((), traffic(objects, who, Numbers())[1])
    except FaultsError as wrong:
        return Checked(wrong.faults)


# Whoever makes something of objects adds the check that it can.
CHECKS: Final[tuple[Check, ...]] = (_objects, _policy, _traffic)


# ---- what is printed ----------------------------------------------------------------------------


def _json(report: Report) -> str:
    page = {
        "directory": str(report.directory),
        "good": not report.faults,
        "objects": report.objects.counts(),
        "skipped": dict(report.objects.skipped),
        "faults": [
            {**fault._asdict(), "hint": hint(fault), "sentence": _sentence(report, fault)}
            for fault in report.faults
        ],
        "notes": list(report.notes),
    }
    return json.dumps(page, indent=2)


def _text(report: Report, *, has_colours: bool) -> str:
    def paint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if has_colours else text

    counts = {kind: count for kind, count in report.objects.counts().items() if count}
    parts = [
        "\n".join(_faults(report, paint)),
        _counts("FOUND", counts),
        _counts("SKIPPED", report.objects.skipped),
        "\n".join(["NOTES", *(f"  {printable(note)}" for note in report.notes)])
        if report.notes
        else "",
        _verdict(report, paint),
    ]
    return "\n\n".join(filter(None, parts))


def _faults(report: Report, paint: Callable[[str, str], str]) -> Iterator[str]:
    for fault in report.faults:
        place, colon, rest = printable(_sentence(report, fault)).partition(": ")
        yield paint(_BOLD, place) + colon + paint(_RED, rest)
        if todo := hint(fault):
            yield paint(_DIM, f"    hint: {todo}")


def _counts(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    return table((title, "COUNT"), [(printable(kind), str(n)) for kind, n in counts.items()])


def _verdict(report: Report, paint: Callable[[str, str], str]) -> str:
    count = len(report.faults)
    if count:
        text = f"{count} fault{'s' * (count > 1)}: a proxy that runs keeps what it had"
        return paint(_RED, text)
    if not any(report.objects.counts().values()):
        return f"no object in {report.directory} that remora reads (*.yaml, *.yml, *.json)"
    return paint(_GREEN, "no fault")


def _sentence(report: Report, fault: Fault) -> str:
    """Return a fault with a file that can be opened from here."""
    path = report.directory / fault.file
    return str(fault._replace(file=str(path)) if fault.file and path.is_file() else fault)


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
