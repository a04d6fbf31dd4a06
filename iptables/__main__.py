"""`remora init`, or `python -m iptables`: redirect this network namespace to the proxy."""

import os
import sys
from collections.abc import Iterable, Sequence

from iptables import actions, namespace, options
from iptables.exits import Exit, InitError
from iptables.options import BadArgumentsError, Options
from iptables.report import Report


def perform(chosen: Options) -> Report:
    """Do what was asked for. Raises InitError."""
    if chosen.netns:
        namespace.enter(chosen.netns)
    if chosen.validate:
        from iptables.validate import validate  # noqa: PLC0415 - a pod's start does not pay for it

        families = namespace.families(chosen.spec)
        return validate(chosen.spec, families, chosen.validate_timeout_s)
    if chosen.cleanup:
        return actions.cleanup(dry_run=chosen.dry_run)
    return actions.apply(chosen.spec, dry_run=chosen.dry_run)


def _written(report: Report, chosen: Options) -> str:
    if chosen.json:
        return report.as_json()
    return report.as_commands() if chosen.dry_run else report.as_text()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (see `exits`)."""
    try:
        chosen = options.parse(sys.argv[1:] if argv is None else argv, os.environ)
    except BadArgumentsError as error:
        _complain(error.lines)
        return Exit.USAGE
    except SystemExit:  # argparse, after --help
        return Exit.OK
    try:
        report = perform(chosen)
    except InitError as error:
        _complain(error.causes)
        if chosen.json:
            sys.stdout.write(
                Report("failed", error.code, notes=list(error.causes)).as_json() + "\n"
            )
        return error.code
    sys.stdout.write(_written(report, chosen) + "\n")
    return report.code


def _complain(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stderr.write(f"remora init: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
