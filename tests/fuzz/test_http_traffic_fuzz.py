"""Downstreams and upstreams do anything between any two ticks; no exchange gets another's bytes.

The engine runs on this thread, so a seed gives the same interleaving again: requests and answers
cut anywhere, pipelines, early answers, ends and resets, words on idle connections, and all of it
met by the worker in one look or in many. Where nobody misbehaves, every request is answered, whole.
"""

import random
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.support.ends import End
from tests.support.http import END, Message, Said, chunked, request, response
from tests.support.sockets import reset
from tests.support.stepper import Stepper

SCRIPTS = 60
STEPS_MAX = 120
DOWNSTREAMS_MAX = 4
SIZES = (0, 1, 50, 3_000, 20_000, 90_000)
STRAY = b"<stray>" * 9
# Answers of the proxy's own that a misbehaving peer may bring about.
REASONS = {b"upstream_closed", b"response_malformed", b"connect_failed", b"queue_timeout"}
Dice = random.Random


def body_of(name: str, size: int) -> bytes:
    mark = f"<{name}>".encode()
    return mark * (size // len(mark) + 1)


def is_of(name: str, body: bytes) -> bool:
    return set(re.findall(rb"<[^>]*>", body)) == {f"<{name}>".encode()} and body.endswith(b">")


@dataclass
class Down(End):
    """A downstream, and what it asked: (name, method) in order."""

    asked: list[tuple[str, str]] = field(default_factory=list)

    def answers(self) -> list[Message]:
        said = Said(bytes(self.heard))
        found = []
        with suppress(AssertionError):
            for _, method in self.asked:
                found.append(said.response(method))
        return found


@dataclass
class Up(End):
    """A connection to the upstream; deaf once it answered before it knew where the request ends."""

    is_deaf: bool = False


class Play:
    """A script in the making: everybody who takes part, and what was done."""

    def __init__(self, stepper: Stepper, dice: Dice, *, is_kind: bool) -> None:
        self.stepper = stepper
        self.dice = dice
        self.is_kind = is_kind
        self.downs: list[Down] = []
        self.ups: list[Up] = []
        self.faults: list[str] = []
        self.asked_count = 0

    # ---- what may happen -------------------------------------------------------------------------

    def step(self) -> None:
        acts = [self.connect, self.ask, self.ask, self.talk, self.talk, self.serve, self.serve]
        if not self.is_kind and self.dice.random() < 0.12:
            acts = [self.leave, self.stray, self.half_close]
        self.dice.choice(acts)()
        if self.dice.random() < 0.5:
            self.stepper.tick()

    def connect(self) -> None:
        if len(self.downs) < DOWNSTREAMS_MAX:
            self.downs.append(Down(self.stepper.connect()))

    def ask(self) -> None:
        if not self.downs:
            return
        down = self.dice.choice(self.downs)
        self.asked_count += 1
        name = f"n{self.asked_count}"
        method = self.dice.choice(("GET", "GET", "HEAD", "POST", "PUT"))
        manner = self.dice.choice(("plain", "chunks", "early"))
        target = f"/{name}/{self.dice.choice(SIZES)}/{manner}"
        down.asked.append((name, method))
        down.to_say += self.spelled(name, method, target)

    def spelled(self, name: str, method: str, target: str) -> bytes:
        if method in {"GET", "HEAD"}:
            return request(target, method=method)
        body = body_of(name, self.dice.choice(SIZES))
        if self.dice.random() < 0.5:
            return request(target, method=method, body=body)
        head = request(target, "Transfer-Encoding: chunked", method=method)
        return head + chunked(body[:100], body[100:] or b"<" + name.encode() + b">")

    def talk(self) -> None:
        ends = [*self.downs, *self.ups]
        if ends:
            end = self.dice.choice(ends)
            end.say(self.dice.choice((1, 10, 100, 5_000, 1 << 20)))
            end.hear()

    def serve(self) -> None:
        """Accept whoever waits; answer what was asked in whole, or before it was whole."""
        with suppress(TimeoutError, BlockingIOError):
            self.stepper.upstream.settimeout(0)
            sock, _ = self.stepper.upstream.accept()
            # Or the kernel would hold bytes back, and an end that has not come looks like none.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.ups.append(Up(self.stepper.rig.keep(sock)))
        for up in self.ups:
            up.hear()
            while self.serve_one(up):
                pass

    def serve_one(self, up: Up) -> bool:
        if up.is_deaf:
            return False
        said = Said(bytes(up.heard))
        try:
            head = said.head()
        except AssertionError:
            return False
        _, name, size, manner = head.line.split(b" ")[1].decode().split("/")
        try:
            asked = said._with_body(head)
        except AssertionError:
            if manner != "early" or self.is_kind:
                return False
            up.to_say += response(body_of(name, int(size)))
            up.is_deaf = True
            return False
        if asked.body and not is_of(name, asked.body):
            self.faults.append(f"{name} came with {asked.body[:99]!r}")
        del up.heard[: len(up.heard) - len(said.rest())]
        answer = self.answer(name, int(size), manner)
        is_head = head.line.startswith(b"HEAD ")
        up.to_say += answer[: answer.index(END) + len(END)] if is_head else answer
        return True

    def answer(self, name: str, size: int, manner: str) -> bytes:
        body = body_of(name, size)
        if manner != "chunks":
            return response(body)
        return response(None, "Transfer-Encoding: chunked") + chunked(body[:77], body[77:] or b"<")

    # ---- misbehaviour ----------------------------------------------------------------------------

    def leave(self) -> None:
        ends = [*self.downs, *self.ups]
        if ends:
            self.dice.choice(ends).leave(self.dice)

    def stray(self) -> None:
        idle = [up for up in self.ups if not up.to_say and not up.heard]
        if idle:
            self.dice.choice(idle).to_say += STRAY

    def half_close(self) -> None:
        live = [down for down in self.downs if not down.is_over and not down.to_say]
        if live:
            with suppress(OSError):
                self.dice.choice(live).sock.shutdown(socket.SHUT_WR)

    # ---- the end ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everybody says what is left, and hears what there is to hear."""
        self.stepper.settle_with(self.move)

    def move(self) -> bool:
        self.serve()
        ends = [*self.downs, *self.ups]
        return sum(end.say(1 << 20) | end.hear() for end in ends) > 0

    def check(self) -> None:
        assert not self.faults, self.faults
        for down in self.downs:
            answers = down.answers()
            for (name, method), answered in zip(down.asked, answers, strict=False):
                reason = answered.get(b"remora-error")
                if reason is not None:
                    assert not self.is_kind, (name, reason)
                    assert reason in REASONS, (name, reason)
                elif method != "HEAD":
                    assert is_of(name, answered.body.rstrip(b"<")), (name, answered.body[:200])
            if self.is_kind:
                assert len(answers) == len(down.asked), (len(answers), down.asked)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_kind", [True, False], ids=["kind", "rude"])
def test_every_exchange_gets_its_own_bytes(stepper: Stepper, seed: int, is_kind: object) -> None:
    for number in range(SCRIPTS):
        dice = Dice(f"{seed}/{number}")
        few = dice.choice((1, 2, 99))
        stepper.publish(3 + number, splice=dice.randrange(2), pool_connections_max=few)
        play = Play(stepper, dice, is_kind=bool(is_kind))
        for _ in range(dice.randrange(10, STEPS_MAX)):
            play.step()
        play.settle()
        try:
            play.check()
        except AssertionError as fault:
            raise AssertionError(f"seed {seed}/{number}") from fault
        for end in (*play.downs, *play.ups):
            if end.sock.fileno() >= 0:
                reset(end.sock)
        stepper.settle()
        live = stepper.live()
        assert live["connections"] == live["exchanges"] == live["buffers"] == live["pipes"] == 0
