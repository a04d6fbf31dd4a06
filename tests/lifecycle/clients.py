"""Who talks to the pods from outside of the mesh: single requests, streams, and steady load."""

import http.client
import select
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self

from tests.lifecycle.node import Node
from tests.lifecycle.pods import PORT
from tests.support.waiting import PATIENCE_S, eventually

PAUSE_S: Final = 0.01  # between two requests of a client


def ask(node: Node, host: str, path: str = "/", port: int = PORT) -> tuple[int, str]:
    """Ask over a connection of its own; return status and body."""
    return node.network.call(_ask, host, path, port)


def _ask(host: str, path: str, port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def asking(node: Node, host: str, path: str) -> Iterator[Future[tuple[int, str]]]:
    """Ask in the background."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(ask, node, host, path)


class Stream:
    """A response that goes on until the server, or we, have enough."""

    def __init__(self, node: Node, host: str, path: str = "/stream") -> None:
        self._connection = http.client.HTTPConnection(host, PORT, timeout=PATIENCE_S)
        node.network.call(self._connection.connect)
        self._connection.request("GET", path)
        self._answer = self._connection.getresponse()
        assert self._answer.status == http.client.OK

    def ticks(self) -> bool:
        """Whether one more line comes; False when the stream is cut."""
        try:
            return self._answer.read(5) == b"tick\n"
        except (OSError, http.client.HTTPException):
            return False

    def close(self) -> None:
        """Have enough."""
        self._answer.close()
        self._connection.close()


@dataclass
class Score:
    """What became of the requests of some clients."""

    answered: int = 0
    by: dict[str, int] = field(default_factory=dict)  # name of the pod: answers
    lost: list[str] = field(default_factory=list)
    resent: int = 0  # on a new connection, because a kept one had ended without a byte


class Load:
    """Clients that ask without end, and learn late where to.

    Half of them open a connection for each request, the others keep theirs as long as the server
    does: like any pool they look whether it has ended before they ask again. That it ends just then
    is what RFC 9112 (9.3.1) tells every client to expect: such a GET is sent again over a new one,
    once, and counted.
    """

    def __init__(self, node: Node, clients: int, delay_s: float) -> None:
        self.score = Score()
        self._node = node
        self._clients = clients
        self._delay_s = delay_s
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Begin."""
        threads = self._stack.enter_context(ThreadPoolExecutor(self._clients))
        works = [self._keep if number % 2 else self._open_anew for number in range(self._clients)]
        self._running = [
            threads.submit(self._node.network.call, work, number)
            for number, work in enumerate(works)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and hear of what went wrong in the clients themselves."""
        self._over.set()
        self._stack.close()
        for each in self._running:
            each.result()

    def wait_answers(self, more: int) -> None:
        """Wait until so many more requests have been answered."""
        until = self.score.answered + more
        eventually(f"{more} more answers", lambda: self.score.answered >= until)

    def _rounds(self, number: int) -> Iterator[str]:
        turn = number
        while not self._over.wait(PAUSE_S):
            # Delays are spread: the last client learns of a change a whole delay later.
            hosts = self._node.endpoints.usable(self._delay_s * (number + 1) / self._clients)
            if hosts:
                turn += 1
                yield hosts[turn % len(hosts)]

    def _open_anew(self, number: int) -> None:
        for host in self._rounds(number):
            connection = http.client.HTTPConnection(host, PORT, timeout=PATIENCE_S)
            self._count(host, partial(_exchange, connection))
            connection.close()

    def _keep(self, number: int) -> None:
        kept: http.client.HTTPConnection | None = None
        for host in self._rounds(number):
            if kept and _has_ended(kept):
                kept.close()
                kept = None
            was_used = kept is not None
            connection = kept or http.client.HTTPConnection(host, PORT, timeout=PATIENCE_S)
            kept = connection
            self._count(connection.host, partial(self._again, connection, is_used=was_used))
            if connection.sock is None:  # the server said close
                kept = None
        if kept:
            kept.close()

    def _again(self, connection: http.client.HTTPConnection, *, is_used: bool) -> str:
        try:
            return _exchange(connection)
        except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError):
            if not is_used:
                raise
        connection.close()
        with self._lock:
            self.score.resent += 1
        hosts = self._node.endpoints.usable(self._delay_s)
        other = http.client.HTTPConnection(hosts[0], PORT, timeout=PATIENCE_S)
        try:
            return _exchange(other)
        finally:
            other.close()

    def _count(self, host: str, work: Callable[[], str]) -> None:
        began = time.monotonic()
        try:
            name = work()
        except (OSError, http.client.HTTPException, AssertionError) as fault:
            with self._lock:
                at = f"{began:.3f} to {time.monotonic():.3f}"
                self.score.lost.append(f"{at} {host}: {type(fault).__name__} {fault}")
            return
        with self._lock:
            self.score.answered += 1
            self.score.by[name] = self.score.by.get(name, 0) + 1


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed a connection on which nothing is due."""
    return bool(select.select([connection.sock], [], [], 0)[0])


def _exchange(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    answer = connection.getresponse()
    body = answer.read().decode()
    assert answer.status == http.client.OK, f"{answer.status} {dict(answer.getheaders())} {body}"
    return body
