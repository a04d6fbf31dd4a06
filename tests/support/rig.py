"""The rig of one test: proxies, upstreams and sockets, all of them gone when the test is over."""

import contextlib
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from tests.support import sockets
from tests.support.process import Proxy
from tests.support.sockets import Address, written

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Pair(NamedTuple):
    """Both ends of one proxied connection: the test plays downstream and upstream."""

    downstream: socket.socket
    upstream: socket.socket


@dataclass(frozen=True)
class Route:
    """One explicit listener of a proxy, and the listening upstream behind it."""

    rig: "Rig"
    proxy: Proxy
    address: Address
    upstream: socket.socket

    def connect(self) -> socket.socket:
        return self.rig.connect(self.address)

    def accept(self) -> socket.socket:
        return self.rig.keep(sockets.accepted(self.upstream))

    def pair(self) -> Pair:
        return Pair(self.connect(), self.accept())

    def pairs(self, count: int) -> list[Pair]:
        """Open `count` connections one after the other, so that the ends belong together."""
        return [self.pair() for _ in range(count)]


def _shut(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Rig:
    """Starts things and remembers them. `close` ends sockets first, then proxies, then threads."""

    def __init__(self) -> None:
        # Unix socket paths end at 107 bytes: pytest's own temporary folders may be longer.
        self._directory = Path(tempfile.mkdtemp(prefix="remora-test-"))
        self._sockets = ExitStack()
        self._proxies: list[Proxy] = []
        self._threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix="rig")
        self._futures: list[Future[Any]] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._fd_limits = (soft, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def allow_open_files(self, count: int) -> int:
        """Raise the limit for us and the proxies to come, as root beyond the hard one; return it.

        What is allowed may be less than `count`.
        """
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count:
            with contextlib.suppress(ValueError, PermissionError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
        return min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    # --- sockets ---

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close `sock` at the end of the test, waking whichever thread still waits on it."""
        self._sockets.callback(_shut, sock)
        return sock

    def listen(self, host: str = "127.0.0.1", *, backlog: int = 4096) -> socket.socket:
        return self.keep(sockets.listening(host, backlog=backlog))

    def bind(self, host: str = "127.0.0.1") -> socket.socket:
        return self.keep(sockets.bound(host))

    def connect(self, address: Address) -> socket.socket:
        return self.keep(sockets.connected(address))

    def full_listener(self, host: str = "127.0.0.1") -> socket.socket:
        """Listen with a full backlog: the kernel drops every further SYN until one is accepted."""
        listener = self.listen(host, backlog=0)
        self.connect(sockets.address_of(listener))
        return listener

    # --- proxies ---

    def launch(self, *flags: str) -> Proxy:
        """Start a process and do not wait for it: tests of failing starts want this."""
        directory = self._directory / str(len(self._proxies))
        directory.mkdir()
        proxy = Proxy(flags, directory)
        self._proxies.append(proxy)
        return proxy

    def start(self, *flags: str) -> Proxy:
        return self.launch(*flags).wait_ready()

    def start_to(self, target: Address, *flags: str, host: str = "127.0.0.1") -> Proxy:
        """Start a proxy with one explicit listener to `target`."""
        listen = f"{written((host, 0))}={written(target)}"
        return self.start("--no-interception", "--listen", listen, *flags)

    def route(self, *flags: str, host: str = "127.0.0.1", upstream_host: str = "") -> Route:
        upstream = self.listen(upstream_host or host)
        proxy = self.start_to(sockets.address_of(upstream), *flags, host=host)
        return Route(self, proxy, proxy.listeners("explicit")[0], upstream)

    # --- work beside the test's own thread ---

    def background(
        self,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        """Run `work` in a thread; what it raises fails the test even if nobody asks for it."""
        future = self._threads.submit(work, *args, **kwargs)
        self._futures.append(future)
        return future

    # --- the end ---

    def close(self) -> None:
        """End everything; raise when a proxy ended badly or a thread failed."""
        with ExitStack() as stack:
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, self._fd_limits)
            stack.callback(shutil.rmtree, self._directory)
            for future in self._futures:
                stack.callback(future.result, 0)
            stack.callback(self._threads.shutdown)
            for proxy in self._proxies:
                stack.callback(proxy.check_log)
                stack.callback(proxy.stop)
            stack.callback(self._sockets.close)

    def print_logs(self) -> None:
        """For the report of a failed test; pytest hides it otherwise."""
        for number, proxy in enumerate(self._proxies):
            print(f"--- stderr of proxy {number} (pid {proxy.pid})")  # noqa: T201
            print("\n".join(proxy.stderr_lines))  # noqa: T201
