"""The upstream is dialled while the downstream is read: whoever speaks first is heard at once."""

import pytest

from tests.support.rig import Pair, Route
from tests.support.sockets import expect_silence, receive_exactly
from tests.support.waiting import eventually


def label(route: Route) -> tuple[str, str]:
    """(speaker, protocol) of the one open connection, once it is known."""

    def known() -> tuple[str, str] | None:
        row = route.proxy.connections()[0]
        return (row["speaker"], row["protocol"]) if row["protocol"] != "pending" else None

    found = eventually("the protocol to be known", known)
    assert found
    return found


def test_the_upstream_is_reached_before_the_downstream_has_said_a_word(route: Route) -> None:
    route.connect()
    route.accept()


def test_a_greeting_of_the_upstream_reaches_a_silent_downstream(pair: Pair) -> None:
    pair.upstream.sendall(b"220 mail.example ESMTP\r\n")
    assert receive_exactly(pair.downstream, 24) == b"220 mail.example ESMTP\r\n"


def test_an_upstream_that_speaks_first_is_the_speaker_and_opaque(route: Route) -> None:
    pair = route.pair()
    pair.upstream.sendall(b"220 mail.example ESMTP\r\n")
    receive_exactly(pair.downstream, 24)
    pair.downstream.sendall(b"EHLO here\r\n")
    receive_exactly(pair.upstream, 11)
    assert label(route) == ("upstream", "opaque")


def test_a_downstream_that_speaks_first_is_the_speaker(route: Route) -> None:
    pair = route.pair()
    pair.downstream.sendall(b"\x00\x01\x02")
    receive_exactly(pair.upstream, 3)
    assert label(route) == ("downstream", "opaque")


def test_both_may_speak_first_and_both_are_heard(pair: Pair) -> None:
    pair.downstream.sendall(b"SSH-2.0-down\r\n")
    pair.upstream.sendall(b"SSH-2.0-up\r\n")
    assert receive_exactly(pair.upstream, 14) == b"SSH-2.0-down\r\n"
    assert receive_exactly(pair.downstream, 12) == b"SSH-2.0-up\r\n"


@pytest.mark.parametrize("first", ["downstream", "upstream"])
def test_long_silence_before_the_first_word_costs_nothing(route: Route, first: str) -> None:
    pair = route.pair()
    expect_silence(pair.upstream, 0.5)
    source, target = pair if first == "downstream" else reversed(pair)
    source.sendall(b"at last")
    assert receive_exactly(target, 7) == b"at last"


def test_words_sent_while_the_upstream_is_dialled_arrive(route: Route) -> None:
    """Nobody has accepted yet: the words wait in the upstream's kernel, not at the downstream."""
    downstream = route.connect()
    downstream.sendall(b"early")
    assert receive_exactly(route.accept(), 5) == b"early"
