"""How the proxy labels a connection by what was said first: asked of the operator socket."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.support.rig import Pair, Route
from tests.support.sockets import address_of, receive_exactly, written
from tests.support.waiting import eventually


class Label(NamedTuple):
    """What is known of a live connection."""

    protocol: str
    speaker: str
    sni: str = ""


def row_of(route: Route, pair: Pair) -> dict[str, Any] | None:
    """Return the proxy's row of this connection, found by the downstream's own address."""
    address = written(address_of(pair.downstream))
    rows = route.proxy.connections()
    return next((row for row in rows if row["downstream"] == address), None)


def label_of(route: Route, pair: Pair) -> Label:
    """Wait until the connection is labelled, and return the label."""

    def known() -> Label | None:
        row = row_of(route, pair)
        if row is None or row["protocol"] == "pending":
            return None
        return Label(row["protocol"], row["speaker"], row["sni"])

    label = eventually("the connection to be labelled", known)
    assert label
    return label


def label_after(route: Route, pieces: Sequence[bytes]) -> Label:
    """Say `pieces` as a downstream, each after the one before has arrived; return the label."""
    pair = route.pair()
    with pair.downstream, pair.upstream:
        for piece in pieces:
            pair.downstream.sendall(piece)
            assert receive_exactly(pair.upstream, len(piece)) == piece
        return label_of(route, pair)


def is_pending(route: Route, pair: Pair) -> bool:
    row = row_of(route, pair)
    assert row
    return bool(row["protocol"] == "pending")


def in_bytes(text: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in text]


def in_two(text: bytes) -> list[list[bytes]]:
    """Every way to cut `text` into two pieces."""
    return [[text[:cut], text[cut:]] for cut in range(1, len(text))]
