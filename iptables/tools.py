"""The programs of the machine: finding them, running them, and what they say when they fail."""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

# A user's PATH may lack the folders in which these tools live.
_FOLDERS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# Far above what any of them takes. iptables waits for a lock of its own, see LOCK_WAIT_S.
TIMEOUT_S: Final = 60.0
LOCK_WAIT_S: Final = 5

# iptables-restore knows -w from 1.6.2 on; before that it fails at once if another holds the lock.
_WAIT_SINCE: Final = (1, 6, 2)
_VERSION: Final = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?: \((nf_tables|legacy)\))?")

# Addresses and rules are compared as text: no tool may translate its output.
_LOCALE: Final = {"LC_ALL": "C"}


@dataclass(frozen=True)
class Command:
    """One call of a tool, with all that it reads. What --dry-run prints is made of these."""

    argv: tuple[str, ...]
    text: str = ""
    is_tidying: bool = False  # its failure leaves something harmless behind, and undoes nothing

    def __str__(self) -> str:
        """Give the call, as a comment, and its input."""
        return f"# {shlex.join(self.argv)}\n{self.text}"


class ToolError(Exception):
    """A tool failed; `message` is what it wrote, in one line."""

    def __init__(self, command: Command, message: str) -> None:
        super().__init__(f"{shlex.join(command.argv)}: {message}")
        self.command = command
        self.message = message


def find(*names: str) -> str | None:
    """Give the path of the first of these programs that is there."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])
    found = (shutil.which(name, path=path) for name in names)
    return next((each for each in found if each), None)


def run(command: Command) -> str:
    """Run it and return what it printed, or raise ToolError."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words, never through a shell
            command.argv,
            input=command.text,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env={**os.environ, **_LOCALE},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(command, str(error)) from error
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ToolError(command, " / ".join(said) or f"exit code {done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class Version:
    """What `iptables-restore --version` says."""

    number: tuple[int, ...]
    variant: str  # "nft" or "legacy"

    @property
    def knows_wait(self) -> bool:
        """Tell whether -w may be given."""
        return self.number >= _WAIT_SINCE


def version(said: str) -> Version | None:
    """Read the version line. Before 1.8 there was one variant, and no word for it."""
    match = _VERSION.search(said)
    if match is None:
        return None
    number = tuple(int(part) for part in match.group(1, 2, 3))
    return Version(number, "nft" if match[4] == "nf_tables" else "legacy")
