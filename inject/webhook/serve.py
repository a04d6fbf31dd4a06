"""One webhook process from its first socket to its last."""

import asyncio
import errno
import os
import signal
import socket
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Final

import uvloop

from inject.webhook.directory import Directory
from inject.webhook.door import Door
from inject.webhook.handler import LIMITS, Reviewer
from inject.webhook.health import CA_BUNDLE, CERTIFICATE, DRAINING, Health
from inject.webhook.kube import Api
from inject.webhook.metrics import Metrics
from inject.webhook.options import Chosen, Doors
from inject.webhook.selfsigned import SelfSigned
from inject.webhook.serving import Serving
from proxy import __version__
from proxy.errors import EXIT_FORCED, EXIT_OK, EXIT_SOFTWARE, StartError
from proxy.faults import Faults
from proxy.httpserver import HttpServer, Request, Response, Routes, text_response
from proxy.listeners import bound_address, open_tcp
from proxy.logs import Log
from proxy.process import hold_standard_descriptors, ms_since_exec, raise_fd_limit

FINISH_S_MAX: Final = 10.0  # for what is in flight when the end comes
_AFTER_FAULT_S: Final = 5.0
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def run(chosen: Chosen) -> int:
    """Serve until told to end; return the exit code."""
    hold_standard_descriptors()
    raise_fd_limit()
    log = Log(chosen.log_level, chosen.log_format)
    log.info("starting", version=__version__, pid=os.getpid(), settings=chosen.settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_main(chosen, log))
    except StartError as fault:
        return _not_started(fault, log)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the log's reader must see it
        Faults(log).from_handler(fault)
        return EXIT_SOFTWARE


def _not_started(fault: StartError, log: Log) -> int:
    code = fault.exit_code
    log.error("start_failed", error=str(fault), hint=fault.hint, exit_code=code)
    return code


async def _main(chosen: Chosen, log: Log) -> int:
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[str] = asyncio.Queue()
    for number in _ENDING:
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    loop.set_exception_handler(Faults(log).from_loop)
    async with AsyncExitStack() as stack:
        webhook = await _Webhook.start(chosen, log, stack)
        why = await signals.get()
        log.info("draining", why=why, in_flight=webhook.server.in_flight)
        drained = loop.create_task(webhook.drain(chosen.shutdown_delay_s))
        forced = loop.create_task(signals.get())
        await asyncio.wait((drained, forced), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        code = EXIT_OK if drained.done() else EXIT_FORCED
        drained.cancel()
    # Closing the loop gives both signals their default action back: a late one must not kill.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    log.info("stopped", exit_code=code)
    return code


class _Webhook:
    """What serves, and how it comes to its end."""

    def __init__(self, chosen: Chosen, log: Log) -> None:
        self.log = log
        self.metrics = Metrics()
        needed = (CERTIFICATE,) if chosen.tls_dir else (CERTIFICATE, CA_BUNDLE)
        self.health = Health(*needed)
        self.serving = Serving(self.health, self.metrics, log)
        reviewer = Reviewer(chosen.settings, chosen.names.namespace, self.metrics, log)
        faults = Faults(log).from_handler
        self.server = HttpServer(reviewer.answer, faults, LIMITS, reviewer.gate, reviewer.answered)
        reviewer.in_flight = lambda: self.server.in_flight
        self.metrics.in_flight.set_function(lambda: self.server.in_flight)
        self.doors: list[Door] = []
        paths = {"/live": self._live, "/ready": self._ready, "/metrics": self._metrics}
        routes = Routes({("GET", path): answer for path, answer in paths.items()})
        self.admin = HttpServer(routes, faults)

    @classmethod
    async def start(cls, chosen: Chosen, log: Log, stack: AsyncExitStack) -> "_Webhook":
        """Open every port, then see to the certificate. Raises StartError."""
        loop = asyncio.get_running_loop()
        listening, admin = _opened(chosen.listen, log), _opened(chosen.admin, log)
        made = cls(chosen, log)
        for sock in admin:
            server = await loop.create_server(made.admin.factory, sock=sock)
            stack.callback(server.close)
        stack.callback(made.admin.close)
        for sock in listening:
            made.doors.append(Door(sock, made.server, made.serving, made.metrics, log))
            stack.push_async_callback(made.doors[-1].stop)
            stack.callback(made.doors[-1].close)
        stack.callback(made.server.close)
        keeping = loop.create_task(made.keep_certificate(chosen))
        stack.callback(keeping.cancel)
        log.info(
            "listening",
            ms=ms_since_exec(),
            https=[str(bound_address(sock)) for sock in listening],
            admin=[str(bound_address(sock)) for sock in admin],
        )
        return made

    async def keep_certificate(self, chosen: Chosen) -> None:
        """Have a certificate, by one way or the other, until cancelled."""
        while True:
            try:
                if chosen.tls_dir:
                    await Directory(chosen.tls_dir, self.serving).keep()
                signed = SelfSigned(
                    Api(chosen.api), chosen.names, chosen.interval_s, self.serving, self.health
                )
                await signed.keep(self.metrics, self.log)
            except Exception as fault:  # noqa: BLE001 - a fault of ours: reviews go on without it
                Faults(self.log).from_handler(fault)
                await asyncio.sleep(_AFTER_FAULT_S)

    async def drain(self, delay_s: float) -> None:
        """Serve on until nobody new comes, then finish what has begun."""
        self.health.withdraw(DRAINING)
        self.server.is_last = True  # API servers go to another replica with their next review
        await asyncio.sleep(delay_s)
        for door in self.doors:
            await door.stop()
        self.server.close_idle()
        try:
            async with asyncio.timeout(FINISH_S_MAX):
                await self.server.quiet.wait()
        except TimeoutError:
            self.log.warning("drain_deadline", in_flight=self.server.in_flight)
        self.log.info("drained")

    async def _live(self, _request: Request) -> Response:
        return text_response(HTTPStatus.OK, "live")

    async def _ready(self, _request: Request) -> Response:
        if missing := self.health.missing:
            text = f"not ready: {'; '.join(missing)}"
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, text)
        return text_response(HTTPStatus.OK, "ready")

    async def _metrics(self, request: Request) -> Response:
        body, content_type = self.metrics.text(request.headers.get("accept", ""))
        return Response(HTTPStatus.OK, body, content_type)


def _opened(doors: Doors, log: Log) -> list[socket.socket]:
    """Listen on every address. Raises StartError, and nothing is left open then."""
    opened: list[socket.socket] = []
    for address in doors.addresses:
        try:
            opened.append(open_tcp(address, doors.flag))
        except StartError as fault:
            why = fault.__cause__.errno if isinstance(fault.__cause__, OSError) else None
            if doors.is_default and address.is_ipv6 and why in _NO_SUCH_ADDRESS:
                log.info("listener_skipped", address=str(address), why="no IPv6 here")
                continue
            for sock in opened:
                sock.close()
            raise
    return opened
