"""Endpoints that answer every request with their own name, all of them in one thread."""

import asyncio
import socket
from collections import Counter
from threading import Thread
from typing import Any, Final, Self

import uvloop

from tests.support.waiting import PATIENCE_S

_END: Final = b"\r\n\r\n"


class _Session(asyncio.Protocol):
    """One connection: GETs, one after the other."""

    def __init__(self, name: str, delay_s: float, counts: Counter[str], live: set[Any]) -> None:
        self._name = name
        self._delay_s = delay_s
        self._counts = counts
        self._live = live
        self._buffer = b""
        self._transport: Any = None  # uvloop's is no asyncio.Transport
        self._answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._live.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._live.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._buffer = (self._buffer + data).split(_END)
        for _ in heads:
            self._counts[self._name] += 1
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._say)
            else:
                self._say()

    def _say(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._answer)


class Origins:
    """A context manager. `counts` are the requests of each by name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._servers: list[Any] = []
        self._live: set[Any] = set()
        self._loop = uvloop.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="origins")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for transport in [*self._live]:
            transport.abort()

    def serve(self, name: str, listener: socket.socket, delay_s: float = 0.0) -> None:
        """Answer at a listener of the test, wherever it listens, so much later than asked."""
        made = self._loop.create_server(
            lambda: _Session(name, delay_s, self.counts, self._live), sock=listener.dup()
        )
        self._servers.append(asyncio.run_coroutine_threadsafe(made, self._loop).result(PATIENCE_S))
