"""The last act: a sidecar is told to end while a download is under way."""

import time
from typing import Final

from deploy.demo.acts import expect
from deploy.demo.apps import SLOW_BYTES
from deploy.demo.downstreams import Body, Download
from deploy.demo.pods import IPV4
from deploy.demo.programs import attempt, eventually
from deploy.demo.stage import Stage
from deploy.demo.story import Story, human_bytes

_UNDER_WAY_BYTES: Final = 1 << 20
_NOT_READY: Final = 503
_REFUSED: Final = "connect_failed"
_UNREACHED: Final = "UF"  # the flag of a request whose upstream was not reached


class _Clock:
    """Tells what happens, with the time since the signal."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._start = time.monotonic()

    def tell(self, text: str) -> None:
        self._story.line(f"+{time.monotonic() - self._start:.2f} s  {text}")


def drain(stage: Stage) -> None:
    """SIGTERM: what is open is finished, nothing new comes in, then it exits with 0."""
    stage.story.step(
        "A graceful drain",
        "stock's sidecar gets SIGTERM in the middle of a download, as in a rolling update.",
    )
    route = stage.web[IPV4]
    download = Download(stage.shop.pod, route.dialled, "/slow")
    try:
        download.read(_UNDER_WAY_BYTES)
        _drain_during(stage, download)
    finally:
        download.stop()


def _drain_during(stage: Stage, download: Download) -> None:
    clock = _Clock(stage.story)
    so_far = f"{human_bytes(download.size_bytes)} of {human_bytes(SLOW_BYTES)}"
    stage.stock.program.terminate()
    clock.tell(f"SIGTERM to {stage.stock.name}; the download has {so_far}")
    eventually("/ready to answer 503", lambda: stage.stock.readiness() == _NOT_READY)
    clock.tell("GET /ready answers 503: Kubernetes sends no new traffic to this pod")
    clock.tell(f"stock takes no new connection: {stage.shop.name} answers {_refusal(stage)}")
    body = download.finish(SLOW_BYTES)
    clock.tell(f"the download is complete: {human_bytes(body.size_bytes)}, and was never cut")
    code = stage.stock.program.wait_exit()
    clock.tell(f"{stage.stock.name} has exited with code {code}")
    _check(stage, body, code)


def _refusal(stage: Stage) -> str:
    """Ask until refused; return what curl gets from shop's sidecar, and what that logs.

    The listener closes a moment after /ready fails: the first ones may still be served.
    """
    url = f"http://{stage.web[IPV4].dialled}/hello"
    report = ["--silent", "--include", "--max-time", "5", url]

    def refused() -> str:
        answer = attempt(stage.shop.pod.as_app("curl", *report)).stdout
        return answer if f"remora-error: {_REFUSED}" in answer else ""

    status = eventually("a new request to be refused", refused).split()[1]
    logged = {(str(request.status), request.flag) for request in stage.shop.requests()}
    expect(
        holds=(status, _UNREACHED) in logged,
        claim=f"shop's sidecar logs the {status} with {_UNREACHED}",
        seen=logged,
    )
    return f"{status} with `remora-error: {_REFUSED}`"


def _check(stage: Stage, body: Body, code: int) -> None:
    expect(
        holds=body.sha256 == stage.apps.sha256["/slow"],
        claim="the download is whole",
        seen=body.sha256,
    )
    expect(holds=code == 0, claim=f"{stage.stock.name} exits with 0", seen=code)
    stage.stock.check_drained_well()
    stage.story.proved("not one byte was lost, nothing new came in, and nothing was left behind.")
