"""`python -m deploy.demo`: real connections through two real sidecars, and what came of them.

It is a smoke test as well: whatever it claims it has checked, and it exits with 1 otherwise.
"""

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn

from deploy.demo import acts, loopback, mesh
from deploy.demo.account import account
from deploy.demo.drain import drain
from deploy.demo.identities import mutual_tls
from deploy.demo.pods import may_make_namespaces
from deploy.demo.programs import ENVIRONMENT
from deploy.demo.service import sick_endpoint
from deploy.demo.stage import Stage
from deploy.demo.story import DemoError, Story

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE: a program that the demo needs is missing
EXIT_SIGNALLED: Final = 128  # plus the signal's number, as shells count

# Programs, and the Debian packages that bring them.
_NEEDED: Final = {
    "curl": "curl",
    "dropbear": "dropbear-bin",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "setpriv": "util-linux",
    "ss": "iproute2",
    "ssh-keyscan": "openssh-client",
}

_LOG_LINES: Final = 30

_EPILOGUE: Final = """\
As root: two network namespaces, redirection by real rules, IPv4 and IPv6. Without root: the same
sidecars and servers on explicit listeners of the loopback address. Takes some 10 seconds.

exit codes: 0 all that it claims is so; 1 something is not; 69 a program is missing;
130 or 143 interrupted. Nothing is left behind; what kill -9 leaves, the next run removes.
"""


class _InterruptedError(Exception):
    """A signal asks for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise _InterruptedError(number)


def _on_signals(handler: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)  # type: ignore[arg-type] # SIG_IGN and functions alike


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make demo, or python -m deploy.demo",
        description="Show real connections going through two real sidecars.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave all of it running until Ctrl-C, with commands to try (make demo ARGS=--keep)",
    )
    parser.add_argument(
        "--no-root",
        action="store_true",
        help="as root too, do what is done without root",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = _parse(argv)
    story = Story()
    missing = {p for name, p in _NEEDED.items() if not shutil.which(name, path=ENVIRONMENT["PATH"])}
    if missing:
        packages = " ".join(sorted(missing))
        story.failed(f"programs are missing: run `make setup` as root, or install {packages}")
        return EXIT_UNAVAILABLE
    _on_signals(_interrupt)
    try:
        _perform(options, story)
    except _InterruptedError as signalled:
        story.failed(f"interrupted by {signalled}; everything has been cleaned up")
        return EXIT_SIGNALLED + signalled.number
    except DemoError as fault:
        story.failed(f"{fault}. Everything has been cleaned up")
        return EXIT_FAILED
    except BrokenPipeError:
        # Whoever read along has gone. Python must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return EXIT_OK


def _perform(options: argparse.Namespace, story: Story) -> None:
    began = time.monotonic()
    story.title("remora: two pods, a sidecar in each, and what happens to real connections.")
    with ExitStack() as stack:
        _only_one(stack)
        directory = _directory(stack)
        try:
            stage = _set_stage(options, story, directory, stack)
            _play(stage, directory)
            if options.keep:
                _keep(stage)
            elif stage.is_redirected:
                mesh.clean_up(stage)
        except Exception as fault:
            # From here to the end nothing may interrupt: what was started must be ended.
            _on_signals(signal.SIG_IGN)
            if not isinstance(fault, _InterruptedError | BrokenPipeError):
                _show_logs(story, directory)
            raise
        took_s = time.monotonic() - began
        _on_signals(signal.SIG_IGN)
    if not options.keep:
        story.end(f"All of this was so, and took {took_s:.1f} s.")


def _set_stage(
    options: argparse.Namespace, story: Story, directory: Path, stack: ExitStack
) -> Stage:
    if options.no_root:
        return loopback.set_stage(story, directory, stack, "--no-root was given")
    if os.geteuid():
        return loopback.set_stage(story, directory, stack, "This is not root")
    if not may_make_namespaces():
        why = "This root may not make network namespaces (is it in a container?)"
        if os.environ.get("REMORA_REQUIRE_ROOT"):
            raise DemoError(f"{why}, and REMORA_REQUIRE_ROOT is set")
        return loopback.set_stage(story, directory, stack, why)
    return mesh.set_stage(story, directory, stack)


def _only_one(stack: ExitStack) -> None:
    """Hold a name that the kernel takes back with our process: no lock file to go stale."""
    lock = stack.enter_context(socket.socket(socket.AF_UNIX))
    try:
        lock.bind(f"\0{_prefix()}")
    except OSError as fault:
        raise DemoError("you have another demo running, and it uses the same names") from fault


def _directory(stack: ExitStack) -> Path:
    """Make a folder for everything; what a killed run has left behind goes now."""
    for left_over in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        if left_over.stat(follow_symlinks=False).st_uid == os.geteuid():
            shutil.rmtree(left_over, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=_prefix()))
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)  # the sidecars and apps are other users
    return directory


def _prefix() -> str:
    return f"remora-demo-{os.geteuid()}-"


def _play(stage: Stage, directory: Path) -> None:
    account(stage, acts.traffic(stage))
    mutual_tls(stage)
    sick_endpoint(stage, directory)
    if stage.is_redirected:
        mesh.rules(stage)
    drain(stage)


def _keep(stage: Stage) -> None:
    stage.story.step(
        "Yours now",
        "stock's sidecar was started again. Try these in another terminal; Ctrl-C here cleans up.",
    )
    stage.stock.start()
    for sidecar in (stage.shop, stage.stock):
        stage.story.command(*sidecar.ctl_words("requests"))
        stage.story.command(*sidecar.ctl_words("connections"))
        stage.story.command(*sidecar.ctl_words("identity"))
    for command in (mesh if stage.is_redirected else loopback).hints(stage):
        stage.story.command(command)
    try:
        signal.pause()
    except _InterruptedError:
        stage.story.sentence("Cleaning up.")


def _show_logs(story: Story, directory: Path) -> None:
    for path in sorted(directory.rglob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        story.log(str(path.relative_to(directory)), lines[-_LOG_LINES:])


if __name__ == "__main__":
    sys.exit(main())
