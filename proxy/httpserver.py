"""A small bounded HTTP/1.1 server on h11, for the admin port and the operator's socket.

Whoever can reach the admin port may be anybody, so everything has a bound: the head, the body, the
time until a request is complete, the time a reader may take, the number of connections. When all
places are taken, the connection that has idled longest makes room, so that an idle scraper cannot
keep the kubelet out.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

import h11

HEAD_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 64
# From the first byte (or the connect) to a whole request: kubelet and Prometheus need milliseconds.
REQUEST_S_MAX: Final = 10.0
# Between requests: longer than Prometheus's default interval of 60 s, so that it keeps its
# connection. It also bounds a reader who does not take the response.
IDLE_S_MAX: Final = 75.0

_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One response, sent with its length."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


class RequestError(Exception):
    """A handler's way out: the text goes to the peer with the status."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


def text_response(status: int, text: str) -> Response:
    """Return a plain-text response."""
    return Response(status, f"{text}\n".encode())


def json_response(status: int, value: object) -> Response:
    """Return a JSON response."""
    return Response(status, json.dumps(value).encode() + b"\n", _JSON)


class Routes:
    """(method, path) → handler; answers 404 and 405 itself. HEAD is GET without the body."""

    def __init__(self, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._handlers = handlers
        self._paths = sorted({path for _, path in handlers})

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._handlers.get((method, request.path))
        if handler is not None:
            return await handler(request)
        allowed = sorted(verb for verb, path in self._handlers if path == request.path)
        if not allowed:
            raise RequestError(HTTPStatus.NOT_FOUND, f"no such path; there are {self._paths}")
        response = _error(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.path} takes {allowed} only")
        return Response(
            response.status, response.body, response.content_type, {"Allow": ", ".join(allowed)}
        )


class HttpServer:
    """Accepts connections for one handler. `factory` goes to loop.create_server()."""

    def __init__(self, handler: Handler, on_fault: Callable[[Exception], None]) -> None:
        self.handler = handler
        self.on_fault = on_fault
        self._connections: dict[_Connection, None] = {}  # in order of their last activity

    def factory(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Connection(self)

    def close(self) -> None:
        """Cut every connection."""
        for connection in list(self._connections):
            connection.abort()

    def admit(self, connection: "_Connection") -> bool:
        """Take a connection in if there is room, or if room can be made."""
        if len(self._connections) >= CONNECTIONS_MAX:
            idle = next((each for each in self._connections if each.is_idle), None)
            if idle is None:
                return False
            idle.abort()
            self.forget(idle)
        self._connections[connection] = None
        return True

    def touch(self, connection: "_Connection") -> None:
        """Note activity: the connection is the last to make room now."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def forget(self, connection: "_Connection") -> None:
        """Drop a connection that is gone."""
        self._connections.pop(connection, None)


class _Connection(asyncio.Protocol):
    def __init__(self, server: HttpServer) -> None:
        self.is_idle = False  # between requests
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._request: h11.Request | None = None
        self._body = bytearray()

    # ---- called by the loop ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock, or turn the connection away."""
        self._transport = cast("asyncio.Transport", transport)
        if self._server.admit(self):
            self._arm(REQUEST_S_MAX)
        else:
            self.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget everything; a handler that still runs is cancelled."""
        self._server.forget(self)
        self._transport = None
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self.is_idle:
            self.is_idle = False
            self._server.touch(self)
            self._arm(REQUEST_S_MAX)
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> bool:
        """Let a request in progress have its answer; else close."""
        self._http.receive_data(b"")
        return self._task is not None

    # ---- one request after the other -----------------------------------------------------------

    def abort(self) -> None:
        """Cut the connection with RST: the kernel too forgets what the peer did not take."""
        if self._transport:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            self._transport.abort()

    def _read(self) -> None:
        try:
            self._take_events()
        except h11.RemoteProtocolError as fault:
            self._refuse(fault)

    def _take_events(self) -> None:
        while self._task is None and self._transport is not None:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._request = event
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > BODY_BYTES_MAX:
                    raise h11.RemoteProtocolError("body too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
            else:
                if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    self._transport.close()
                return

    def _answer(self) -> None:
        assert self._request is not None  # noqa: S101 - h11 gives the head first
        assert self._transport is not None  # noqa: S101 - checked by _take_events
        if self._timer:
            self._timer.cancel()
        self._transport.pause_reading()
        request = _whole(self._request, bytes(self._body))
        self._body.clear()
        self._task = self._loop.create_task(self._handle(request))

    async def _handle(self, request: Request) -> None:
        try:
            response = await self._server.handler(request)
        except RequestError as refusal:
            response = _error(refusal.status, str(refusal))
        except Exception as fault:  # noqa: BLE001 - one bad answer must not end the server
            self._server.on_fault(fault)
            response = _error(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(fault).__name__}: {fault}")
        self._task = None
        if self._transport is not None:
            self._respond(request.method, response)
            self._next()

    def _respond(self, method: str, response: Response) -> None:
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            *response.headers.items(),
        ]
        reason = HTTPStatus(response.status).phrase
        self._send(h11.Response(status_code=response.status, headers=headers, reason=reason))
        if method != "HEAD":
            self._send(h11.Data(data=response.body))
        self._send(h11.EndOfMessage())

    def _next(self) -> None:
        assert self._transport is not None  # noqa: S101 - checked by _handle
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._transport.close()
            self._arm(IDLE_S_MAX)  # bounds a reader who does not take the rest
            return
        self._http.start_next_cycle()
        # A pipelined request is there already; h11 holds no more of it than one read.
        self.is_idle = not self._http.trailing_data[0]
        self._arm(IDLE_S_MAX if self.is_idle else REQUEST_S_MAX)
        self._transport.resume_reading()
        self._read()

    def _refuse(self, fault: h11.RemoteProtocolError) -> None:
        if self._transport is None:
            return
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status = HTTPStatus(fault.error_status_hint)
            response = _error(status, str(fault))
            closing = {"Connection": "close"}
            self._respond(
                "GET", Response(response.status, response.body, response.content_type, closing)
            )
        self._transport.close()
        self._arm(IDLE_S_MAX)

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data and self._transport is not None:
            self._transport.write(data)

    def _arm(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)


def _whole(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("ascii", "replace").partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    method = head.method.decode("ascii")
    return Request(method, path, {key: value for key, _, value in pairs}, headers, body)


def _error(status: HTTPStatus, text: str) -> Response:
    return json_response(status, {"error": text})
