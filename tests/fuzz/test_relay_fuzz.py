"""Two peers do anything, in any order, between any two ticks; each must learn what the other did.

The model is what the kernel does for two peers without a proxy, but for one freedom: a reset may
overtake bytes that were still on their way.
"""

import random
import select
import socket
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.support.ends import End
from tests.support.sockets import reset
from tests.support.stepper import Stepper

SCRIPTS = 150
STEPS_MAX = 25
# From a message to what takes several turns of a flow and goes by splice.
SIZES = (1, 100, 5_000, 32_768, 70_000, 400_000)
ACTIONS = ("send", "read", "send_urgent", "end", "reset")
WEIGHTS = (10, 6, 1, 1.5, 0.7)


@dataclass
class Peer(End):
    """One end of the connection, and what it did and saw."""

    dice: random.Random = field(default_factory=random.Random)
    sent: bytearray = field(default_factory=bytearray)
    has_ended: bool = False
    has_reset: bool = False

    @property
    def may_send(self) -> bool:
        return not (self.has_ended or self.has_reset or self.saw_error)

    def send(self) -> None:
        self._send(self.dice.randbytes(self.dice.choice(SIZES)))

    def send_urgent(self) -> None:
        self._send(b"!", socket.MSG_OOB)

    def _send(self, text: bytes, flags: int = 0) -> None:
        if self.may_send:
            try:
                self.sent += text[: self.sock.send(text, flags)]
            except ConnectionError:
                # The kernel tells it once: reading would see an end now.
                self.is_over = self.saw_error = True
            except BlockingIOError:
                pass

    def read(self) -> None:
        self.hear()

    def end(self) -> None:
        if self.may_send:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
                self.has_ended = True

    def reset(self) -> None:
        if not self.has_reset:
            self.is_over = self.has_reset = True
            reset(self.sock)

    def is_dead(self) -> bool:
        """Whether the kernel calls the connection broken, seen or not."""
        poll = select.poll()
        poll.register(self.sock, 0)
        return self.saw_error or bool(poll.poll(0))


def play(stepper: Stepper, dice: random.Random) -> tuple[Peer, Peer, list[str]]:
    """Let two peers act at random, then let everything that is on its way arrive."""
    pair = stepper.pair()
    downstream, upstream = (Peer(sock, dice=dice) for sock in pair)
    script = []
    for _ in range(dice.randrange(1, STEPS_MAX)):
        name = dice.choice(("downstream", "upstream"))
        action = dice.choices(ACTIONS, WEIGHTS)[0]
        script.append(f"{name}.{action}")
        getattr(downstream if name == "downstream" else upstream, action)()
        if dice.random() < 0.6:
            script.append("tick")
            stepper.tick()
    peers = (downstream, upstream)
    stepper.settle_with(lambda: sum(peer.hear() for peer in peers) > 0)
    return downstream, upstream, script


def faults(peer: Peer, other: Peer) -> list[str]:
    """What is wrong with what `peer` saw of what `other` did."""
    wrong = {
        "bytes that were never sent": not other.sent.startswith(peer.heard),
        "an end that was never sent": peer.saw_end and not other.has_ended,
        "an end before all bytes": peer.saw_end and peer.heard != other.sent,
    }
    # Both ends may have passed before a reset came: then the connection was over in good order.
    is_over = peer.saw_end and peer.has_ended
    if not peer.has_reset and other.has_reset:
        wrong["not told of the reset"] = not (peer.is_dead() or is_over)
    elif not peer.has_reset:
        wrong["bytes lost"] = peer.heard != other.sent
        wrong["not told of the end"] = other.has_ended and not peer.saw_end
        wrong["a reset by nobody"] = peer.is_dead() and not is_over
    return [text for text, is_wrong in wrong.items() if is_wrong]


@pytest.mark.parametrize("seed", range(4))
def test_each_peer_learns_what_the_other_did_and_nothing_else(stepper: Stepper, seed: int) -> None:
    for number in range(SCRIPTS):
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - not a secret
        downstream, upstream, script = play(stepper, dice)
        assert not faults(downstream, upstream), " ".join(script)
        assert not faults(upstream, downstream), " ".join(script)
        for peer in (downstream, upstream):
            peer.reset()
        stepper.settle()
        assert stepper.live()["connections"] == 0
    held = {kind: count for kind, count in stepper.live().items() if count}
    assert held == {"listeners": 1}
