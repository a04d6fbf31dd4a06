"""`python -m tests.fuzz --seconds 600 --target detect --seed 7`: fuzz longer than the tests do.

Everything runs under ASan and UBSan unless --plain is given. Exit code 1 means a finding: its input
is kept in build/fuzz, and --replay FILE runs it again. Without --target all of them run in turn.
"""
# ruff: noqa: T201 - a command prints what it found

import argparse
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.campaign import FINDINGS, Budget, LastInput, keep, run, work
from tests.fuzz.targets import TARGETS
from tests.probes.build import ROOT, has_asan

UNLIMITED: Final = 1 << 62


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, help="default: all but the canaries")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--inputs", type=int, default=UNLIMITED, help="for each target, at most")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="the same seed, the same run")
    parser.add_argument("--folder", type=Path, default=FINDINGS, help="where findings are kept")
    parser.add_argument("--plain", action="store_true", help="without the sanitizers")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="check one input")
    return parser.parse_args()


def sanitize() -> None:
    """Start again with ASan loaded."""
    runner = str(ROOT / ".ci" / "sanitized")
    arguments = [runner, str(FINDINGS / "reports"), sys.executable, "-m", "tests.fuzz"]
    os.execv(runner, [*arguments, *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def replay(name: str, path: Path) -> int:
    why = TARGETS[name].fault(path.read_bytes())
    print(why or "nothing wrong")
    return 1 if why else 0


def fuzz(options: argparse.Namespace) -> int:
    names = [name for name, target in TARGETS.items() if not target.is_canary]
    found = 0
    for name in [options.target] if options.target else names:
        budget = Budget(options.seconds, options.inputs)
        finding = run(name, options.seed, budget, options.folder)
        if finding:
            found = 1
            path = keep(name, finding, options.folder)
            print(f"{name}: seed {options.seed}: {finding.why}")
            print(f"    {finding.text[:200]!r}")
            print(f"    python -m tests.fuzz --target {name} --replay {path}")
    return found


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        name, seed, seconds, inputs, path = sys.argv[2:]
        return work(name, seed, Budget(float(seconds), int(inputs)), LastInput(Path(path)))
    options = parsed()
    if not options.plain and not has_asan():
        sanitize()
    if options.replay:
        return replay(options.target or "detect", options.replay)
    return fuzz(options)


if __name__ == "__main__":
    sys.exit(main())
