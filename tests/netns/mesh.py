"""Two pods with redirection and a real sidecar each: the whole way from app to app.

`left` dials and `right` answers in most tests; both are built alike. A mesh lives in one address
family.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from iptables import options
from iptables.__main__ import perform
from iptables.exits import Exit
from tests.netns.harness import Namespace, Pods
from tests.netns.stage import APP_GID, APP_PORT, APP_UID, PROXY_GID, PROXY_UID
from tests.support import control, sockets
from tests.support.process import Proxy
from tests.support.rig import Pair
from tests.support.sockets import Address, written
from tests.support.waiting import eventually

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

EVERY: Final = {"ipv4": "0.0.0.0", "ipv6": "::"}
DELIVERY: Final = {"ipv4": "127.0.0.6", "ipv6": "::6"}

# The proxy's user and group. It keeps one right, to files: a root user's checkout and Python may
# lie where nobody else may look. (There is one to read only, but few containers have it to give.)
_AS_PROXY: Final = (
    *("setpriv", f"--reuid={PROXY_UID}", f"--regid={PROXY_GID}", "--clear-groups"),
    *(f"--{kind}=-all,+dac_override" for kind in ("bounding-set", "inh-caps", "ambient-caps")),
)


class Sidecar(Proxy):
    """A proxy in a pod: the proxy's user and group, its default ports."""

    def __init__(self, pod: Namespace, flags: Sequence[str], directory: Path) -> None:
        # What Proxy does, in a namespace and as somebody else: hence not by its constructor.
        self.pod = pod
        self.control_path = directory / "control.sock"
        self.stderr_lines = []
        self.ended_as_planned = False
        words = [*self._defaults(), "--admin", "0.0.0.0:15020", "--recent", "100", *flags]
        ours = {name: text for name, text in os.environ.items() if name[:7] != "REMORA_"}
        self._process = pod.call(
            subprocess.Popen,
            [*_AS_PROXY, sys.executable, "-m", "proxy", "proxy", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=ours | {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
        )
        self.pid = self._process.pid
        self._reader = Thread(target=self._read_stderr, name="sidecar-stderr")
        self._reader.start()

    def metrics(self) -> control.Metrics:
        """Scrape from inside the pod."""
        return self.pod.call(super().metrics)

    def readiness(self) -> tuple[int, str]:
        return self.pod.call(super().readiness)

    def opened(self) -> dict[str, int]:
        """Connections taken in so far, by direction; without those of no connection."""
        totals = self.status()["connections"]
        return {name: row["opened"] for name, row in totals.items() if row["opened"]}

    def records(self) -> list[dict[str, Any]]:
        """Return the connections that have ended, latest first."""
        rows: list[dict[str, Any]] = control.ask(self.control_path, "/connections?closed=1")[
            "connections"
        ]
        return rows

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests that have ended, latest first."""
        rows: list[dict[str, Any]] = control.ask(self.control_path, "/requests")["requests"]
        return rows

    def record(self, direction: str = "") -> dict[str, Any]:
        """Wait for a connection to have ended, perhaps of one direction; return the latest."""

        def latest() -> dict[str, Any] | None:
            rows = (row for row in self.records() if direction in ("", row["direction"]))
            return next(rows, None)

        row = eventually(f"a record of a closed {direction} connection", latest)
        assert row
        return row


class Side:
    """One pod of a mesh: its address, its rules, its sidecar, and what its apps do."""

    def __init__(self, pod: Namespace, family: str, directory: Path, stack: ExitStack) -> None:
        self.pod = pod
        self.family = family
        self.host = pod.addresses[family]
        self._stack = stack
        self._directory = directory
        self._sidecars: list[Sidecar] = []
        stack.callback(self._print_logs)

    def launch(self, *flags: str) -> Sidecar:
        """Start a sidecar, the first or the next one, and do not wait for it."""
        directory = self._directory / str(len(self._sidecars))
        directory.mkdir(parents=True)
        os.chown(directory, PROXY_UID, PROXY_GID)
        sidecar = Sidecar(self.pod, flags, directory)
        self._sidecars.append(sidecar)
        self._stack.callback(sidecar.check_log)
        self._stack.callback(sidecar.stop)
        return sidecar

    @property
    def sidecar(self) -> Sidecar:
        """The one started last."""
        return self._sidecars[-1]

    def listen(self, port: int = APP_PORT) -> socket.socket:
        """Listen as an app does, on every address of the family."""
        return self.keep(self.pod.listen(EVERY[self.family], port, uid=APP_UID, gid=APP_GID))

    def dial(self, address: Address, *, uid: int = APP_UID, gid: int = APP_GID) -> socket.socket:
        """Dial as an app does, or as somebody else."""
        return self.keep(self.pod.connect(address, uid=uid, gid=gid))

    def accept(self, listener: socket.socket) -> socket.socket:
        return self.keep(sockets.accepted(listener))

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close it before the sidecars are told to end: they would wait for it."""
        self._stack.callback(_shut, sock)
        return sock

    def expect_refusal(self, address: Address, *, uid: int = APP_UID, gid: int = APP_GID) -> None:
        """Dial and see a refusal, or a reset before any byte."""
        self.pod.call_as(uid, gid, lambda: sockets.expect_refusal(address))

    def _print_logs(self) -> None:
        for sidecar in self._sidecars:
            print(f"--- stderr of a sidecar in {self.pod.name} (pid {sidecar.pid})")  # noqa: T201
            print("\n".join(sidecar.stderr_lines))  # noqa: T201


def _shut(sock: socket.socket) -> None:
    """Close it, and wake whoever waits for it in another thread."""
    with sock, suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Mesh(NamedTuple):
    """Both sides, and an app that listens in `right`."""

    left: Side
    right: Side
    app: socket.socket
    threads: ThreadPoolExecutor

    @property
    def address(self) -> Address:
        """Where the app is dialled."""
        return self.right.host, APP_PORT

    def pair(self) -> Pair:
        """Connect an app in `left` to the app in `right`."""
        downstream = self.left.dial(self.address)
        return Pair(downstream, self.right.accept(self.app))

    def background(
        self,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        """Run `work` beside the test, which must ask for the result."""
        return self.threads.submit(work, *args, **kwargs)

    def destination(self) -> str:
        """How both sidecars name the app."""
        return written(self.address)


@contextmanager
def running(
    pods: Pods,
    family: str,
    *init: str,
    left_flags: Sequence[str] = (),
    right_flags: Sequence[str] = (),
) -> Iterator[Mesh]:
    """Run `remora init` and a sidecar in both pods; at the end each must have ended well."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="remora-mesh-"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)  # the proxy's user goes through it
        left, right = (Side(pod, family, directory / pod.name, stack) for pod in pods)
        starting = left.launch(*left_flags), right.launch(*right_flags)
        wanted = options.parse(init, {})
        for pod in pods:
            # Not as a process: two pods a test add up, and its command line has tests of its own.
            assert pod.call(perform, wanted).code == Exit.OK
        for sidecar in starting:
            sidecar.wait_ready()
        threads = stack.enter_context(ThreadPoolExecutor(thread_name_prefix="mesh"))
        yield Mesh(left, right, right.listen(), threads)
