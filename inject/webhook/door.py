"""The HTTPS port: connections are taken in by hand, so that handshakes have a bound too.

A server of asyncio shakes hands with whoever comes, and knows of a connection only afterwards.
"""

import asyncio
import socket
import ssl
from typing import Final

from inject.webhook.metrics import Metrics
from inject.webhook.serving import Serving
from proxy.httpserver import HttpServer
from proxy.logs import Log

HANDSHAKES_MAX: Final = 256
HANDSHAKE_S_MAX: Final = 5.0
SHUTDOWN_S_MAX: Final = 2.0  # for the peer's last word of TLS
ACCEPT_PAUSE_S: Final = 0.1  # when the system has no descriptor for us
TELL_S_MIN: Final = 60.0  # between log lines on handshakes: anybody can make them fail


class Door:
    """A listening socket; what comes in speaks TLS with the certificate of that moment."""

    def __init__(
        self, sock: socket.socket, server: HttpServer, serving: Serving, metrics: Metrics, log: Log
    ) -> None:
        self._sock = sock
        self._server = server
        self._serving = serving
        self._metrics = metrics
        self._log = log
        self._handshakes: set[asyncio.Task[None]] = set()
        self._task = asyncio.get_running_loop().create_task(self._accept())
        self._told_s = -TELL_S_MIN

    async def stop(self) -> None:
        """Take nobody in any more."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        self._sock.close()

    def close(self) -> None:
        """Give up on handshakes."""
        for task in self._handshakes:
            task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._sock)
            except OSError as fault:
                self._log.warning("accept_failed", error=str(fault))
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            context = self._serving.context
            if context is None or len(self._handshakes) >= HANDSHAKES_MAX:
                self._metrics.handshakes_failed.inc()
                sock.close()
                continue
            task = loop.create_task(self._welcome(sock, context))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _welcome(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._server.factory,
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S_MAX,
                ssl_shutdown_timeout=SHUTDOWN_S_MAX,
            )
        except OSError as fault:  # of TLS, too; and times that are over
            sock.close()
            self._metrics.handshakes_failed.inc()
            self._tell(fault)

    def _tell(self, fault: OSError) -> None:
        now_s = asyncio.get_running_loop().time()
        reason = fault.reason if isinstance(fault, ssl.SSLError) else None
        if reason is None or now_s - self._told_s < TELL_S_MIN:
            self._log.debug("handshake_failed", error=str(fault))
            return
        self._told_s = now_s
        self._log.warning(
            "handshake_failed",
            error=reason,
            hint="an API server that does not take the certificate has another caBundle",
        )
