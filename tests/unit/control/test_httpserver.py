"""The small HTTP server: what it answers, and every bound that keeps a stranger from holding it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from threading import Event, Thread
from typing import Any, Final

import pytest
import uvloop

from proxy.httpserver import (
    BODY_BYTES_MAX,
    CONNECTIONS_MAX,
    HEAD_BYTES_MAX,
    HttpServer,
    Request,
    RequestError,
    Response,
    Routes,
    text_response,
)

PATIENCE_S: Final = 10
GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    """A server on its own thread's loop; the test plays downstream with blocking sockets."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.may_answer = Event()
        self.cancelled = Event()
        self.address: tuple[str, int] = ("", 0)
        self._opened: list[socket.socket] = []
        self._loop = uvloop.new_event_loop()
        self._is_up = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()
        assert self._is_up.wait(PATIENCE_S)

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.address, timeout=PATIENCE_S)
        self._opened.append(sock)
        return sock

    def close(self) -> None:
        for sock in self._opened:
            sock.close()
        self.may_answer.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        routes = Routes(
            {
                ("GET", "/"): self._hello,
                ("POST", "/echo"): self._echo,
                ("GET", "/fault"): self._fault,
                ("GET", "/refuse"): self._refuse,
                ("GET", "/slow"): self._slow,
                ("GET", "/big"): self._big,
            }
        )
        self.server = server = HttpServer(routes, self.faults.append)
        with (
            ThreadPoolExecutor(1) as self._executor,
            socket.create_server(("127.0.0.1", 0)) as sock,
        ):
            self.address = sock.getsockname()
            made = self._loop.run_until_complete(
                self._loop.create_server(server.factory, sock=sock)
            )
            self._is_up.set()
            self._loop.run_forever()
            server.close()
            made.close()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    async def _hello(self, request: Request) -> Response:
        return text_response(HTTPStatus.OK, f"hello {request.query.get('who', '')}")

    async def _echo(self, request: Request) -> Response:
        return Response(HTTPStatus.OK, request.body)

    async def _fault(self, _request: Request) -> Response:
        raise ZeroDivisionError

    async def _refuse(self, _request: Request) -> Response:
        raise RequestError(HTTPStatus.CONFLICT, "not now")

    async def _slow(self, _request: Request) -> Response:
        try:
            await self._loop.run_in_executor(self._executor, self.may_answer.wait, PATIENCE_S)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return text_response(HTTPStatus.OK, "at last")

    async def _big(self, _request: Request) -> Response:
        return Response(HTTPStatus.OK, b"x" * (32 << 20))


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


@pytest.fixture
def impatient(served: Served) -> Callable[[str], None]:
    """Shortens one of the server's times."""

    def shorten(name: str) -> None:
        changed: dict[str, Any] = {name: 0.05}
        served.server.limits = served.server.limits._replace(**changed)

    return shorten


def read_response(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read exactly one response."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65_536)
        assert more, f"closed after {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += sock.recv(65_536)
    return int(first.split()[1]), headers, body


def ask(sock: socket.socket, request: bytes) -> tuple[int, dict[str, str], bytes]:
    sock.sendall(request)
    return read_response(sock)


def is_closed(sock: socket.socket) -> bool:
    """Wait for the server to close or reset."""
    try:
        while sock.recv(1 << 20):
            continue
    except ConnectionResetError:
        return True
    return True


def test_a_request_is_answered(served: Served) -> None:
    status, headers, body = ask(served.connect(), b"GET /?who=you HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body) == (200, b"hello you\n")
    assert headers["content-type"] == "text/plain; charset=utf-8"


def test_a_connection_serves_one_request_after_the_other(served: Served) -> None:
    sock = served.connect()
    assert [ask(sock, GET)[0] for _ in range(3)] == [200, 200, 200]


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    sock = served.connect()
    post = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
    sock.sendall(GET + post)
    received = b""
    while not received.endswith(b"ok"):
        received += sock.recv(65_536)
    assert received.index(b"hello") < received.index(b"\r\n\r\nok")


def test_a_request_in_single_bytes_is_understood(served: Served) -> None:
    sock = served.connect()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in GET:
        sock.send(bytes([byte]))
    assert read_response(sock)[0] == 200


def test_head_is_get_without_the_body(served: Served) -> None:
    sock = served.connect()
    sock.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n")


def test_http_1_0_is_answered_and_closed(served: Served) -> None:
    sock = served.connect()
    assert ask(sock, b"GET / HTTP/1.0\r\n\r\n")[0] == 200
    assert is_closed(sock)


def test_a_downstream_that_has_said_all_still_gets_its_answer(served: Served) -> None:
    sock = served.connect()
    sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    sock.shutdown(socket.SHUT_WR)
    served.may_answer.set()
    assert read_response(sock)[2] == b"at last\n"
    assert is_closed(sock)


def test_an_unknown_path_is_told_the_known_ones(served: Served) -> None:
    status, _, body = ask(served.connect(), b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 404
    assert b"/echo" in body


def test_a_wrong_method_is_told_the_right_one(served: Served) -> None:
    status, headers, _ = ask(served.connect(), b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, headers["allow"]) == (405, "POST")


def test_a_handlers_refusal_is_an_answer(served: Served) -> None:
    status, _, body = ask(served.connect(), b"GET /refuse HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body) == (409, b'{"error": "not now"}\n')


def test_a_handlers_fault_is_reported_and_the_server_goes_on(served: Served) -> None:
    sock = served.connect()
    assert ask(sock, b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 500
    assert [type(fault) for fault in served.faults] == [ZeroDivisionError]
    assert ask(sock, GET)[0] == 200


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_not_http_is_refused_and_closed(served: Served, nonsense: bytes) -> None:
    sock = served.connect()
    assert ask(sock, nonsense)[0] == 400
    assert is_closed(sock)


def test_a_head_above_the_bound_is_refused_and_closed(served: Served) -> None:
    sock = served.connect()
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * HEAD_BYTES_MAX
    assert ask(sock, head)[0] == 431
    assert is_closed(sock)


def test_a_body_above_the_bound_is_refused_and_closed(served: Served) -> None:
    sock = served.connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1)
    assert ask(sock, head + b"a" * (BODY_BYTES_MAX + 1))[0] == 413
    assert is_closed(sock)


def test_a_body_of_the_bound_is_taken(served: Served) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES_MAX
    _, _, body = ask(served.connect(), head + b"a" * BODY_BYTES_MAX)
    assert len(body) == BODY_BYTES_MAX


def test_a_body_may_wait_for_a_100(served: Served) -> None:
    sock = served.connect()
    sock.sendall(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    assert sock.recv(65_536).startswith(b"HTTP/1.1 100")
    assert ask(sock, b"ok")[2] == b"ok"


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost:", b"POST /echo HTTP/1.1\r\n"])
def test_a_request_that_does_not_come_to_its_end_is_cut(
    served: Served, impatient: Callable[[str], None], said: bytes
) -> None:
    impatient("request_s")
    sock = served.connect()
    sock.sendall(said)
    assert is_closed(sock)


def test_a_connection_without_a_next_request_is_cut(
    served: Served, impatient: Callable[[str], None]
) -> None:
    impatient("idle_s")
    sock = served.connect()
    assert ask(sock, GET)[0] == 200
    assert is_closed(sock)


def test_a_reader_who_does_not_take_the_answer_is_cut(
    served: Served, impatient: Callable[[str], None]
) -> None:
    sock = served.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    impatient("idle_s")
    sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    other = served.connect()
    assert ask(other, GET)[0] == 200
    assert is_closed(other)  # its own idle time is over, so the first one's is
    assert is_closed(sock)


def test_one_connection_more_than_there_are_places_is_turned_away(served: Served) -> None:
    for _ in range(CONNECTIONS_MAX):
        served.connect().sendall(b"GET")
    with pytest.raises(ConnectionError):
        ask(served.connect(), GET)


def test_the_connection_that_idled_longest_makes_room(served: Served) -> None:
    idle = [served.connect() for _ in range(CONNECTIONS_MAX)]
    for sock in idle:
        assert ask(sock, GET)[0] == 200
    assert ask(idle[0], GET)[0] == 200
    assert ask(served.connect(), GET)[0] == 200
    assert is_closed(idle[1])
    assert ask(idle[0], GET)[0] == 200
