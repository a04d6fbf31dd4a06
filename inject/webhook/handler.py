"""HTTP in front of a review: what is let in, how much of it at once, and until when."""

import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from inject.settings import Settings
from inject.webhook.metrics import Metrics
from inject.webhook.review import FAULTY, review
from proxy.httpserver import Limits, Request, RequestError, Response, too_busy
from proxy.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable

PATH: Final = "/inject"

# The API server takes objects of 3 MiB. What it sends has defaults filled in, and `<`, `>` and `&`
# as six characters each.
BODY_BYTES_MAX: Final = 6 << 20
# Of all bodies together; parsed, one takes a multiple of its size, and only one is at a time.
HELD_BYTES_MAX: Final = 16 << 20
# A client of Go keeps an idle connection for 90 s: who closes first must not be us.
IDLE_S_MAX: Final = 120.0
CONNECTIONS_MAX: Final = 512
# At a millisecond each the last of them waits a quarter of a second: below the shortest deadline
# there is, which is 1 s.
IN_FLIGHT_MAX: Final = 256

LIMITS: Final = Limits(
    body_bytes=BODY_BYTES_MAX,
    held_bytes=HELD_BYTES_MAX,
    connections=CONNECTIONS_MAX,
    idle_s=IDLE_S_MAX,
)

TIMEOUT_S: Final = 10.0  # of an API server that does not say
# Of the API server's time: to read the body, and to begin with the review. The rest is for the way.
_BODY_SHARE: Final = 0.7
_BEGIN_SHARE: Final = 0.85

_JSON: Final = "application/json"
_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{0,12})?)(ns|us|ms|s|m|h)", re.ASCII)


class Reviewer:
    """Answers POST /inject. `in_flight` tells how many reviews there are, this one included."""

    def __init__(self, settings: Settings, own_namespace: str, metrics: Metrics, log: Log) -> None:
        self.in_flight: Callable[[], int] = lambda: 0
        self._settings = settings
        self._own_namespace = own_namespace
        self._metrics = metrics
        self._log = log

    def gate(self, request: Request) -> float:
        """Look at a head. Returns how long its body may take; raises RequestError."""
        if request.path != PATH:
            raise RequestError(HTTPStatus.NOT_FOUND, f"no such path; there is {PATH}")
        if request.method != "POST":
            text = f"{PATH} takes POST only"
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, text, {"Allow": "POST"})
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _JSON or request.headers.get("content-encoding", "identity") != "identity":
            text = f"the body must be {_JSON}, and not compressed"
            raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
        if self.in_flight() > IN_FLIGHT_MAX:
            raise too_busy(f"{IN_FLIGHT_MAX} reviews are waiting already")
        return _BODY_SHARE * timeout_s(request)

    async def answer(self, request: Request) -> Response:
        """Review a pod."""
        begun_s = time.monotonic()
        if begun_s - request.begun_s > _BEGIN_SHARE * timeout_s(request):
            raise too_busy("the review would come too late")
        made = review(request.body, self._settings, self._own_namespace)
        # What is faulty is told in words of strangers; a label must be one of ours.
        self._metrics.reviewed(made.result, "" if made.result == FAULTY else made.reason)
        self._log.info(
            "review",
            uid=made.uid,
            pod=made.pod,
            result=made.result,
            reason=made.reason,
            dry_run=made.is_dry_run,
            ms=round((time.monotonic() - request.begun_s) * 1000, 1),
            **({"detail": made.text} if made.text else {}),
        )
        return Response(HTTPStatus.OK, made.answer, _JSON)

    def answered(self, request: Request | None, status: int) -> None:
        """Count a response."""
        seconds = None
        if request and status == HTTPStatus.OK:
            seconds = time.monotonic() - request.begun_s
        elif request and request.path == PATH:
            self._metrics.reviewed("refused", str(status))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._metrics.shed.inc()
        self._metrics.answered(status, seconds)


def timeout_s(request: Request) -> float:
    """Return how long the API server waits: `?timeout=10s`, as Go writes durations."""
    text = request.query.get("timeout", "")
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return TIMEOUT_S
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts) or TIMEOUT_S
