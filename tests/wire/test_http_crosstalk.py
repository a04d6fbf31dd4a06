"""A property: whatever happens to others, no byte reaches an exchange it does not belong to.

Many downstreams ask at once, through few upstream connections, for answers that say which request
they belong to and carry their own digest. Upstreams and downstreams misbehave at random: they
close, reset, answer early, say more than was asked for, pipeline, stop half way. Each answer that
is whole must be the one that was asked for; each request that an upstream gets whole must be one
that was sent.
"""

import hashlib
import random
import re
import socket
import threading
from collections import Counter
from contextlib import suppress

import pytest

from tests.support.http import Message, Stream, chunked, request, response
from tests.support.rig import Rig
from tests.support.sockets import connected, reset
from tests.support.transfers import MIB

DOWNSTREAMS = 8
ROUNDS = 60
# Bytes that nobody asked for. They are no answer: one that is, and comes right behind the next
# request, cannot be told from that request's own by anybody.
STRAY = b"<stray>" * 50
SIZES = (0, 1, 100, 5_000, 40_000, 200_000)
REASONS = ("upstream_closed", "response_malformed", "queue_timeout")
Dice = random.Random


def body_of(name: str, size: int) -> bytes:
    """Return `size` bytes and more that name the exchange in every few of them."""
    mark = f"<{name}>".encode()
    text = mark * (size // len(mark) + 1)
    return hashlib.sha256(text).hexdigest().encode() + text


def check_body(name: str, body: bytes) -> None:
    digest, text = body[:64], body[64:]
    mark = f"<{name}>".encode()
    if text != mark * (len(text) // len(mark)):  # say whose the bytes are that do not belong here
        assert set(re.findall(rb"<[^>]*>", text)) == {mark}, (name, text[:200])
    assert hashlib.sha256(text).hexdigest().encode() == digest, name


class Babbler:
    """An upstream of bad manners. It answers /NAME/SIZE with a body of that name, if it answers."""

    def __init__(self, listener: socket.socket, seed: int) -> None:
        self.listener = listener
        self.seed = seed
        self.faults: list[AssertionError] = []
        self.did: Counter[str] = Counter()
        self.threads: list[threading.Thread] = []

    def serve(self) -> None:
        number = 0
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(20)
            dice = Dice(self.seed * 1_000 + number)
            number += 1
            thread = threading.Thread(target=self.talk, args=[sock, dice], daemon=True)
            self.threads.append(thread)
            thread.start()

    def talk(self, sock: socket.socket, dice: Dice) -> None:
        stream = Stream(sock)
        with sock, suppress(OSError):
            while self.answer_one(stream, dice):
                pass

    def answer_one(self, stream: Stream, dice: Dice) -> bool:
        try:
            head = stream.head()
        except AssertionError:
            return False  # the proxy closed between or within requests: its good right
        _, name, size = head.line.split(b" ")[1].decode().split("/")
        act = dice.choices(
            ("well", "chunked", "early", "cut", "close", "reset", "double", "babble", "none"),
            weights=(50, 20, 8, 5, 4, 4, 4, 4, 4),
        )[0]
        self.did[act] += 1
        body = body_of(name, int(size))
        if act == "early":
            stream.send(response(body))
            return False
        if not self.took_body(stream, head, name):
            return False
        return self.act(stream, act, body)

    def took_body(self, stream: Stream, head: Message, name: str) -> bool:
        """Read the request's body; a whole one must be the one that was sent with that name."""
        try:
            whole = stream._with_body(head)
        except AssertionError:
            return False
        try:
            if whole.body:
                check_body(name, whole.body)
            assert head.get(b"x-name") == name.encode()
        except AssertionError as fault:
            self.faults.append(fault)
        return True

    def act(self, stream: Stream, act: str, body: bytes) -> bool:
        if act == "chunked":
            parts = [body[at : at + 7_000] for at in range(0, len(body), 7_000)]
            stream.send(response(None, "Transfer-Encoding: chunked") + chunked(*parts))
        elif act == "cut":
            stream.send(response(body)[:-1])
            return False
        elif act == "reset":
            reset(stream.sock)
            return False
        elif act in {"close", "none"}:
            if act == "close":
                stream.send(response(body))
            return False
        elif act == "double":
            stream.send(response(body) + STRAY)
        elif act == "babble":
            stream.send(response(body))
            stream.send(STRAY)
        else:
            stream.send(response(body))
        return True


class Asker:
    """A downstream: asks, pipelines, leaves early; and checks whatever it gets whole."""

    def __init__(self, address: tuple[str, int], number: int, seed: int) -> None:
        self.address = address
        self.number = number
        self.dice = Dice(seed * 77 + number)
        self.got: Counter[str] = Counter()
        self.count = 0

    def run(self) -> Counter[str]:
        for _ in range(ROUNDS):
            with connected(self.address) as sock, suppress(OSError):
                self.talk(Stream(sock))
        return self.got

    def talk(self, stream: Stream) -> None:
        for _ in range(self.dice.randrange(1, 6)):
            asked = [self.question() for _ in range(self.dice.choice((1, 1, 1, 2, 5)))]
            text = b"".join(text for _, text, _ in asked)
            if self.dice.random() < 0.06:
                stream.send(text[: self.dice.randrange(len(text))])
                if self.dice.random() < 0.5:
                    reset(stream.sock)
                self.got["left"] += 1
                return
            stream.send(text)
            for name, _, method in asked:
                if not self.take(stream, name, method):
                    return

    def question(self) -> tuple[str, bytes, str]:
        self.count += 1
        name = f"d{self.number}n{self.count}"
        target = f"/{name}/{self.dice.choice(SIZES)}"
        method = self.dice.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT"))
        field = f"X-Name: {name}"
        if method in {"GET", "HEAD"}:
            return name, request(target, field, method=method), method
        body = body_of(name, self.dice.choice(SIZES))
        if self.dice.random() < 0.5:
            head = request(target, field, "Transfer-Encoding: chunked", method=method)
            parts = [body[at : at + 9_000] for at in range(0, len(body), 9_000)]
            return name, head + chunked(*parts), method
        return name, request(target, field, method=method, body=body), method

    def take(self, stream: Stream, name: str, method: str) -> bool:
        """Take one answer. False when the connection ended, as it may after any fault."""
        try:
            answered = stream.response(method)
        except (AssertionError, ConnectionError):
            self.got["cut"] += 1
            return False
        reason = answered.get(b"remora-error")
        if reason is not None:
            self.got[reason.decode()] += 1
        elif method != "HEAD":
            check_body(name, answered.body)
            self.got["whole"] += 1
        return answered.get(b"connection") != b"close"


@pytest.mark.parametrize(
    "flags", [[], ["--no-splice"], ["--http-pool-max", "3"], ["--workers", "2"]]
)
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_no_byte_reaches_an_exchange_that_it_does_not_belong_to(
    rig: Rig, seed: int, flags: list[str]
) -> None:
    route = rig.route("--http-idle-timeout", "20s", *flags)
    babbler = Babbler(route.upstream, seed)
    rig.background(babbler.serve)
    askers = [Asker(route.address, number, seed) for number in range(DOWNSTREAMS)]
    got: Counter[str] = Counter()
    for future in [rig.background(asker.run) for asker in askers]:
        got += future.result()
    assert not babbler.faults
    # The mix is one: everything that was meant to happen did.
    assert got["whole"] > 200, got
    assert got["cut"] > 5, got
    assert got["upstream_closed"] > 5, got
    assert set(got) <= {"whole", "cut", "left", *REASONS}, got
    assert route.proxy.metrics()("remora_events_total", event="retried") > 0
    assert min(babbler.did.values()) > 3, babbler.did
    assert route.proxy.private_bytes() < 120 * MIB
