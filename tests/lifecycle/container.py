"""One run of a container, and programs that run inside of it: processes behind a shim each."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.lifecycle.manifest import Container, Pod
from tests.netns.harness import ROOT, Namespace
from tests.support.waiting import PATIENCE_S, eventually

SHIM: Final = Path(__file__).parent / "shim.py"
START_FAILED: Final = 128
_SYSTEM: Final = ("/usr", "/etc", "/sys")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MESSAGE_BYTES: Final = 2048
_MESSAGE_LINES: Final = 80


@cache
def _image() -> tuple[str, ...]:
    """Return what the image is made of: the system, this tree, and the Python that runs it.

    The folders above them are made anew: no user needs a way through root's home.
    """
    wanted = [str(ROOT), sys.prefix, sys.base_prefix]
    found = [*_SYSTEM]
    for path in map(os.path.realpath, wanted):
        if not any(path == each or path.startswith(f"{each}/") for each in found):
            found.append(path)
    return tuple(found)


def _image_environment() -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{_PATH}",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Sandbox:
    """What the containers of a pod share: its network, its volumes, a folder for the rest."""

    def __init__(self, pod: Pod, network: Namespace, folder: Path) -> None:
        self.pod = pod
        self.network = network
        self.folder = folder
        self.environment = {**_image_environment(), "HOSTNAME": pod.name}

    def volume(self, name: str) -> Path:
        """Return where a volume is on the machine."""
        return self.folder / "volumes" / name

    def plan(self, container: Container, words: Sequence[str]) -> dict[str, Any]:
        """Return what a shim has to know of any program of a container."""
        return {
            "words": list(words),
            "env": {**self.environment, **container.env},
            "uid": container.uid,
            "gid": container.gid,
            "capabilities": sorted(container.capabilities),
            "may_gain_rights": container.may_gain_rights,
            "join": 0,
        }


class Process:
    """A program behind a shim; its output goes to the end of a file."""

    def __init__(self, sandbox: Sandbox, plan: dict[str, Any], log: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=sandbox.folder, prefix="run-"))
        root = self._folder / "root"
        root.mkdir()
        self._report = self._folder / "report"
        whole = {**plan, "root": str(root), "report": str(self._report)}
        with log.open("a") as output:
            self._shim = sandbox.network.popen(
                [sys.executable, "-I", "-S", SHIM, json.dumps(whole)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        self._said: dict[str, Any] = {}

    @property
    def report(self) -> dict[str, Any]:
        """What the shim said; empty while it has not."""
        if not self._said:
            with suppress(FileNotFoundError, ValueError):
                self._said = json.loads(self._report.read_text())
        return self._said

    @property
    def pid(self) -> int:
        """Its number on the machine, 0 before it is there."""
        return int(self.report.get("pid", 0))

    @property
    def fault(self) -> str:
        """Why it could not be run, "" if it could."""
        return str(self.report.get("fault", ""))

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs."""
        return self._shim.poll()

    def wait_executed(self) -> None:
        """Wait until it runs its program, or will not."""
        eventually("a program to run", lambda: self.report or self.exit_code is not None)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.exit_code is None and self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self) -> None:
        """End it by force, and wait for that."""
        if self._shim.stdin:
            self._shim.stdin.close()
        self._shim.wait(PATIENCE_S)


class Run:
    """One run of a container, from its start to its end."""

    def __init__(self, sandbox: Sandbox, container: Container) -> None:
        self._sandbox = sandbox
        self._container = container
        self.log = sandbox.folder / f"{container.name}.log"
        self.log.touch()
        self._log_begin = self.log.stat().st_size
        self._message = Path(tempfile.mkstemp(dir=sandbox.folder, prefix="message-")[1])
        self._message.chmod(0o666)
        plan = sandbox.plan(container, container.words) | {
            "image": list(_image()),
            "mounts": [
                [str(sandbox.volume(each.volume)), each.path, each.is_read_only]
                for each in container.mounts
            ],
            "is_root_read_only": container.is_root_read_only,
            "message": str(self._message),
            "hostname": sandbox.pod.name,
        }
        self.process = Process(sandbox, plan, self.log)

    def execute(self, words: Sequence[str]) -> Process:
        """Run another program inside, with the same user and rights: a hook, or a probe."""
        self.process.wait_executed()
        plan = self._sandbox.plan(self._container, words) | {"join": self.process.pid}
        return Process(self._sandbox, plan, self._sandbox.folder / f"{self._container.name}.exec")

    def message(self) -> str:
        """Return its last words, as the pod's status shows them."""
        if self.process.fault:
            return self.process.fault
        written = self._message.read_text()
        if written or not self.process.exit_code or not self._container.is_message_from_log:
            return written
        with self.log.open() as log:
            log.seek(self._log_begin)
            lines = log.read().splitlines()[-_MESSAGE_LINES:]
        return "\n".join(lines)[-_MESSAGE_BYTES:]
