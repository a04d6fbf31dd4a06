"""What is said of a connection that ends before its first bytes told what it is."""

from collections.abc import Iterator

import pytest

from proxy._fastpath import Connection
from tests.support.hellos import hello, server_name
from tests.support.rig import Rig
from tests.support.sockets import reset
from tests.support.stepper import Stepper

NAME = "shop.example.org"


@pytest.fixture
def stepper(rig: Rig) -> Iterator[Stepper]:
    made = Stepper(rig)
    made.engine.record_connections(True)  # noqa: FBT003 - as the data plane has it
    yield made
    made.engine.stop()


def record_after_reset(stepper: Stepper, said: bytes) -> Connection:
    pair = stepper.pair()
    if said:
        pair.downstream.sendall(said)
        stepper.settle()
    reset(pair.upstream)
    stepper.settle()
    (record,) = stepper.engine.read_records(10)
    return record


def test_a_connection_on_which_nobody_spoke_has_no_protocol(stepper: Stepper) -> None:
    record = record_after_reset(stepper, b"")
    assert (record.protocol, record.speaker) == ("none", "none")


def test_a_connection_on_which_somebody_spoke_has_one(stepper: Stepper) -> None:
    record = record_after_reset(stepper, b"GE")
    assert (record.protocol, record.speaker) == ("opaque", "downstream")


def test_half_of_a_server_name_is_not_recorded(stepper: Stepper) -> None:
    text = hello([server_name(NAME.encode())])
    pair = stepper.pair()
    pair.downstream.sendall(text[: text.index(NAME.encode()) + 4])
    stepper.settle()
    pair.upstream.sendall(b"what?")
    stepper.settle()
    (row,) = stepper.rows()
    assert (row.protocol, row.sni) == ("tls", "")
