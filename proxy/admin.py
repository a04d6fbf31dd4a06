"""The port for the kubelet and Prometheus: /live, /ready, /metrics. It changes nothing."""

import asyncio
import time
from http import HTTPStatus

from proxy.engine import NoAnswerError
from proxy.httpserver import Handler, Request, Response, Routes, text_response
from proxy.state import Running


class Admin:
    """Answers of the admin port."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._exposition: object | None = None
        self.handler: Handler = Routes(
            {
                ("GET", "/live"): self._live,
                ("GET", "/ready"): self._ready,
                ("GET", "/metrics"): self._metrics,
            }
        )

    async def _live(self, _request: Request) -> Response:
        # Alive is who moves bytes: the workers are asked, and answer within a tick.
        try:
            await self._running.engine.connections(limit=1)
        except NoAnswerError as fault:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, str(fault))
        return text_response(HTTPStatus.OK, "live")

    async def _ready(self, _request: Request) -> Response:
        pending = self._running.readiness.pending
        if pending:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {', '.join(pending)}")
        return text_response(HTTPStatus.OK, "ready")

    async def _metrics(self, request: Request) -> Response:
        from proxy.metrics import Exposition  # noqa: PLC0415 - 5 MB that an unscraped proxy saves

        asked = time.monotonic()
        await asyncio.sleep(0)  # comes back after everything else that is due
        lag_s = max(time.monotonic() - asked, self._running.events.take_longest_s())
        if not isinstance(self._exposition, Exposition):
            self._exposition = Exposition(self._running)
        accept = request.headers.get("accept", "")
        body, content_type = self._exposition.text(accept, lag_s)
        return Response(HTTPStatus.OK, body, content_type)
