"""Pages of docs that are run as they stand: manifests, commands, and what one sees.

A page's ```yaml blocks are its manifests. Its ```console blocks are a session: a line that begins
with `$ ` is a command for bash, the lines up to the next one are what it prints.

- `... &` starts something that stays: `remora proxy` on the rig of the test, which waits until it
  is ready and checks its end; anything else counts as started when it has said its first line.
- In what is printed, `...` is any text of a line, and alone on a line any number of lines.
  `<word>` is any text without a space, the same one wherever the page has it again.
- Blanks count as one, however many: the widths of tables may differ.

Pages have fixed addresses, tests must not: 127.A.0.B becomes 127.N.A.B, where N is a number that
nobody else uses now; `remora ctl` and 127.0.0.1:15020 find the proxy of the page.
"""

import itertools
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.process import Proxy, environment
from tests.support.rig import Rig
from tests.support.sockets import written
from tests.support.tools import needed
from tests.support.waiting import PATIENCE_S

TREE: Final = Path(__file__).parents[2]
_BLOCK: Final = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS: Final = re.compile(r"\b127\.([0-9])\.0\.([0-9]+)\b")
_HOLE: Final = re.compile(r"(\.\.\.|<[a-z][a-z0-9-]*>)")
_ADMIN: Final = "127.0.0.1:15020"
_PRELOADS: Final = ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")


class Step(NamedTuple):
    """A command, and what it prints."""

    command: str
    seen: str


def manifests(page: str) -> str:
    return "---\n".join(text for kind, text in _BLOCK.findall(page) if kind == "yaml")


def steps(page: str) -> Iterator[Step]:
    for kind, text in _BLOCK.findall(page):
        if kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, seen = part.partition("\n")
                yield Step(command, seen)


class Words:
    """What `<word>` stands for, once it was seen."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.new: set[str] = set()

    def check(self, step: Step, seen: str) -> None:
        """Fail unless that is what the page shows; remember what its words stand for."""
        self.new = set()
        wanted = "".join(self._line(line) for line in step.seen.splitlines())
        got = "".join(f"{' '.join(line.split())}\n" for line in seen.splitlines())
        found = re.fullmatch(wanted, got)
        assert found, f"$ {step.command}\n--- printed\n{seen}--- the page\n{step.seen}"
        self.known |= {name.replace("_", "-"): text for name, text in found.groupdict().items()}

    def _line(self, line: str) -> str:
        if line.strip() == "...":
            return r"(?:.*\n)*?"
        parts = _HOLE.split(" ".join(line.split()))
        return "".join(map(self._part, parts)) + "\n"

    def _part(self, part: str) -> str:
        if part == "...":
            return ".*?"
        if not _HOLE.fullmatch(part):
            return re.escape(part)
        if (name := part[1:-1]) in self.known:
            return re.escape(self.known[name])
        group = name.replace("-", "_")
        if group in self.new:
            return f"(?P={group})"
        self.new.add(group)
        return rf"(?P<{group}>\S+?)"


def _free_number() -> int:
    """Return an N of 127.N.A.B whose first address has no listener at the ports of pages."""
    for number in itertools.islice(itertools.cycle(range(16, 250)), os.getpid() % 200, None):
        with socket.socket() as trial:
            try:
                trial.bind((f"127.{number}.0.1", 8080))
            except OSError:
                continue
            return number
    raise AssertionError


class Page:
    """One page, on the addresses of this run, in a folder of its own."""

    def __init__(self, rig: Rig, path: Path, folder: Path) -> None:
        self._rig = rig
        self._folder = folder
        self._text = path.read_text()
        self._number = _free_number()
        self._programs: list[subprocess.Popen[str]] = []
        self._proxy: Proxy | None = None
        (folder / "manifests").mkdir()
        (folder / "manifests" / "page.yaml").write_text(self._moved(manifests(self._text)))
        (folder / "docs").symlink_to(TREE / "docs")
        self._make_remora(folder / "bin")

    def _make_remora(self, folder: Path) -> None:
        """Put `remora` on the PATH: the build under test, sanitized or not."""
        folder.mkdir()
        ours = environment()
        kept = {name: ours[name] for name in (*_PRELOADS, "PYTHONPATH") if name in ours}
        words = ["env", *(f"{name}={value}" for name, value in kept.items())]
        words += ["PYTHONSAFEPATH=1", sys.executable, "-m", "proxy"]
        (folder / "remora").write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (folder / "remora").chmod(0o755)
        self._environment = {name: ours[name] for name in ours if name not in _PRELOADS}
        path = f"{folder}:{Path(sys.executable).parent}:{ours['PATH']}"
        self._environment |= {"PATH": path, "LC_ALL": "C.UTF-8"}

    def run(self) -> None:
        """Do what the page says; fail where something else is seen."""
        words = Words()
        try:
            for step in steps(self._text):
                words.check(step, self._seen(step.command))
        finally:
            for program in self._programs:
                program.terminate()
                program.wait(PATIENCE_S)
                assert program.stdout
                program.stdout.close()

    def _seen(self, command: str) -> str:
        """Run a command and return what it prints, with the addresses of the page."""
        if command.startswith("remora proxy ") and command.endswith(" &"):
            return self._start_proxy(command)
        if command.endswith(" &"):
            return self._start(command.removesuffix(" &"))
        done = subprocess.run(
            [needed("bash"), "-c", self._moved(command)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S * 2,
        )
        return self._moved_back(done.stdout)

    def _start_proxy(self, command: str) -> str:
        flags = shlex.split(self._moved(command))[2:-1]
        at = flags.index("--manifests") + 1
        flags[at] = str(self._folder / flags[at])
        self._proxy = self._rig.start(*flags)
        self._environment["REMORA_CONTROL"] = str(self._proxy.control_path)
        return ""

    def _start(self, command: str) -> str:
        program = subprocess.Popen(
            ["bash", "-c", f"exec {self._moved(command)}"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._programs.append(program)
        assert program.stdout
        return self._moved_back(program.stdout.readline())

    def _moved(self, text: str) -> str:
        parts = text.split(_ADMIN) if self._proxy else [text]
        admin = written(self._proxy.admin_address()) if self._proxy else ""
        return admin.join(_ADDRESS.sub(rf"127.{self._number}.\1.\2", part) for part in parts)

    def _moved_back(self, text: str) -> str:
        return re.sub(rf"\b127\.{self._number}\.([0-9])\.([0-9]+)\b", r"127.\1.0.\2", text)
