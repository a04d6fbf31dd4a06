"""HTTP from a client to a server, neither of them ours, through both sidecars and real rules."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import websockets.exceptions
import websockets.sync.client

from tests.netns import errands
from tests.netns.errands import ASKED, DOWNLOADS, GIVEN_ID, Client, Errand
from tests.netns.harness import Pods
from tests.netns.mesh import Mesh, Sidecar, running
from tests.support.apps import BODY, App, aiohttp_on_uvloop, http_server_1_0, http_server_1_1
from tests.support.sockets import written
from tests.support.tools import Nginx, plain_environment
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.root

CLIENTS = [
    *(errands.by_curl, errands.by_requests, errands.by_httpx, errands.by_aiohttp),
    pytest.param(errands.by_go, marks=pytest.mark.slow),
]
# What both sidecars must say alike of a request.
TOLD = (
    *("method", "target", "host", "status", "flag", "request_bytes", "response_bytes"),
    *("request_id", "trace_id", "user_agent"),
)


@pytest.fixture
def mesh(pods: Pods, family: str) -> Iterator[Mesh]:
    with running(pods, family) as made:
        yield made


def url(mesh: Mesh) -> str:
    return f"http://{written(mesh.address)}"


def rows_of(sidecar: Sidecar, count: int) -> list[dict[str, Any]]:
    """Wait for so many requests to have ended; return them, the first one first."""

    def ended() -> list[dict[str, Any]]:
        rows = sidecar.requests()
        return rows[::-1] if len(rows) >= count else []

    return eventually(f"{count} requests to have ended", ended)


def told_by_both(mesh: Mesh, count: int) -> list[dict[str, Any]]:
    """Compare what both sidecars say of the requests; return what the inbound one says."""
    left, right = (rows_of(side.sidecar, count) for side in (mesh.left, mesh.right))
    for outer, inner in zip(left, right, strict=True):
        assert {name: outer[name] for name in TOLD} == {name: inner[name] for name in TOLD}
    assert len(right) == count
    for side, direction, rows in ((mesh.left, "outbound", left), (mesh.right, "inbound", right)):
        scrape = side.sidecar.metrics()
        assert scrape("request_total") == scrape("request_total", direction=direction) == count
        assert scrape("response_total", flag="-", classification="success") == count
        assert {row["direction"] for row in rows} == {direction}
        for ours, counter in (("request_bytes", "request"), ("response_bytes", "response")):
            counted = scrape(f"remora_http_{counter}_bytes_total", direction=direction)
            assert counted == sum(row[ours] for row in rows)
    return right


def check_errand(mesh: Mesh, bodies: list[bytes]) -> None:
    """Every body is whole, and the app was told who calls and by which request id."""
    downloads, answers = bodies[: len(DOWNLOADS)], bodies[len(DOWNLOADS) :]
    for size, body in zip(DOWNLOADS.values(), downloads, strict=True):
        assert hashlib.sha256(body).digest() == hashlib.sha256(BODY[:size]).digest()
    rows = told_by_both(mesh, len(ASKED))
    assert [(row["method"], row["target"]) for row in rows] == ASKED
    for answer, row in zip(answers, rows[len(DOWNLOADS) :], strict=True):
        told = json.loads(answer)
        assert (told["size"], told["sha256"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())
        assert told["fields"]["x-request-id"] == row["request_id"]
        assert told["fields"]["x-forwarded-for"] == mesh.left.host
        assert told["fields"]["x-forwarded-proto"] == "http"
    ids = [row["request_id"] for row in rows]
    assert ids[-2] == GIVEN_ID
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_keeps_one_connection_and_gets_what_it_asked_for(
    mesh: Mesh, tmp_path: Path, client: Client
) -> None:
    with aiohttp_on_uvloop(mesh.app):
        check_errand(mesh, client(Errand(mesh.left.pod, url(mesh), tmp_path)))
    assert mesh.left.sidecar.opened() == {"outbound": 1}
    assert mesh.right.sidecar.opened() == {"inbound": 1}


def test_a_client_of_http_1_0_is_served_by_a_server_of_1_1(mesh: Mesh, tmp_path: Path) -> None:
    with aiohttp_on_uvloop(mesh.app):
        check_errand(mesh, errands.by_curl_1_0(Errand(mesh.left.pod, url(mesh), tmp_path)))


@pytest.mark.parametrize("app", [http_server_1_0, http_server_1_1])
def test_python_s_own_server_is_reached(mesh: Mesh, tmp_path: Path, app: App) -> None:
    with app(mesh.app):
        check_errand(mesh, errands.by_curl(Errand(mesh.left.pod, url(mesh), tmp_path)))


@pytest.fixture
def nginx(mesh: Mesh, tmp_path: Path) -> Iterator[Nginx]:
    made = Nginx(tmp_path / "nginx", mesh.app)
    try:
        yield made
    finally:
        assert made.stop() == ""


def test_nginx_is_reached_and_stores_what_is_sent(mesh: Mesh, nginx: Nginx, tmp_path: Path) -> None:
    (nginx.www / "file").write_bytes(BODY)
    (tmp_path / "source").write_bytes(BODY)
    send = ("-T", str(tmp_path / "source"))
    asked: list[tuple[str, ...]] = [
        *([("/file",)] * 3),
        ("/put/waited", *send, "-H", "Expect: 100-continue"),
        ("/put/chunked", *send, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"),
        ("/seen", "-H", f"X-Request-Id: {GIVEN_ID}"),
    ]
    words = []
    for number, (target, *flags) in enumerate(asked):
        own = ("-o", str(tmp_path / str(number)), "-w", "%{http_code} %{num_connects}\n")
        words += ["--next", *flags, *own, "-sSg", url(mesh) + target][number == 0 :]
    done = mesh.left.pod.run(["curl", *words], env=plain_environment())
    assert done.stdout.split("\n") == [
        *("200 1", "200 0", "200 0", "201 0", "201 0", "200 0", ""),
    ]
    paths = [tmp_path / str(number) for number in range(3)]
    for path in [*paths, nginx.www / "put" / "waited", nginx.www / "put" / "chunked"]:
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(BODY).digest()
    assert (tmp_path / "5").read_text() == f"{GIVEN_ID} {mesh.left.host} http"
    rows = told_by_both(mesh, len(asked))
    assert [row["target"] for row in rows] == [target for target, *_ in asked]


def test_messages_of_a_websocket_pass_in_both_directions(mesh: Mesh) -> None:
    def converse() -> None:
        address = f"ws://{written(mesh.address)}/socket"
        with websockets.sync.client.connect(
            address, proxy=None, open_timeout=PATIENCE_S, max_size=None
        ) as client:
            for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
                client.send(BODY[:size])
                assert client.recv(PATIENCE_S) == BODY[:size]
                client.send("x" * size)
                assert client.recv(PATIENCE_S) == "x" * size
            assert client.ping().wait(PATIENCE_S)
        with suppress(websockets.exceptions.ConnectionClosedOK):
            client.recv(PATIENCE_S)
        assert client.close_code == 1000

    with aiohttp_on_uvloop(mesh.app):
        mesh.left.pod.call(converse)
        (row,) = told_by_both(mesh, 1)
    assert (row["method"], row["target"], row["status"]) == ("GET", "/socket", 101)
