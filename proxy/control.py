"""The operator's side: what the proxy is doing, and the few things one may tell it to do.

HTTP with JSON on a Unix socket of mode 0600 and on a loopback port. Reading is GET, changing is
POST and nothing else, so that no link, prefetch or curious GET ever drains a proxy.
"""

import asyncio
import json
import os
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote

from proxy import __version__, describe
from proxy.engine import Connection, Engine, Golden, Group, NoAnswerError, Stats
from proxy.httpserver import Handler, Request, RequestError, Response, Routes, json_response
from proxy.logs import LEVELS
from proxy.request_totals import flag_counts, request_totals, service_totals
from proxy.state import Running
from proxy.tls_status import identity_facts, identity_in_short
from proxy.values import is_ip

if TYPE_CHECKING:
    from proxy.policy.watch import PolicyWatch  # has PyYAML in tow

T = TypeVar("T")

_LIMIT: Final = 1_000
_LIMIT_MAX: Final = 100_000
# Services shown by the status page, those with the most requests.
_SERVICES_MAX: Final = 50
# What a browser or tool sends when it was really pointed at this host. Any other name is a web page
# that had its own name resolve to the loopback address (DNS rebinding).
_LOCAL_HOSTS: Final = {"localhost", "[::1]"}


class Control:
    """Answers of the operator's socket."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.handler: Handler = Routes(
            {
                ("GET", "/status"): self._status,
                ("GET", "/connections"): self._connections,
                ("GET", "/requests"): self._requests,
                ("GET", "/identity"): self._identity,
                ("GET", "/config"): self._config,
                ("GET", "/policy"): self._policy,
                ("GET", "/traffic"): self._traffic,
                ("GET", "/why"): self._why,
                ("POST", "/drain"): self._drain,
                ("POST", "/log-level"): self._log_level,
                ("POST", "/close"): self._close,
            }
        )

    async def guarded(self, request: Request) -> Response:
        """Answer a request of the TCP port, unless a web page sent it."""
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        is_local = name in _LOCAL_HOSTS or (name.startswith("127.") and is_ip(name))
        if not is_local or "origin" in request.headers:
            raise RequestError(HTTPStatus.FORBIDDEN, "only for tools on this host, not for pages")
        return await self.handler(request)

    async def _status(self, _request: Request) -> Response:
        running = self._running
        stats, goldens = running.engine.stats(), _goldens(running.engine)
        return json_response(
            HTTPStatus.OK,
            {
                "version": __version__,
                "pid": os.getpid(),
                "state": running.phase,
                "ready": running.readiness.is_ready,
                "pending": running.readiness.pending,
                "uptime_s": round(time.monotonic() - running.started_monotonic_s, 3),
                "log_level": running.log.level,
                "log_lines_dropped": running.log.dropped + running.events.dropped,
                "listeners": [listener.describe() for listener in running.listeners],
                **running.places.describe(),
                "connections_max": running.connections_max,
                "identity": identity_in_short(running.keeper, running.trust, stats),
                "connections": _totals(stats),
                "closed": _reasons(stats),
                "requests": request_totals(goldens),
                "services": service_totals(goldens, _SERVICES_MAX),
                "flags": flag_counts(goldens),
                "pools": {direction: pool._asdict() for direction, pool in stats.pools()},
                "live": stats.live(),
                "events": dict(stats.events()),
                "workers": [state._asdict() for state in running.engine.states()],
            },
        )

    async def _connections(self, request: Request) -> Response:
        limit = _limit(request.query.get("limit", str(_LIMIT)))
        if request.query.get("closed", "") == "1":
            self._need_recent("closed connections")
            rows = self._running.events.recent(limit + 1)
        else:
            rows = await self._open_connections(limit + 1)
        shown = [describe.connection(row) for row in rows[:limit]]
        return json_response(HTTPStatus.OK, {"connections": shown, "truncated": len(rows) > limit})

    async def _requests(self, request: Request) -> Response:
        limit = _limit(request.query.get("limit", str(_LIMIT)))
        self._need_recent("requests")
        rows = self._running.events.recent_requests(limit + 1)
        shown = [describe.request(row) for row in rows[:limit]]
        return json_response(HTTPStatus.OK, {"requests": shown, "truncated": len(rows) > limit})

    def _need_recent(self, what: str) -> None:
        if not self._running.events.recent_max:
            raise RequestError(
                HTTPStatus.CONFLICT,
                f"{what} are not kept: start the proxy with --recent N or with --access-log",
            )

    async def _identity(self, _request: Request) -> Response:
        running = self._running
        facts = identity_facts(running.keeper, running.trust, running.engine.stats())
        return json_response(HTTPStatus.OK, facts)

    async def _config(self, _request: Request) -> Response:
        settings = self._running.config.effective
        return json_response(
            HTTPStatus.OK,
            {key: {"value": each.text, "source": each.source} for key, each in settings.items()},
        )

    async def _policy(self, _request: Request) -> Response:
        watch = self._watch()
        from proxy.policy.describe import policy  # noqa: PLC0415 - has PyYAML in tow

        counts: dict[str, dict[str, int]] = {}
        for name, verdict, _, count in self._running.engine.stats().policies():
            by_verdict = counts.setdefault(name, {})
            by_verdict[verdict] = by_verdict.get(verdict, 0) + count
        return json_response(HTTPStatus.OK, policy(watch, counts))

    async def _traffic(self, request: Request) -> Response:
        watch = self._watch()
        from proxy.traffic.describe import config  # noqa: PLC0415 - as above

        limit = _limit(request.query.get("limit", str(_LIMIT)))
        service = unquote(request.query.get("service", ""))
        page = config(watch, self._running.engine, service, limit)
        if service and not page["services"]:
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no Service {service} here")
        return json_response(HTTPStatus.OK, page)

    async def _why(self, request: Request) -> Response:
        watch = self._watch()
        from proxy.traffic.why import Question, WhyError, why  # noqa: PLC0415 - as above

        words = {name: unquote(text) for name, text in request.query.items()}
        question = Question(
            words.get("method", "GET"),
            words.get("url", ""),
            words.get("from", ""),
            tuple(filter(None, words.get("headers", "").split("\n"))),
            words.get("inbound", "") == "1",
        )
        try:
            return json_response(HTTPStatus.OK, why(watch, self._running.config, question))
        except WhyError as wrong:
            raise RequestError(HTTPStatus.BAD_REQUEST, str(wrong)) from None

    def _watch(self) -> "PolicyWatch":
        if self._running.policy is None:
            raise RequestError(HTTPStatus.CONFLICT, "the proxy was started without --manifests")
        return self._running.policy

    async def _drain(self, request: Request) -> Response:
        done = self._running.drain.start("operator")
        if _member(request, "wait", bool, default=False):
            # Not `await done`: a peer that goes away would cancel the drain with its request.
            await asyncio.wait([done])
        return json_response(HTTPStatus.OK, {"state": self._running.phase})

    async def _log_level(self, request: Request) -> Response:
        level = _member(request, "level", str)
        if level not in LEVELS:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"{level!r} is none of {', '.join(LEVELS)}")
        before, self._running.log.level = self._running.log.level, level
        self._running.log.info("log_level_changed", before=before, level=level)
        return json_response(HTTPStatus.OK, {"before": before, "level": level})

    async def _close(self, request: Request) -> Response:
        wanted = _member(request, "id", int)
        rows = await self._open_connections(self._running.connections_max)
        row = next((each for each in rows if each.id == wanted), None)
        if row is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"no open connection has the id {wanted}")
        self._running.engine.close_connection(wanted)
        self._running.log.info("connection_closed_by_operator", id=wanted)
        return json_response(HTTPStatus.OK, {"closed": describe.connection(row)})

    async def _open_connections(self, limit: int) -> list[Connection]:
        try:
            return await self._running.engine.connections(limit)
        except NoAnswerError as fault:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, str(fault)) from fault


def _goldens(engine: Engine) -> dict[Group, Golden]:
    return {group: engine.golden(group) for group in engine.groups()}


def _totals(stats: Stats) -> dict[str, dict[str, int]]:
    totals = {direction: {"open": 0, "opened": n, "closed": 0} for direction, n in stats.opened()}
    for direction, _, count in stats.open():
        totals[direction]["open"] += count
    for direction, _, _, count in stats.closed():
        totals[direction]["closed"] += count
    return totals


def _reasons(stats: Stats) -> dict[str, dict[str, int]]:
    reasons: dict[str, dict[str, int]] = {}
    for direction, _, reason, count in stats.closed():
        if count:
            by_reason = reasons.setdefault(direction, {})
            by_reason[reason] = by_reason.get(reason, 0) + count
    return reasons


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _LIMIT_MAX):
        raise RequestError(HTTPStatus.BAD_REQUEST, f"limit {text!r} is outside 1 to {_LIMIT_MAX}")
    return int(text)


def _member(request: Request, name: str, kind: type[T], default: T | None = None) -> T:
    """Return a member of the JSON object in a request's body; an empty body is an empty object."""
    try:
        body = json.loads(request.body or b"{}")
    except ValueError as fault:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {fault}") from fault
    value = body.get(name, default) if isinstance(body, dict) else None
    # To Python True is an int; to an operator it is not.
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise RequestError(
            HTTPStatus.BAD_REQUEST, f"the body needs {name!r}, of type {kind.__name__}"
        )
    return value
