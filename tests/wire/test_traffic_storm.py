"""Many requests at once to endpoints that fail in every way: nothing is mixed up, nothing is left.

Each request has a number. Endpoints write down which they have seen a byte of; what must not be
repeated is seen once at most, and whoever gets an answer gets the one to its own question.
"""

import contextlib
import random
import socket
import threading
from collections import Counter
from typing import Any, Final

import pytest

from tests.support.http import Message, Stream, chunked, request, response
from tests.support.services import EAGER, Backend, Cluster
from tests.support.sockets import reset
from tests.support.waiting import eventually

CLIENTS: Final = 12
REQUESTS: Final = 40
METHODS: Final = ("GET", "PUT", "DELETE", "POST", "PATCH")
ONCE: Final = {"POST", "PATCH"}
# What a proxy says when nobody else did.
EXCUSES: Final = {
    *(b"upstream_closed", b"connect_failed", b"try_timeout", b"request_deadline"),
    *(b"queue_timeout", b"queue_full", b"too_many_requests", b"response_malformed"),
}


class Sick:
    """Endpoints that answer, mostly."""

    def __init__(self, cluster: Cluster, backend: Backend, seed: int) -> None:
        self.cluster, self.backend = cluster, backend
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.is_over = False
        for number in range(len(backend.listeners)):
            cluster.rig.background(self.accept, number, random.Random(seed * 10 + number))  # noqa: S311

    def accept(self, number: int, dice: random.Random) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self.is_over:
                sock, _ = self.backend.listeners[number].accept()
                sock.settimeout(20)
                if dice.random() < 0.05:
                    reset(sock)
                    continue
                threading.Thread(target=self.serve, args=(sock, dice.random()), daemon=True).start()

    def serve(self, sock: socket.socket, seed: float) -> None:
        dice = random.Random(seed)  # noqa: S311 - it only varies a test
        up = Stream(sock)
        with sock, contextlib.suppress(OSError, AssertionError):
            while self.one(up, dice):
                pass

    def one(self, up: Stream, dice: random.Random) -> bool:
        """Take a request, and answer or fail; whether there may be another one."""
        line = up.until(b"\r\n").split(b" ")
        name = line[1].decode()
        with self.lock:
            self.seen[name] += 1
        fate = dice.random()
        if fate < 0.05:
            reset(up.sock)
            return False
        fields = []
        while field := up.until(b"\r\n")[:-2]:
            key, _, value = field.partition(b": ")
            fields.append((key, value))
        if fate < 0.10:
            return False
        body = up._with_body(Message(b"", fields)).body
        said = response(name.encode() + b"=" + b"%d" % len(body))
        if fate < 0.15:
            up.send(said[: dice.randrange(len(said))])
            if dice.random() < 0.5:
                reset(up.sock)
            return False
        if fate < 0.20:
            up.send(response(name.encode() + b"!", status="503 Busy"))
        elif fate < 0.23:
            threading.Event().wait(0.3)  # too late for a try
            up.send(said)
        else:
            up.send(said)
        return fate < 0.9


class Asking(Stream):
    """A client, and what became of its requests."""

    def __init__(self, cluster: Cluster, number: int, dice: random.Random) -> None:
        self.cluster, self.number, self.dice = cluster, number, dice
        self.outcomes: Counter[str] = Counter()
        super().__init__(cluster.connect().sock)

    def run(self) -> Counter[str]:
        for each in range(REQUESTS):
            method = self.dice.choice(METHODS)
            try:
                answered = self.ask(f"/{method}/{self.number}/{each}", method)
            except (OSError, AssertionError):
                # Cut in the middle of an answer, or closed behind one: on to the next connection.
                answered = "cut"
                super().__init__(self.cluster.connect().sock)
            assert answered != "wrong"
            self.outcomes[answered] += 1
        return self.outcomes

    def ask(self, name: str, method: str) -> str:
        """Ask and say what came of it."""
        size = self.dice.choice((0, 10, 5_000, 30_000)) if method != "GET" else 0
        body = self.dice.randbytes(size)
        if size and self.dice.random() < 0.5:
            text = request(name, "Transfer-Encoding: chunked", method=method) + chunked(body)
        else:
            text = request(name, method=method, body=body if size else None)
        if self.dice.random() < 0.03:
            self.send(text[: len(text) // 2])
            reset(self.sock)
            raise OSError("left")
        self.send(text)
        answered = self.response(method)
        if answered.get(b"connection") == b"close":
            super().__init__(self.cluster.connect().sock)
        excuse = answered.get(b"remora-error")
        if excuse is not None:
            return excuse.decode() if excuse in EXCUSES else "wrong"
        body = name.encode() + (b"!" if answered.status == 503 else b"=%d" % size)
        return str(answered.status) if answered.body == body else "wrong"


POOLS: Final[dict[str, Any]] = {
    "free": {},
    "narrow": {
        "tcp": {"maxConnections": 3, "connectTimeout": "1s"},
        "http": {"http1MaxPendingRequests": 6, "maxRequestsPerConnection": 5},
    },
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_storm_nothing_is_mixed_up_nor_repeated_nor_left(
    cluster: Cluster, pool: str, seed: int
) -> None:
    said = EAGER | {"try-timeout": "200ms", "timeout": "3s", "retry-codes": "503"}
    policy = {"connectionPool": POOLS[pool], "outlierDetection": {"baseEjectionTime": "200ms"}}
    backend = cluster.service("web", 3, policy=policy, annotations=said)
    cluster.start()
    clients = [  # before anybody is sick: a dial that fails may reset one that is about to come
        Asking(cluster, number, random.Random(seed * 100 + number))  # noqa: S311
        for number in range(CLIENTS)
    ]
    sick = Sick(cluster, backend, seed)
    done = [cluster.rig.background(client.run) for client in clients]
    total: Counter[str] = Counter()
    for each in done:
        total += each.result()
    sick.is_over = True
    for client in clients:
        client.sock.close()
    eventually("the calm", lambda: cluster.proxy.live()["exchanges"] == 0)
    repeated = {name: n for name, n in sick.seen.items() if name.split("/")[1] in ONCE and n > 1}
    assert not repeated
    assert max(sick.seen.values()) <= 5
    assert total["200"] > CLIENTS * REQUESTS * 0.3, total
    assert cluster.proxy.metrics()("remora_events_total", event="retried") > 0
