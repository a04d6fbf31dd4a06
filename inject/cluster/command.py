"""`remora check --pre`, `--cluster` and `--data-plane`."""

import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from inject.cluster import before, installed, live
from inject.cluster.kubectl import Kubectl, KubectlError
from inject.cluster.report import Report, as_json, as_text, report
from inject.cluster.snapshot import Mode, Query, Snapshot, Wanted
from inject.settings import IMAGE
from proxy import values
from proxy.ctl_table import printable
from proxy.errors import EXIT_CHECK_USAGE, EXIT_FAULTS, EXIT_OK, EXIT_UNAVAILABLE
from proxy.options import Group, Option, Reader, help_text

USAGE: Final = """\
usage: remora check --pre | --cluster | --data-plane [flags]

Looks at a cluster through kubectl: what is in the way of an installation (--pre), whether the
installation does its work (--cluster), and whether pods that should have a sidecar have one that
works (--data-plane). Nothing is changed: pods are tried with the API server's dry run."""

EPILOGUE: Final = """\
Examples:
  remora check --pre
  remora check --pre --needs cert-manager,pod-monitor
  remora check --cluster --wait 2m
  remora check --data-plane -n shop
  remora check --cluster --data-plane -o json | jq -r '.checks[] | select(.state == "failure")'

Every check is explained in docs/check.md.

Exit codes: 0 no failure, there may be warnings; 1 there are failures; 2 bad words here; 69 kubectl
is not there, or the cluster cannot be reached."""


def _needs(text: str) -> frozenset[str]:
    known = before.DEFINITIONS
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise ValueError(f"has {word!r}, which is none of {', '.join(known)}")
    return frozenset(words)


def _name(text: str) -> str:
    return text


def _switch(flag: str, text: str) -> Option[bool]:
    return Option(flag=flag, parse=values.switch, default="false", help=text)


PRE: Final = _switch("--pre", "before an installation: what is in its way?")
CLUSTER: Final = _switch("--cluster", "the installation: does it do its work?")
DATA_PLANE: Final = _switch("--data-plane", "the pods: do they have a sidecar that works?")
NAMESPACE: Final = Option(
    flag="-n",
    parse=_name,
    default="",
    metavar="NAME",
    help="namespace of the pods, and where pods are tried; without\nit all, and default",
)
SYSTEM: Final = Option(
    flag="--system-namespace",
    parse=_name,
    default=Wanted().system,
    metavar="NAME",
    help="where remora is installed",
)
NEEDS: Final = Option(
    flag="--needs",
    parse=_needs,
    default="",
    metavar="NAME[,..]",
    help=f"what must be there beside remora: {', '.join(before.DEFINITIONS)}",
)
WAIT: Final = Option(
    flag="--wait",
    parse=values.duration_between("0", "1h"),
    default="0",
    metavar="TIME",
    help="look again and again until nothing fails, so long",
)
OUTPUT: Final = Option(
    flag="-o",
    parse=values.choice("text", "json"),
    default="text",
    metavar="text|json",
    help="for people or for machines",
)
CONTEXT: Final = Option(
    flag="--context", parse=_name, default="", metavar="NAME", help="of the kubeconfig"
)
KUBECONFIG: Final = Option(
    flag="--kubeconfig", parse=_name, default="", metavar="FILE", help="handed to kubectl"
)
MODES: Final = {PRE.flag: before.MODE, CLUSTER.flag: installed.MODE, DATA_PLANE.flag: live.MODE}
GROUPS: Final = (
    Group("What to look at", (PRE, CLUSTER, DATA_PLANE)),
    Group("Flags", (NAMESPACE, SYSTEM, NEEDS, IMAGE, WAIT, OUTPUT, CONTEXT, KUBECONFIG)),
)

POLL_S: Final = 2.0
_VERSION: Final = Query("version", ("version", "-o", "json"))


def main(arguments: Sequence[str]) -> int:
    """Check a cluster; return the exit code."""
    reader = Reader(GROUPS, arguments, {})
    if reader.wants_help:
        sys.stdout.write(help_text(USAGE, GROUPS, EPILOGUE))
        return EXIT_OK
    modes = [MODES[each.flag] for each in (PRE, CLUSTER, DATA_PLANE) if reader.one(each)]
    wanted = Wanted(
        system=reader.one(SYSTEM),
        namespace=reader.one(NAMESPACE),
        needs=reader.one(NEEDS),
        image=reader.one(IMAGE),
    )
    is_json, wait_s = reader.one(OUTPUT) == "json", reader.one(WAIT) / 1000
    flags = [
        word
        for option in (CONTEXT, KUBECONFIG)
        if (text := reader.one(option))
        for word in (option.flag, text)
    ]
    faults = [*reader.faults, *reader.stray_words(reader.words)]
    if faults:
        for fault in faults:
            _say(fault)
        return EXIT_CHECK_USAGE
    try:
        found = _looked(modes, wanted, Kubectl(flags), time.monotonic() + wait_s)
    except KubectlError as fault:
        _say(str(fault))
        _say(f"hint: {fault.hint}")
        return EXIT_UNAVAILABLE
    page = as_json(found) if is_json else as_text(found, has_colours=_has_colours())
    sys.stdout.write(f"{page}\n")
    return EXIT_OK if found.is_good else EXIT_FAULTS


def _looked(modes: Sequence[Mode], wanted: Wanted, kubectl: Kubectl, deadline: float) -> Report:
    """Look until nothing fails, or time is up; what is said on the way goes to stderr."""
    told = ""
    while True:
        last = time.monotonic() >= deadline
        try:
            found = look(modes, wanted, kubectl)
            if last or found.is_good:
                return found
            waiting = ", ".join(found.failures)
        except KubectlError as fault:
            if last:
                raise
            waiting = str(fault)
        if waiting != told:
            _say(f"waiting: {waiting}")
            told = waiting
        time.sleep(max(0.0, min(POLL_S, deadline - time.monotonic())))


def look(modes: Sequence[Mode], wanted: Wanted, kubectl: Kubectl) -> Report:
    """Fetch what some modes need, once, and run their checks. Raises KubectlError."""
    queries = {each.key: each for mode in modes for each in mode.queries(wanted)}
    answers = kubectl.ask_all([_VERSION, *queries.values()])
    return report(modes, Snapshot(answers, datetime.now(UTC), wanted))


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _say(text: str) -> None:
    sys.stderr.write(f"remora check: {printable(text)}\n")
