"""Traffic through both sidecars: real programs, real servers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.demo.apps import BIG_BYTES, HELLO
from deploy.demo.downstreams import fetch, scan_host_key, status_of
from deploy.demo.pods import IPV4
from deploy.demo.stage import Route, Stage
from deploy.demo.story import DemoError, human_bytes, human_ms

_NOT_FOUND: Final = 404


@dataclass(frozen=True)
class Asked:
    """One request, as whoever sent it knows it."""

    route: Route
    path: str
    status: int
    size_bytes: int | None = None  # of the body; None: nobody counted


def expect(*, holds: bool, claim: str, seen: object) -> None:
    """Raise DemoError unless the claim holds: a false claim is worse than none."""
    if not holds:
        raise DemoError(f"not so: {claim}; seen: {seen}")


def traffic(stage: Stage) -> list[Asked]:
    """Let programs in shop talk to servers in stock; return the HTTP requests in their order."""
    stage.story.step(
        "Real traffic",
        "Programs in shop dial stock. None of them, and none of the servers, knows of a sidecar.",
    )
    asked = [*_small(stage), _missing(stage), _bulk(stage)]
    _server_first(stage)
    return asked


def _small(stage: Stage) -> Iterator[Asked]:
    for family, route in stage.web.items():
        body = fetch(stage.shop.pod, route.dialled, "/hello", len(HELLO))
        took = human_ms(body.seconds * 1000)
        told = f"{human_bytes(body.size_bytes)} in {took}, over {family}"
        _tell(stage, f"curl http://{route.dialled}/hello", told)
        yield Asked(route, "/hello", 200, body.size_bytes)


def _missing(stage: Stage) -> Asked:
    route = stage.web[IPV4]
    status = status_of(stage.shop.pod, route.dialled, "/nothing")
    expect(holds=status == _NOT_FOUND, claim="/nothing is not there", seen=status)
    _tell(stage, f"curl http://{route.dialled}/nothing", f"{status}: nginx has no such file")
    return Asked(route, "/nothing", status)


def _bulk(stage: Stage) -> Asked:
    route = stage.web[IPV4]
    body = fetch(stage.shop.pod, route.dialled, "/big", BIG_BYTES)
    rate = f"{human_bytes(int(body.size_bytes / body.seconds))}/s"
    told = f"{human_bytes(body.size_bytes)} at {rate}"
    _tell(stage, f"curl http://{route.dialled}/big", told)
    expect(
        holds=body.sha256 == stage.apps.sha256["/big"],
        claim="the file that arrived is the file that was sent",
        seen=body.sha256,
    )
    stage.story.proved(f"every byte arrived: SHA-256 {body.sha256[:16]}... on both ends.")
    return Asked(route, "/big", 200, body.size_bytes)


def _server_first(stage: Stage) -> None:
    route = stage.ssh[IPV4]
    key = scan_host_key(stage.shop.pod, route.dialled)
    expect(holds=key == stage.apps.host_key, claim="the key is dropbear's own", seen=key)
    command = f"ssh-keyscan -p {route.dialled.port} {route.dialled.host}"
    _tell(stage, command, "dropbear's own key; here the server speaks first")


def _tell(stage: Stage, command: str, told: str) -> None:
    stage.story.line(f"{command:<44} {told}")
