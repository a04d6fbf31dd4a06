"""Limits, breakers and faults: what is above them is told so, and nothing else suffers."""

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support import tls
from tests.support.http import Message, Stream, request, response
from tests.support.mtls import MeshKit, door_of
from tests.support.policy import Manifests
from tests.support.rig import Rig, Route
from tests.support.services import EAGER, NEVER_OUT, PORT, Backend, Cluster, Try
from tests.support.sockets import address_of, reset, written
from tests.support.svids import GOOD
from tests.support.tls import TlsEnd
from tests.support.traffic import Object, endpoint, endpoints, route, rule, service, to
from tests.support.waiting import eventually

CLOSE: Final = "Connection: close"
WAITING: Final = "remora_http_pool_waiting_requests"


def web(
    cluster: Cluster,
    count: int = 1,
    *,
    http: Object | None = None,
    tcp: Object | None = None,
    out: Object | None = None,
    **annotations: str,
) -> Backend:
    said = EAGER | {name.replace("_", "-"): text for name, text in annotations.items()}
    pool = {"connectionPool": {"http": http or {}, "tcp": tcp or {}}}
    policy: Object = pool | {"outlierDetection": out or NEVER_OUT}
    backend = cluster.service("web", count, policy=policy, annotations=said)
    cluster.start()
    return backend


def begin(cluster: Cluster, backend: Backend, text: bytes = b"") -> tuple[Stream, Try]:
    """Send a request that an endpoint has, and has not answered."""
    down = cluster.connect()
    down.send(text or request("/"))
    up = backend.accept()
    up.request()
    return down, up


def end(down: Stream, up: Stream, body: bytes = b"ok") -> None:
    up.send(response(body))
    assert down.response().body == body


def refused(cluster: Cluster, status: int, word: bytes, text: bytes = b"") -> None:
    answered = cluster.ask(text or request("/"))
    assert (answered.status, answered.get(b"remora-error")) == (status, word)


# ---- connection pools ---------------------------------------------------------------------------


def test_requests_above_the_most_at_a_time_are_refused(cluster: Cluster) -> None:
    backend = web(cluster, http={"http2MaxRequests": 2})
    running = [begin(cluster, backend) for _ in range(2)]
    refused(cluster, 503, b"too_many_requests")
    assert (cluster.ended(503, "UO"), cluster.event("overflow_requests")) == (1, 1)
    for down, up in running:
        end(down, up)
    down = cluster.connect()
    down.send(request("/again"))
    ups = [up for _, up in running]
    assert Stream(readable(ups).sock).request().line == b"GET /again HTTP/1.1"


def readable(ups: list[Try]) -> Try:
    """Return the one that has something to read."""

    def found() -> Try | None:
        for up in ups:
            up.sock.settimeout(0)
            try:
                if up.sock.recv(1, 2):  # MSG_PEEK
                    return up
            except BlockingIOError:
                pass
            finally:
                up.sock.settimeout(20)
        return None

    up = eventually("a request", found)
    assert up
    return up


@pytest.mark.parametrize("ending", ["cut", "refused", "abandoned", "answered"])
def test_however_a_request_ends_it_makes_room(cluster: Cluster, ending: str) -> None:
    backend = web(cluster, http={"http2MaxRequests": 1}, retry_attempts="1")
    for number in range(3):
        down, up = begin(cluster, backend, request(f"/{number}", method="POST"))
        refused(cluster, 503, b"too_many_requests")
        if ending == "cut":
            up.send(response(b"0123456789")[:-5])
            down.until(b"01234")
            reset(up.sock)
        elif ending == "refused":
            up.sock.close()
            assert down.response().status == 503
        elif ending == "abandoned":
            reset(down.sock)
        else:
            up.send(response(b"ok", CLOSE))
            assert down.response().body == b"ok"
        eventually("its end", lambda: cluster.proxy.live()["exchanges"] == 0)


def test_connections_have_a_limit_and_requests_wait_for_them_in_line(cluster: Cluster) -> None:
    backend = web(cluster, tcp={"maxConnections": 2})
    running = [begin(cluster, backend) for _ in range(2)]
    late = []
    for number in range(3):
        late.append(cluster.connect())
        late[-1].send(request(f"/{number}"))
        eventually("the wait", lambda: cluster.proxy.metrics()(WAITING) == number + 1)  # noqa: B023
    backend.expect_no_more()
    end(*running[0])
    up = running[0][1]
    for number, down in enumerate(late):
        assert up.request().line == f"GET /{number} HTTP/1.1".encode()
        end(down, up)
    end(*running[1])
    backend.expect_no_more()


def both_busy(cluster: Cluster) -> list[tuple[Stream, Try]]:
    """Have a request under way at each of two endpoints, which may have one connection each."""
    backend = web(cluster, 2, tcp={"maxConnections": 1})
    pairs: dict[int, tuple[Stream, Try]] = {}
    while len(pairs) < 2:
        down = cluster.connect()
        down.send(request("/busy"))
        up = backend.accept()
        up.request()
        if up.number in pairs:
            up.send(response(b"", CLOSE))
            down.response()
        else:
            pairs[up.number] = (down, up)
    return [pairs[0], pairs[1]]


@pytest.mark.parametrize("free", [0, 1])
def test_an_idle_connection_serves_whoever_would_wait_for_another_endpoint(
    cluster: Cluster, free: int
) -> None:
    pairs = both_busy(cluster)
    down, up = pairs[free]
    end(down, up)
    for number in range(10):
        down.send(request(f"/{number}"))
        assert up.request().line == f"GET /{number} HTTP/1.1".encode()
        end(down, up)


@pytest.mark.parametrize("free", [0, 1])
def test_whoever_waits_gets_the_connection_that_is_free_first(cluster: Cluster, free: int) -> None:
    pairs = both_busy(cluster)
    down, up = pairs[free]
    late = [cluster.connect() for _ in range(6)]
    for number, each in enumerate(late):
        each.send(request("/late"))
        eventually("the wait", lambda: cluster.proxy.metrics()(WAITING) == number + 1)  # noqa: B023
    end(down, up)
    for _ in late:
        assert up.request().line == b"GET /late HTTP/1.1"
        up.send(response(b"ok"))
    for each in late:
        assert each.response().body == b"ok"


def test_a_connection_that_fails_makes_room_for_who_waits(cluster: Cluster) -> None:
    backend = web(cluster, tcp={"maxConnections": 1})
    down, up = begin(cluster, backend, request("/", method="POST"))
    late = cluster.connect()
    late.send(request("/late"))
    eventually("the wait", lambda: cluster.proxy.metrics()(WAITING) == 1)
    up.sock.close()
    assert down.response().status == 503
    fresh = backend.accept()
    assert fresh.request().line == b"GET /late HTTP/1.1"
    end(late, fresh)


def test_a_queue_that_is_full_refuses(cluster: Cluster) -> None:
    backend = web(cluster, tcp={"maxConnections": 1}, http={"http1MaxPendingRequests": 1})
    down, up = begin(cluster, backend)
    late = cluster.connect()
    late.send(request("/late"))
    eventually("the wait", lambda: cluster.proxy.metrics()(WAITING) == 1)
    refused(cluster, 503, b"queue_full")
    assert (cluster.ended(503, "UO"), cluster.event("overflow_pending")) == (1, 1)
    reset(late.sock)
    eventually("an empty queue", lambda: cluster.proxy.metrics()(WAITING) == 0)
    late = cluster.connect()
    late.send(request("/later"))
    eventually("the wait", lambda: cluster.proxy.metrics()(WAITING) == 1)
    end(down, up)
    assert up.request().line == b"GET /later HTTP/1.1"
    end(late, up)


def test_a_retry_that_must_wait_for_a_connection_is_byte_for_byte_the_same(
    cluster: Cluster,
) -> None:
    """Each endpoint may have one in any case, and the other one's is busy."""
    backend = web(cluster, 2, tcp={"maxConnections": 1})
    text = request("/put", method="PUT", body=b"b" * 5_000)
    down, up = begin(cluster, backend, text)
    other = cluster.connect()
    while True:
        other.send(request("/block"))
        blocking = backend.accept()
        blocking.request()
        if blocking.number != up.number:
            break
        blocking.send(response(b"", CLOSE))
        other.response()
    up.sock.close()
    eventually("the wait", lambda: cluster.proxy.metrics()(WAITING) == 1)
    end(other, blocking)
    asked = blocking.request()
    assert (asked.line, asked.body) == (b"PUT /put HTTP/1.1", b"b" * 5_000)
    assert asked.get(b"remora-attempt-count") == b"2"
    end(down, blocking)


def test_a_connection_serves_as_many_requests_as_it_may(cluster: Cluster) -> None:
    backend = web(cluster, http={"maxRequestsPerConnection": 3})
    down = cluster.connect()
    for _ in range(3):
        down.send(request("/"))
        up = backend.accept()
        for _ in range(2):
            up.request()
            end(down, up)
            down.send(request("/"))
        up.request()
        end(down, up)
        up.expect_end()


def test_retries_have_a_limit_of_their_own(cluster: Cluster) -> None:
    backend = web(cluster, 1, http={"maxRetries": 1}, retry_backoff="10ms")
    down, up = begin(cluster, backend)
    up.sock.close()
    again = backend.accept()
    again.request()  # a retry is under way
    other, up = begin(cluster, backend)
    up.sock.close()
    assert other.response().get(b"remora-error") == b"upstream_closed"
    assert cluster.event("retry_limit") == 1
    end(down, again)


# ---- rates --------------------------------------------------------------------------------------


def test_a_route_has_a_rate_and_tells_when_to_come_again(cluster: Cluster) -> None:
    backend = cluster.service("web", 1)
    limit = {"rate-limit": "1/m burst=2"}
    slow = route("r", rule(to("web"), path="/slow"), annotations=limit)
    cluster.add(slow, route("s", rule(to("web"), path="/fast")))
    cluster.start()
    for _ in range(2):
        cluster.served(request("/slow"))
    down = cluster.connect()
    down.send(request("/slow"))
    answered = down.response()
    assert (answered.status, answered.get(b"remora-error")) == (429, b"rate_limited")
    assert 50 < int(answered.get(b"retry-after") or b"0") <= 60
    assert (cluster.ended(429, "RL"), cluster.event("rate_limited")) == (1, 1)
    down.send(request("/fast"))
    up = backend.accept()
    up.request()
    end(down, up)


class Own:
    """A proxy at whose door the requests for its own pod come in; the test is the application."""

    def __init__(self, rig: Rig, folder: Path, *flags: str, **annotations: str) -> None:
        self.rig = rig
        self.app = rig.listen("127.2.9.1")
        host, port = address_of(self.app)
        said = {name.replace("_", "-"): text for name, text in annotations.items()}
        manifests = Manifests(folder)
        behind = endpoints("web", endpoint(host), ports=(port,))
        manifests.write(service("web", "127.1.9.1", ports=(PORT,), annotations=said), behind)
        self.where = ("--manifests", str(folder), "--namespace", "shop", "--workers", "1", *flags)
        self.route: Route | None = None

    def start(self) -> "Own":
        listen = f"127.0.0.1:0={written(address_of(self.app))}"
        proxy = self.rig.start("--no-interception", "--listen-inbound", listen, *self.where)
        self.route = Route(self.rig, proxy, proxy.listeners("explicit")[0], self.app)
        return self

    def begin(self) -> tuple[Stream, Stream]:
        assert self.route
        down = Stream(self.route.connect())
        down.send(request("/"))
        up = Stream(self.route.accept())
        up.request()
        return down, up

    def ask(self) -> Message:
        assert self.route
        down = Stream(self.route.connect())
        down.send(request("/"))
        return down.response()


def test_what_comes_in_to_our_own_pod_has_a_rate(rig: Rig, tmp_path: Path) -> None:
    own = Own(rig, tmp_path, rate_limit="1/m burst=2").start()
    for _ in range(2):
        down, up = own.begin()
        up.send(response(b"ok", CLOSE))
        assert down.response().body == b"ok"
    answered = own.ask()
    assert (answered.status, answered.get(b"remora-error")) == (429, b"rate_limited")
    assert 50 < int(answered.get(b"retry-after") or b"0") <= 60


def test_what_our_own_pod_cannot_carry_is_shed(rig: Rig, tmp_path: Path) -> None:
    own = Own(rig, tmp_path, concurrency_limit="2").start()
    running = [own.begin() for _ in range(2)]
    for _ in range(3):
        answered = own.ask()
        assert (answered.status, answered.get(b"remora-error")) == (503, b"overloaded")
    for down, up in running:
        up.send(response(b"ok", CLOSE))
        assert down.response().body == b"ok"
    down, up = own.begin()
    reset(down.sock)
    assert own.route
    live = own.route.proxy.live
    eventually("its end", lambda: live()["exchanges"] == 0)
    for down, up in [own.begin() for _ in range(2)]:
        up.send(response(b"ok", CLOSE))
        assert down.response().body == b"ok"


def test_each_identity_has_a_rate_of_its_own(kit: MeshKit, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    own = Own(kit.rig, folder, peer_rate_limit="1/m burst=1")
    proxy = kit.far(address_of(own.app), *own.where)
    shapes = (GOOD, GOOD.but(uris=("spiffe://cluster.local/ns/other/sa/other",)))
    for shape in shapes:
        for status in (200, 429, 429):  # each time with another certificate
            sock = kit.rig.connect(door_of(proxy))
            down = TlsEnd(sock, tls.context(kit.svid(shape)), alpn=tls.ALPN_HTTP).shake()
            down.sendall(request("/", CLOSE))
            if status == 200:
                up = Stream(kit.rig.keep(own.app.accept()[0]))
                up.request()
                up.send(response(b"ok", CLOSE))
            assert down.exactly(12) == b"HTTP/1.1 %d" % status


# ---- faults -------------------------------------------------------------------------------------


def test_requests_are_delayed_on_purpose(cluster: Cluster) -> None:
    backend = web(cluster, fault_delay="100% 300ms")
    down = cluster.connect()
    text = request("/", method="POST", body=b"body")
    down.send(text)
    up = backend.accept()  # dialled at accept
    asked = up.request()
    assert (asked.line, asked.body) == (b"POST / HTTP/1.1", b"body")
    end(down, up)
    (row,) = cluster.requests(1)
    assert (row["flag"], row["status"], row["duration_ms"] > 295) == ("DI", 200, True)
    assert cluster.event("fault_delay") == 1


def test_a_downstream_that_leaves_during_a_delay_is_forgotten(cluster: Cluster) -> None:
    web(cluster, fault_delay="100% 10s", http={"http2MaxRequests": 1})
    for leave in (reset, lambda sock: sock.close()):
        down = cluster.connect()
        down.send(request("/"))
        eventually("the delay", lambda: cluster.proxy.live()["exchanges"] == 1)
        leave(down.sock)
        eventually("its end", lambda: cluster.proxy.live()["exchanges"] == 0)
    assert cluster.ended(0, "DC") == 2


def test_what_fails_on_purpose_is_not_counted_as_delayed(cluster: Cluster) -> None:
    web(cluster, fault_delay="100% 10s", fault_abort="100% 418")
    assert cluster.ask(request("/", CLOSE)).status == 418
    assert (cluster.event("fault_abort"), cluster.event("fault_delay")) == (1, 0)


@pytest.mark.parametrize("name", ["web", "rule"])
def test_requests_fail_on_purpose(cluster: Cluster, name: str) -> None:
    said = {"fault-abort": "100% 418"}
    backend = cluster.service("web", 1, annotations=said if name == "web" else None)
    if name == "rule":
        cluster.add(route("r", rule(to("web")), annotations=said))
    cluster.start()
    down = cluster.connect()
    for _ in range(2):
        down.send(request("/"))
        answered = down.response()
        assert (answered.status, answered.get(b"remora-error")) == (418, b"fault_injected")
    assert (cluster.ended(418, "FI"), cluster.event("fault_abort")) == (2, 2)
    assert backend.listeners


# ---- endpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_endpoint_that_refuses_is_passed_over(cluster: Cluster, method: str) -> None:
    backend = web(cluster, 3)
    backend.refuse(0)
    backend.refuse(1)
    for _ in range(8):
        asked, number = cluster.served(request("/", method=method))
        assert (asked.line, number) == (f"{method} / HTTP/1.1".encode(), 2)


def test_endpoints_that_all_refuse_are_told(cluster: Cluster) -> None:
    backend = web(cluster, 2, http={"http2MaxRequests": 1})
    for number in range(2):
        backend.refuse(number)
    for _ in range(4):
        refused(cluster, 503, b"connect_failed", request("/", method="POST"))
    assert cluster.ended(503, "UF") == 4


def test_a_refusal_behind_half_a_request_is_not_its_answer(cluster: Cluster) -> None:
    """Nobody knows yet who is to get it."""
    backend = web(cluster, 2)
    text = request("/whole", "X-A: b")
    for number in range(2):
        backend.refuse(number)
    down = cluster.connect()
    down.send(text[:20])
    eventually("a failed dial", lambda: cluster.proxy.live()["upstreams"] == 0)
    down.send(text[20:])
    assert down.response().get(b"remora-error") == b"connect_failed"


def fail(up: Try) -> None:
    up.request()
    up.send(response(b"", CLOSE, status="500 Error"))


def test_a_sick_endpoint_is_taken_out_and_comes_back(cluster: Cluster) -> None:
    out = {"consecutive5xxErrors": 3, "baseEjectionTime": "1s", "maxEjectionPercent": 50}
    backend = web(cluster, 2, out=out)
    sick = 0
    failures = 0
    while not cluster.event("ejected"):
        down = cluster.connect()
        down.send(request("/"))
        up = backend.accept()
        if up.number == sick:
            fail(up)
            failures += 1
        else:
            up.request()
            up.send(response(b"", CLOSE))
        down.response()
    assert failures == 3
    found: Counter[int] = Counter()
    while not found[sick]:
        found[cluster.served(request("/"))[1]] += 1
    eventually("its return", lambda: cluster.event("returned") == 1)
    assert found[1] >= 1


def test_what_leaves_is_drained_and_not_cut(cluster: Cluster) -> None:
    backend = web(cluster, 2)
    running = [begin(cluster, backend) for _ in range(8)]
    assert {up.number for _, up in running} == {0, 1}
    cluster.change("web", "ending", "ready")
    for _ in range(8):
        assert cluster.served(request("/"))[1] == 1
    cluster.slices["web"] = cluster.slices["web"][1:]
    cluster.reload()
    for down, up in running:
        up.send(response(b"whole", CLOSE))
        assert down.response().body == b"whole"
    for _ in range(4):
        assert cluster.served(request("/"))[1] == 1


def test_a_retry_does_not_go_to_who_has_left(cluster: Cluster) -> None:
    backend = web(cluster, 2, retry_backoff="2s")
    down, up = begin(cluster, backend)
    other = 1 - up.number
    states = ["ready", "ready"]
    states[other] = "gone"
    up.sock.close()
    cluster.change("web", *states)
    again = backend.accept()
    assert again.number == up.number
    again.request()
    end(down, again)


def test_a_service_that_leaves_in_the_pause_is_told(cluster: Cluster) -> None:
    backend = web(cluster, 2, retry_backoff="2s")
    down, up = begin(cluster, backend)
    up.sock.close()
    cluster.objects.clear()
    cluster.slices.clear()
    cluster.reload()
    assert down.response().get(b"remora-error") == b"no_backend"
