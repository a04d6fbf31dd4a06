"""Who dials: curl and ssh-keyscan, as an ordinary user in a pod."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from typing import Final

from deploy.demo.pods import Address, Pod
from deploy.demo.programs import ENVIRONMENT, run
from deploy.demo.story import DemoError

_CHUNK_BYTES: Final = 1 << 16
_SECONDS_MAX: Final = "15"
_HTTP_OK: Final = 200


@dataclass(frozen=True)
class Body:
    """What curl got."""

    size_bytes: int
    sha256: str
    seconds: float


class Download:
    """One curl under way; its body is read and hashed here, and its report comes at the end."""

    def __init__(self, pod: Pod, address: Address, path: str) -> None:
        self.command = f"curl http://{address}{path}"
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        report = ["--max-time", _SECONDS_MAX, "--write-out", "%{stderr}%{json}"]
        words = pod.as_app("curl", "--silent", *report, f"http://{address}{path}")
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            start_new_session=True,
        )

    def read(self, until_bytes: int) -> None:
        """Read until that many bytes have come in all, or the body has ended."""
        assert self._process.stdout is not None  # noqa: S101 - told to Popen above
        while self.size_bytes < until_bytes:
            chunk = os.read(self._process.stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                return
            self.size_bytes += len(chunk)
            self._sha256.update(chunk)

    def finish(self, expected_bytes: int) -> Body:
        """Read the rest. Raises DemoError unless curl is happy and the size is right."""
        self.read(expected_bytes + 1)
        _, told = self._process.communicate()
        report = json.loads(told)
        if self._process.returncode or report["http_code"] != _HTTP_OK:
            raise DemoError(
                f"`{self.command}` exited with {self._process.returncode}, status"
                f" {report['http_code']}, {self.size_bytes} bytes: {report['errormsg']}"
            )
        if self.size_bytes != expected_bytes:
            raise DemoError(f"`{self.command}` got {self.size_bytes} of {expected_bytes} bytes")
        return Body(self.size_bytes, self._sha256.hexdigest(), report["time_total"])

    def stop(self) -> None:
        """End curl, whatever it does."""
        self._process.kill()
        self._process.communicate()


def fetch(pod: Pod, address: Address, path: str, expected_bytes: int) -> Body:
    """Download it from beginning to end."""
    download = Download(pod, address, path)
    try:
        return download.finish(expected_bytes)
    finally:
        download.stop()


def status_of(pod: Pod, address: Address, path: str) -> int:
    """Ask for it, and return only the status of the answer."""
    report = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    words = ["curl", *report, "--max-time", _SECONDS_MAX, f"http://{address}{path}"]
    return int(run(pod.as_app(*words)))


def scan_host_key(pod: Pod, address: Address) -> str:
    """Ask an SSH server for its public key: a conversation that the server opens."""
    words = ["ssh-keyscan", "-T", "5", "-t", "ed25519", "-p", str(address.port), address.host]
    lines = [line for line in run(pod.as_app(*words)).splitlines() if not line.startswith("#")]
    if not lines:
        raise DemoError(f"`{' '.join(words)}` got no key")
    return lines[0].split()[-1]
