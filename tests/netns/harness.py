"""Network namespaces for tests: pods with addresses of their own, on one machine, gone afterwards.

A namespace here has no name in the system. It lives as long as the file that this process holds
open, so nothing is left behind even by a test run that is killed. `path` is that file, for
programs that want to be told (`nsenter --net=...`, `remora init --netns ...`).

To do something inside is to do it in a thread that has entered the namespace: a socket that is
opened there stays there, whoever uses it later, and a process that is started there is born there.
"""

import ctypes
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, ParamSpec, Self, TypeVar

from tests.support import sockets
from tests.support.sockets import Address
from tests.support.waiting import PATIENCE_S

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

ROOT: Final = Path(__file__).resolve().parents[2]

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)
_NUMBERS: Final = itertools.count(1)

# Loads everything first: another user may have no right to read this Python's files.
_AS_SOMEBODY: Final = """
import os, sys
import iptables.causes, iptables.validate
from iptables.__main__ import main
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
sys.exit(main(sys.argv[3:]))
"""


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_thread(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread of its own, which ends with it: what it became, nobody inherits."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=body, name="in-namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _new_namespace() -> int:
    def work() -> int:
        _checked(_LIBRARY.unshare(_CLONE_NEWNET))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(work)


class Namespace:
    """One network namespace, with lo up. A context manager: at its end, all of it is gone.

    `name` stands in messages only. `addresses` maps "ipv4" and "ipv6" to what others reach it by.
    """

    def __init__(self, name: str = "pod", *, ipv6: bool = True) -> None:
        self.name = f"{name}-{os.getpid()}-{next(_NUMBERS)}"
        self.addresses: dict[str, str] = {}
        self._stack = ExitStack()
        self._fd = _new_namespace()
        self._stack.callback(os.close, self._fd)
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._fd}")
        # Duplicate detection would keep IPv6 addresses unusable for a second.
        self.sysctl("net/ipv6/conf/default/accept_dad", "0")
        if not ipv6:
            self.sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        self.run(["ip", "link", "set", "lo", "up"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its processes and sockets, last started first, and let the namespace go."""
        self._stack.close()

    # --- doing something inside ---

    def call(
        self,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Run `work` inside, as root, and return its result; what it raises is raised here."""
        return self.call_as(0, 0, lambda: work(*args, **kwargs))

    def call_as(self, uid: int, gid: int, work: Callable[[], Result]) -> Result:
        """Do the same with another user's and group's rights to files and sockets.

        These are the filesystem ids: what the owner match of iptables looks at. They belong to
        the thread, so the test itself stays root.
        """

        def inside() -> Result:
            _checked(_LIBRARY.setns(self._fd, _CLONE_NEWNET))
            _LIBRARY.setfsgid(gid)
            _LIBRARY.setfsuid(uid)
            return work()

        return _in_thread(inside)

    def sysctl(self, name: str, value: str) -> None:
        """Set net/... of this namespace."""
        self.call(Path("/proc/sys", name).write_text, value)

    # --- processes ---

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        uid: int | None = None,
        gid: int | None = None,
        **options: Any,  # noqa: ANN401 - those of subprocess.Popen
    ) -> subprocess.Popen[str]:
        """Start a process inside, perhaps as somebody else; it is killed when this is closed."""
        if uid is not None or gid is not None:
            options |= {"user": uid, "group": gid, "extra_groups": []}
        process = self.call(
            lambda: subprocess.Popen([str(word) for word in argv], text=True, **options)
        )
        self._stack.callback(_end, process)
        return process

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        text: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end. `text` is its input; with `check` it must succeed."""
        done = self.call(
            lambda: subprocess.run(
                [str(word) for word in argv],
                input=text if text is not None else "",
                env=env,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S * 3,
                check=False,
            )
        )
        if check:
            words = " ".join(map(str, argv))
            assert done.returncode == 0, f"{self.name}: {words}: {done.stdout}{done.stderr}"
        return done

    def init(
        self,
        *flags: str,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        identity: tuple[int, int] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `remora init` inside, as a process of its own; `identity` is a uid and a gid.

        `env` comes on top of the environment of the tests, without a developer's REMORA_*.
        """
        start: list[str] = ["-m", "iptables"]
        if identity:
            start = ["-c", _AS_SOMEBODY, *map(str, identity)]
        clean = {name: value for name, value in os.environ.items() if name[:7] != "REMORA_"}
        return self.run([sys.executable, *start, *flags], check=check, env=clean | dict(env or {}))

    # --- sockets ---

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close the socket with the namespace."""
        return self._stack.enter_context(sock)

    def listen(self, host: str, port: int = 0, *, uid: int = 0, gid: int = 0) -> socket.socket:
        """Open a listener inside, owned by that user and group."""
        make = lambda: sockets.listening(host, port=port)  # noqa: E731
        return self.keep(self.call_as(uid, gid, make))

    def connect(self, address: Address, *, uid: int = 0, gid: int = 0) -> socket.socket:
        """Dial from inside, as that user and group."""
        return self.keep(self.call_as(uid, gid, lambda: sockets.connected(address)))


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it if it still runs, and give back its pipes."""
    if process.poll() is None:
        process.kill()
    with process:
        process.wait(PATIENCE_S)


class Pods(NamedTuple):
    """Two namespaces that reach each other over a pair of eth0, by IPv4 and IPv6.

    Each is the other's default route. `right` owns the addresses ELSEWHERE, too, which `left`
    reaches by that route as it would reach the world outside the cluster.
    """

    left: Namespace
    right: Namespace


# Set aside for documentation: no test can meet a real host there.
ELSEWHERE: Final = {"ipv4": "198.51.100.7", "ipv6": "2001:db8:51::7"}
_LEFT: Final = {"ipv4": "10.71.0.1", "ipv6": "fd71::1"}
_RIGHT: Final = {"ipv4": "10.71.0.2", "ipv6": "fd71::2"}


@contextmanager
def pair() -> Iterator[Pods]:
    """Make two joined pods, and take them away at the end."""
    with Namespace("left") as left, Namespace("right") as right:
        # The other end is named by its open file: namespaces have no names here.
        peer = f"veth peer name eth0 netns {right.path}"
        left.run(["ip", "link", "add", "eth0", "type", *peer.split()])
        _set_up(left, _LEFT, _RIGHT)
        _set_up(right, _RIGHT, _LEFT)
        for address in ELSEWHERE.values():
            right.run(["ip", "address", "add", address, "dev", "lo"])
        yield Pods(left, right)


def _set_up(pod: Namespace, own: Mapping[str, str], other: Mapping[str, str]) -> None:
    pod.addresses.update(own)
    pod.run(
        ["ip", "-batch", "-"],
        text=f"""
address add {own["ipv4"]}/24 dev eth0
address add {own["ipv6"]}/64 dev eth0 nodad
link set eth0 up
route add 0.0.0.0/0 via {other["ipv4"]}
route add ::/0 via {other["ipv6"]} dev eth0
""",
    )


def reason_not_to_run() -> str:
    """Say why namespaces cannot be used here; empty if they can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces and iptables"
    try:
        os.close(_new_namespace())
    except OSError as error:
        return f"network namespaces cannot be made here: {error.strerror}"
    return ""
