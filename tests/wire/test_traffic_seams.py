"""What one request leaves to the next: room, the connection it came by, the state of endpoints."""

from typing import Final

from tests.support.http import Stream, request, response
from tests.support.services import EAGER, NEVER_OUT, Backend, Cluster, Try
from tests.support.sockets import reset
from tests.support.traffic import Object, service
from tests.support.waiting import eventually

CLOSE: Final = "Connection: close"
WAITING: Final = "remora_http_pool_waiting_requests"
BY_USER: Final[Object] = {"consistentHash": {"httpHeaderName": "x-user"}}
UPGRADE: Final = ("Connection: Upgrade", "Upgrade: chat")


def web(
    cluster: Cluster, count: int = 1, *flags: str, policy: Object, **annotations: str
) -> Backend:
    """Whatever is dialled at accept is of the first request: the service speaks HTTP then."""
    backend = cluster.service("web", count, policy=policy, annotations=EAGER | annotations)
    cluster.start(*flags)
    cluster.served(request("/first", CLOSE))
    return backend


def waits(cluster: Cluster, count: int = 1) -> None:
    eventually("the wait", lambda: cluster.proxy.metrics()(WAITING) == count)


def begun(cluster: Cluster, backend: Backend, text: bytes) -> tuple[Stream, Try]:
    down = cluster.connect()
    down.send(text)
    up = backend.accept()
    up.request()
    return down, up


def served(cluster: Cluster, text: bytes) -> int:
    return cluster.served(text)[1]


# ---- requests that are here already -------------------------------------------------------------


def test_a_pipelined_request_is_read_when_the_deadline_answers_the_one_before(
    cluster: Cluster,
) -> None:
    """Its bytes came long ago: no event will tell of them."""
    backend = web(cluster, policy={"outlierDetection": NEVER_OUT}, timeout="250ms")
    down = cluster.connect()
    down.send(request("/1") + request("/2"))
    for number in (1, 2):
        up = backend.accept()
        assert up.request().line == b"GET /%d HTTP/1.1" % number
        assert down.response().get(b"remora-error") == b"request_deadline"
