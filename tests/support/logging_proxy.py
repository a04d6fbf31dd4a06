"""A proxy with an access log, whose stdout the test holds."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tests.support import control
from tests.support.sockets import Address, parsed, written
from tests.support.waiting import PATIENCE_S, eventually


class Logging:
    """A proxy in front of `upstream`; its stdout is a pipe, or what the test gives."""

    def __init__(
        self,
        directory: Path,
        upstream: Address,
        *flags: str,
        stdout: int | IO[bytes] = subprocess.PIPE,
    ) -> None:
        self.path = directory / "control.sock"
        listen = f"127.0.0.1:0={written(upstream)}"
        self._stderr = (directory / "stderr").open("wb")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "proxy", "proxy", "--no-interception", "--listen", listen),
                *("--admin", "127.0.0.1:0", "--control-listen", "off"),
                *("--control", str(self.path), *flags),
            ],
            stdout=stdout,
            stderr=self._stderr,
        )
        eventually("the proxy to be ready", self._is_ready)
        self.address = parsed(self.status()["listeners"][0]["address"])

    def _is_ready(self) -> bool:
        assert self.process.poll() is None
        with suppress(FileNotFoundError, ConnectionRefusedError):  # bound, and not listening yet
            return bool(self.status()["ready"])
        return False

    def ask(self, target: str) -> dict[str, Any]:
        return control.ask(self.path, target)

    def status(self) -> dict[str, Any]:
        return self.ask("/status")

    def ctl(self, *words: str) -> str:
        command = [sys.executable, "-m", "proxy", "ctl", *words, "--control", str(self.path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def closed_count(self) -> int:
        return int(self.status()["connections"]["explicit"]["closed"])

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def fields(self, kind: str) -> dict[str, Any]:
        """Return the next line of JSON, which must be of that kind."""
        fields: dict[str, Any] = json.loads(self.line())
        assert fields["kind"] == kind
        return fields

    def close(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(PATIENCE_S) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self._stderr.close()
            if self.process.stdout:
                self.process.stdout.close()


# Takes flags, and perhaps `stdout`.
Start = Callable[..., Logging]
