"""What one request leaves to the next: room, the connection it came by, the state of endpoints."""

from typing import Final

from tests.support.http import Stream, request, response
from tests.support.services import EAGER, NEVER_OUT, Backend, Cluster, Try
from tests.support.sockets import reset
from tests.support.traffic import Object, route, rule, service, to
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


# ---- copies -------------------------------------------------------------------------------------


def test_copies_that_nobody_answers_leave_room_for_users(cluster: Cluster) -> None:
    cluster.service("web", 1)
    cluster.service("shadow", 1)
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": to("shadow")}}
    cluster.add(route("copied", rule(to("web"), filters=[mirror])))
    cluster.start("--connections-max", "16")
    for number in range(6):
        cluster.served(request(f"/{number}", CLOSE))
    metrics = cluster.proxy.metrics()
    assert metrics("remora_events_total", event="mirrored") == 2
    assert metrics("remora_events_total", event="mirror_dropped") == 4


# ---- who waits for room -------------------------------------------------------------------------


def test_who_waits_is_served_when_another_endpoint_makes_room(cluster: Cluster) -> None:
    """The most connections are those of the service: whichever closes, there is room."""
    two: Object = {"connectionPool": {"tcp": {"maxConnections": 2}}, "loadBalancer": BY_USER}
    policy = {"outlierDetection": NEVER_OUT} | two
    backend = web(cluster, 2, "--connect-timeout", "10m", policy=policy)
    users: dict[int, str] = {}
    for number in range(100):
        user = f"x-user: u{number}"
        users.setdefault(served(cluster, request("/", user, CLOSE)), user)
        if len(users) == len(backend.listeners):
            break
    eventually("an end", lambda: cluster.proxy.live()["upstreams"] == 0)
    _, kept = begun(cluster, backend, request("/kept", users[0]))
    leaving, _ = begun(cluster, backend, request("/leaving", users[1]))
    late = cluster.connect()
    late.send(request("/late", users[0]))
    waits(cluster)
    reset(leaving.sock)
    up = backend.accept_at(kept.number)
    assert up.request().line == b"GET /late HTTP/1.1"
    up.send(response(b"late"))
    assert late.response().body == b"late"


def test_who_waits_is_served_when_a_change_of_limits_makes_room(cluster: Cluster) -> None:
    pool: dict[str, int] = {"maxConnections": 1}
    policy: Object = {"outlierDetection": NEVER_OUT, "connectionPool": {"tcp": pool}}
    backend = web(cluster, 1, "--connect-timeout", "10m", policy=policy)
    begun(cluster, backend, request("/1"))
    late = cluster.connect()
    late.send(request("/2"))
    waits(cluster)
    pool["maxConnections"] = 2
    cluster.reload()
    assert backend.accept().request().line == b"GET /2 HTTP/1.1"


# ---- what changes while a connection is kept ----------------------------------------------------


def test_a_connection_to_a_service_that_is_gone_reaches_none_of_its_endpoints(
    cluster: Cluster,
) -> None:
    """It goes where it meant to go: the address of an endpoint may be another pod's by now."""
    backend = web(cluster, policy={"outlierDetection": NEVER_OUT})
    down, up = begun(cluster, backend, request("/1"))
    up.send(response(b"1"))
    assert down.response().body == b"1"
    cluster.objects = [service("other", "127.1.0.99")]
    cluster.slices = {}
    cluster.reload()
    down.send(request("/2"))
    assert down.response().get(b"remora-error") == b"connect_failed"
    backend.expect_no_more()


def test_an_endpoint_that_comes_back_with_a_tunnel_gets_requests_meanwhile(
    cluster: Cluster,
) -> None:
    """The tunnel may live for hours; that it was agreed to shows what the endpoint can do."""
    out: Object = {
        "consecutive5xxErrors": 1,
        "baseEjectionTime": "300ms",
        "maxEjectionPercent": 100,
    }
    policy: Object = {"outlierDetection": out, "loadBalancer": BY_USER}
    backend = web(cluster, 2, policy=policy, **{"retry-attempts": "0"})
    user = "x-user: somebody"
    down, sick = begun(cluster, backend, request("/", user))
    sick.send(response(b"sick", CLOSE, status="500 Sick"))
    assert down.response().status == 500

    def is_back() -> bool:
        down, up = begun(cluster, backend, request("/", user, *UPGRADE))
        if up.number != sick.number:
            up.send(response(b"no", CLOSE))
            return down.response().body != b"no"
        up.send(response(None, *UPGRADE, status="101 Switching Protocols"))
        down.until(b"\r\n\r\n")
        return True

    eventually("it to come back", is_back)
    assert served(cluster, request("/", user)) == sick.number
