"""Tries of a request as the endpoints of a service see them: how they fail, what comes again."""

from collections.abc import Callable
from typing import Final

import pytest

from tests.support.http import Stream, response
from tests.support.services import EAGER, NEVER_OUT, Backend, Cluster, Try
from tests.support.sockets import reset

IDEMPOTENT: Final = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
OTHERS: Final = ("POST", "PATCH", "BREW")
PLAIN: Final = "--no-http-request-ids"  # the proxy adds nothing
CLOSE: Final = "Connection: close"


def eager(
    cluster: Cluster, count: int = 2, *, codes: str = "", attempts: int = 2, **annotations: str
) -> Backend:
    """Start a proxy with a service whose retries come at once and cost nothing."""
    said = EAGER | {"retry-attempts": str(attempts)} | ({"retry-codes": codes} if codes else {})
    said |= {name.replace("_", "-"): text for name, text in annotations.items()}
    made = cluster.service("web", count, policy={"outlierDetection": NEVER_OUT}, annotations=said)
    cluster.start(PLAIN)
    return made


def again(text: bytes, count: int = 2) -> bytes:
    """Return the request as the try of that number gets it."""
    head, end, body = text.partition(b"\r\n\r\n")
    return head + b"\r\nremora-attempt-count: %d" % count + end + body


def fin(up: Try) -> None:
    up.sock.close()


ENDINGS: Final[dict[str, Callable[[Try], None]]] = {"fin": fin, "reset": lambda up: reset(up.sock)}
ending = pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())


def answer(up: Try, body: bytes = b"ok", *fields: str, status: str = "200 OK") -> None:
    up.send(response(body, CLOSE, *fields, status=status))


def failed(down: Stream, word: bytes = b"upstream_closed") -> None:
    assert down.response().get(b"remora-error") == word
