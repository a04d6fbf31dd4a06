"""Apps on servers of others, on a listener of the test: they tell what they were asked.

`/?size=N` is answered with the first N bytes of BODY, anything else with what came, as JSON: the
method, the target, the fields, and size and SHA-256 of the body. The one on aiohttp echoes
WebSockets on /socket.
"""

import asyncio
import hashlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlparse

import uvloop
from aiohttp import WSMsgType, web

from tests.support.transfers import MIB, Payload
from tests.support.waiting import PATIENCE_S

BODY: Final = b"".join(Payload(3, 2 * MIB).blocks())

App = Callable[[socket.socket], AbstractContextManager[None]]


def _answer(method: str, target: str, fields: Iterable[tuple[str, str]], body: bytes) -> bytes:
    query = parse_qs(urlparse(target).query)
    if "size" in query:
        return BODY[: int(query["size"][0])]
    told = {
        "method": method,
        "target": target,
        "fields": {name.lower(): value for name, value in fields},
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(told).encode()


# ---- http.server --------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        answer = _answer(self.command, self.path, self.headers.items(), self.body())
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


class _Handler10(_Handler):
    protocol_version = "HTTP/1.0"


class _Handler11(_Handler):
    protocol_version = "HTTP/1.1"


@contextmanager
def _of_the_library(handler: type[_Handler], listener: socket.socket) -> Iterator[None]:
    address = listener.getsockname()[:2]
    server = http.server.ThreadingHTTPServer(address, handler, bind_and_activate=False)
    server.daemon_threads = True
    server.socket.close()
    server.socket = listener.dup()
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def http_server_1_0(listener: socket.socket) -> AbstractContextManager[None]:
    """Serve by Python's own http.server, a connection for each request."""
    return _of_the_library(_Handler10, listener)


def http_server_1_1(listener: socket.socket) -> AbstractContextManager[None]:
    """Serve by Python's own http.server, which keeps connections."""
    return _of_the_library(_Handler11, listener)


# ---- aiohttp on uvloop --------------------------------------------------------------------------


async def _tell(request: web.Request) -> web.Response:
    body = await request.read()
    answer = _answer(request.method, request.raw_path, request.headers.items(), body)
    return web.Response(body=answer)


async def _echo(request: web.Request) -> web.WebSocketResponse:
    echo = web.WebSocketResponse()
    await echo.prepare(request)
    async for message in echo:
        if message.type == WSMsgType.TEXT:
            await echo.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await echo.send_bytes(message.data)
    return echo


async def _serve(listener: socket.socket, started: Future[Callable[[], Any]]) -> None:
    app = web.Application(client_max_size=64 * MIB)
    app.router.add_get("/socket", _echo)
    app.router.add_route("*", "/{rest:.*}", _tell)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    started.set_result(lambda: loop.call_soon_threadsafe(over.set))
    await over.wait()
    await runner.cleanup()


@contextmanager
def aiohttp_on_uvloop(listener: socket.socket) -> Iterator[None]:
    """Serve by aiohttp.web on an uvloop of its own."""
    started: Future[Callable[[], Any]] = Future()

    def run() -> None:
        try:
            uvloop.run(_serve(listener.dup(), started))
        except BaseException as fault:
            if not started.done():
                started.set_exception(fault)
            raise

    thread = threading.Thread(target=run, name="aiohttp")
    thread.start()
    end = started.result(PATIENCE_S)
    try:
        yield
    finally:
        end()
        thread.join()
