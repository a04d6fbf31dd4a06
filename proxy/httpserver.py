"""A small bounded HTTP/1.1 server on h11: the admin port, the operator's socket, the webhook.

Whoever can reach a port may be anybody, so everything has a bound: the head, the body, the time
until a request is complete, the time a reader may take, the number of connections. When all places
are taken, the connection that has idled longest makes room, so that an idle scraper cannot keep the
kubelet out.
"""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, NamedTuple, cast

import h11

HEAD_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 64
# From the first byte (or the connect) to a whole request: kubelet and Prometheus need milliseconds.
REQUEST_S_MAX: Final = 10.0
# Between requests: longer than Prometheus's default interval of 60 s, so that it keeps its
# connection. It also bounds a reader who does not take the response.
IDLE_S_MAX: Final = 75.0

# How long a peer that was refused may go on sending: cut at once, it would not read why.
LINGER_S_MAX: Final = 2.0

_LINGER_NONE: Final = struct.pack("ii", 1, 0)
_JSON: Final = "application/json"


class Limits(NamedTuple):
    """What a server bears; as the admin port needs it unless said otherwise."""

    body_bytes: int = BODY_BYTES_MAX
    held_bytes: int = CONNECTIONS_MAX * BODY_BYTES_MAX  # of all bodies that are coming in
    connections: int = CONNECTIONS_MAX
    request_s: float = REQUEST_S_MAX
    idle_s: float = IDLE_S_MAX


class Request(NamedTuple):
    """One request, whole unless a gate looks at it. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    # When its head was there, by time.monotonic(): uvloop's own clock stands still within a round.
    begun_s: float = 0.0


class Response(NamedTuple):
    """One response, sent with its length."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = MappingProxyType({})


Handler = Callable[[Request], Awaitable[Response]]
# Sees the head before the body comes. Returns the seconds that the whole may take to arrive, or
# raises RequestError: then the body is not kept.
Gate = Callable[[Request], float]


class RequestError(Exception):
    """A handler's way out: the text goes to the peer with the status."""

    def __init__(
        self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


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
        raise RequestError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{request.path} takes {allowed} only",
            {"Allow": ", ".join(allowed)},
        )


class HttpServer:
    """Accepts connections for one handler. `factory` goes to loop.create_server().

    `answered` is told the request (None if there is not even a head) and the status of every
    response, before it is sent.
    """

    def __init__(
        self,
        handler: Handler,
        on_fault: Callable[[Exception], None],
        limits: Limits | None = None,
        gate: Gate | None = None,
        answered: Callable[[Request | None, int], None] | None = None,
    ) -> None:
        self.handler = handler
        self.on_fault = on_fault
        self.limits = limits or Limits()
        self.gate = gate
        self.answered = answered
        self.in_flight = 0  # requests whose head is there and whose response is not
        self.held_bytes = 0  # of their bodies
        self.is_last = False  # every response is the last one of its connection
        self.quiet = asyncio.Event()  # there is no connection
        self.quiet.set()
        self._connections: dict[_Connection, None] = {}  # in order of their last activity

    def factory(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Connection(self)

    def close(self) -> None:
        """Cut every connection."""
        for connection in list(self._connections):
            connection.abort()

    def close_idle(self) -> None:
        """Close the connections without a request; others close with their response."""
        self.is_last = True
        for connection in list(self._connections):
            connection.close_if_idle()

    def admit(self, connection: "_Connection") -> bool:
        """Take a connection in if there is room, or if room can be made."""
        if len(self._connections) >= self.limits.connections:
            idle = next((each for each in self._connections if each.is_idle), None)
            if idle is None:
                return False
            idle.abort()
            self.forget(idle)
        self._connections[connection] = None
        self.quiet.clear()
        return True

    def touch(self, connection: "_Connection") -> None:
        """Note activity: the connection is the last to make room now."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def forget(self, connection: "_Connection") -> None:
        """Drop a connection that is gone."""
        self._connections.pop(connection, None)
        if not self._connections:
            self.quiet.set()


class _Connection(asyncio.Protocol):
    def __init__(self, server: HttpServer) -> None:
        self.is_idle = False  # between requests
        self._is_silent = True  # has not said anything
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._has_tls = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._request: Request | None = None  # without its body
        self._refusal: RequestError | None = None  # what it will get, once it is whole
        self._is_refused = False  # has its answer already; what still comes is not looked at
        self._body = bytearray()

    # ---- called by the loop ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock, or turn the connection away."""
        self._transport = cast("asyncio.Transport", transport)
        self._has_tls = transport.get_extra_info("sslcontext") is not None
        if self._server.admit(self):
            self._arm(self._server.limits.request_s)
        else:
            self.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget everything; a handler that still runs is cancelled."""
        self._server.forget(self)
        self._transport = None
        self._end_request()
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._is_refused:
            self._http.receive_data(data)
            self._skip()
            return
        self._is_silent = False
        if self.is_idle:
            self.is_idle = False
            self._server.touch(self)
            self._arm(self._server.limits.request_s)
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> bool:
        """Let a request in progress have its answer; else close. TLS knows no half-closed state."""
        if self._is_refused:
            return False
        self._http.receive_data(b"")
        return self._task is not None and not self._has_tls

    # ---- one request after the other -----------------------------------------------------------

    def abort(self) -> None:
        """Cut the connection with RST: the kernel too forgets what the peer did not take."""
        if self._transport:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Close between requests, or before the first."""
        if (self.is_idle or self._is_silent) and self._transport:
            self._transport.close()
            self._arm(LINGER_S_MAX)

    def _read(self) -> None:
        try:
            self._take_events()
        except h11.RemoteProtocolError as fault:
            self._refuse(HTTPStatus(fault.error_status_hint), str(fault))

    def _take_events(self) -> None:
        while self._task is None and self._transport is not None and not self._is_refused:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._take_body(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
            else:
                if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    self._transport.close()
                return

    def _begin(self, head: h11.Request) -> None:
        server = self._server
        self._request = request = _request_of(head, time.monotonic())
        server.in_flight += 1
        try:
            length = int(request.headers.get("content-length", 0))
            if length > server.limits.body_bytes:
                raise h11.RemoteProtocolError(
                    f"a body of {length} bytes is too large; {server.limits.body_bytes} are taken",
                    error_status_hint=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                )
            if server.gate:
                self._arm(min(server.gate(request), server.limits.request_s))
        except RequestError as refusal:
            # Read to its end, so that the connection, whose TLS was dear, can stay.
            self._refusal = refusal
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))

    def _take_body(self, data: bytes) -> None:
        server, limit = self._server, self._server.limits.body_bytes
        if self._refusal:
            return
        self._body += data
        server.held_bytes += len(data)
        if len(self._body) > limit:
            raise h11.RemoteProtocolError(
                f"the body is too large; {limit} bytes are taken",
                error_status_hint=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        if server.held_bytes > server.limits.held_bytes:
            self._let_go()
            self._refusal = too_busy("too many bytes are coming in at once")

    def _answer(self) -> None:
        assert self._request is not None  # noqa: S101 - h11 gives the head first
        assert self._transport is not None  # noqa: S101 - checked by _take_events
        if self._timer:
            self._timer.cancel()
        self._transport.pause_reading()
        request = self._request._replace(body=bytes(self._body))
        self._task = self._loop.create_task(self._handle(request, self._refusal))

    async def _handle(self, request: Request, refusal: RequestError | None) -> None:
        try:
            response = _refused(refusal) if refusal else await self._server.handler(request)
        except RequestError as fault:
            response = _refused(fault)
        except Exception as fault:  # noqa: BLE001 - one bad answer must not end the server
            self._server.on_fault(fault)
            response = _error(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(fault).__name__}: {fault}")
        self._task = None
        if self._transport is not None:
            self._respond(request, response)
            self._next()

    def _respond(self, request: Request | None, response: Response) -> None:
        if self._server.answered:
            self._server.answered(request, response.status)
        self._end_request()
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            *response.headers.items(),
        ]
        if self._server.is_last and "Connection" not in response.headers:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        body = response.body if request is None or request.method != "HEAD" else b""
        self._send(head, h11.Data(data=body), h11.EndOfMessage())

    def _end_request(self) -> None:
        """Count a request no more, and keep nothing of it."""
        self._let_go()
        if self._request is not None:
            self._server.in_flight -= 1
        self._request = self._refusal = None

    def _let_go(self) -> None:
        self._server.held_bytes -= len(self._body)
        self._body = bytearray()

    def _next(self) -> None:
        assert self._transport is not None  # noqa: S101 - checked by _handle
        limits = self._server.limits
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._transport.close()
            self._arm(limits.idle_s)  # bounds a reader who does not take the rest
            return
        self._http.start_next_cycle()
        # A pipelined request is there already; h11 holds no more of it than one read.
        self.is_idle = not self._http.trailing_data[0]
        self._arm(limits.idle_s if self.is_idle else limits.request_s)
        self._transport.resume_reading()
        self._read()

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer a request that will not be read to its end, and close."""
        if self._transport is None:
            return
        request, self._is_refused = self._request, True
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._respond(request, _error(status, text, {"Connection": "close"}))
        self._arm(LINGER_S_MAX)
        self._skip()

    def _skip(self) -> None:
        """Take the rest of a refused request. To one who still sends, a close is a reset."""
        event: object = None
        if self._http.their_state is h11.SEND_BODY:
            with contextlib.suppress(h11.RemoteProtocolError):
                while isinstance(event := self._http.next_event(), h11.Data):
                    continue
        if event is not h11.NEED_DATA and self._transport:
            self._transport.close()
            self._arm(self._server.limits.idle_s)  # bounds a reader who does not take the rest

    def _send(self, *events: h11.Event) -> None:
        """Write all of it at once: of TLS, each write is a record of its own."""
        data = b"".join(self._http.send(event) or b"" for event in events)
        if data and self._transport is not None:
            self._transport.write(data)

    def _arm(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """Cut who took too long; whose head was read is told."""
        if self._request is not None and self._task is None and not self._is_refused:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not come to its end in time")
        elif self._is_refused and self._transport and not self._transport.is_closing():
            self._transport.close()
            self._arm(LINGER_S_MAX)
        else:
            self.abort()


def too_busy(text: str) -> RequestError:
    """Return what a server says that has enough to do. A client of Kubernetes tries again."""
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "1"})


def _request_of(head: h11.Request, now_s: float) -> Request:
    path, _, query = head.target.decode("ascii", "replace").partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    method = head.method.decode("ascii")
    return Request(method, path, {key: value for key, _, value in pairs}, headers, b"", now_s)


def _refused(refusal: RequestError) -> Response:
    return _error(refusal.status, str(refusal), refusal.headers)


def _error(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Response:
    response = json_response(status, {"error": text})
    return response._replace(headers=headers) if headers else response
