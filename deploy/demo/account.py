"""The account that both sidecars give of the traffic: requests, connections, counters."""

import re
from collections.abc import Iterator
from typing import Final

from deploy.demo.acts import Asked, expect
from deploy.demo.pods import IPV4
from deploy.demo.sidecar import Connection, Metrics, Request, Sidecar
from deploy.demo.stage import Stage
from deploy.demo.story import human_bytes, human_ms

_DELIVERY_SOURCES: Final = {"127.0.0.6", "::6"}
# Labels that say nothing yet: left out, because the others fit a line then.
_UNTOLD: Final = re.compile(r',?(protocol="http1"|route="unknown"|service="unknown"|tls="false")')
_ID_LETTERS: Final = 8  # of a request id, enough to tell some apart


def account(stage: Stage, asked: list[Asked]) -> None:
    """Show what each sidecar has written down, and compare."""
    told = [sidecar.wait_requests(len(asked)) for sidecar in (stage.shop, stage.stock)]
    _requests(stage, asked, told)
    _connections(stage)
    _counters(stage, told)


# ---- requests -----------------------------------------------------------------------------------


def _requests(stage: Stage, asked: list[Asked], told: list[list[Request]]) -> None:
    stage.story.step(
        "The requests, as both sidecars saw them",
        "From `remora ctl requests` of each: how long it took in all, how much of that was waiting"
        " for the first byte of the answer, and the id that shop's sidecar gave the request.",
    )
    rows = [["", "request", "status", "body", "took", "waited", "id"]]
    for call, shop, stock in zip(asked, *told, strict=True):
        rows += [_request_row("shop", shop), _request_row("stock", stock)]
        _compare_requests(stage, call, shop, stock)
    stage.story.table(rows)
    ids = [request.request_id for request in told[0]]
    expect(holds=len(set(ids)) == len(ids), claim="each request has an id of its own", seen=ids)
    expect(
        holds=stage.apps.request_ids() == ids,
        claim="nginx got the same request ids",
        seen=stage.apps.request_ids(),
    )
    stage.story.proved(
        "both saw every request, agree on status, bytes and id, and saw no other; nginx got the"
        " same ids."
    )


def _request_row(name: str, request: Request) -> list[str]:
    return [
        name,
        f"{request.method} {request.target}",
        str(request.status),
        human_bytes(request.response_bytes),
        human_ms(request.duration_ms),
        "-" if request.upstream_ms is None else human_ms(request.upstream_ms),
        request.request_id[:_ID_LETTERS],
    ]


def _compare_requests(stage: Stage, call: Asked, shop: Request, stock: Request) -> None:
    claim = f"both sidecars tell the same of GET {call.path}"
    expect(holds=shop.story() == stock.story(), claim=claim, seen=(shop, stock))
    seen = (shop.method, shop.target, shop.status, shop.flag)
    expect(holds=seen == ("GET", call.path, call.status, "-"), claim=claim, seen=shop)
    if call.size_bytes is not None:
        expect(holds=shop.response_bytes == call.size_bytes, claim=claim, seen=shop)
    met = (shop.peer_identity, stock.peer_identity)
    wanted = (stage.identities["stock"], stage.identities["shop"])
    expect(holds=met == wanted, claim="each sidecar knows who the other is", seen=met)
    directions = (shop.direction, stock.direction)
    expect(holds=directions == stage.directions, claim=claim, seen=directions)


# ---- connections --------------------------------------------------------------------------------


def _connections(stage: Stage) -> None:
    stage.story.step(
        "The connections that carried them",
        "From `remora ctl connections`: downstream → original destination → upstream, who spoke"
        " first, bytes up and down, how it ended. Requests share connections between the"
        " sidecars; what is no HTTP, like ssh, has one of its own all the way.",
    )
    ssh = [sidecar.wait_closed("opaque") for sidecar in (stage.shop, stage.stock)]
    for sidecar in (stage.shop, stage.stock):
        for connection in sidecar.connections():
            for line in _told(sidecar.pod.name, connection):
                stage.story.line(line)
    _check_ssh(stage, *ssh)
    _check_http(stage)
    stage.story.proved(
        "original destinations are where the programs dialled; of ssh, whose server spoke first,"
        " both counted the same bytes."
        if stage.is_redirected
        else "of ssh, whose server spoke first, both sidecars counted the same bytes."
    )
    if stage.is_redirected:
        sources = set(stage.apps.source_addresses())
        expect(
            holds=sources <= _DELIVERY_SOURCES,
            claim="nginx is dialled by the sidecar only",
            seen=sources,
        )
        stage.story.proved(
            f"nginx was dialled from {' and '.join(sorted(sources))} only: by its own sidecar."
        )


def _check_ssh(stage: Stage, shop: Connection, stock: Connection) -> None:
    route = stage.ssh[IPV4]
    for connection, target in ((shop, route.shop_target), (stock, route.stock_target)):
        expect(
            holds=(connection.original_dst, connection.speaker) == (str(target), "upstream"),
            claim=f"ssh went to {target} and the server spoke first",
            seen=connection,
        )
    counted = [(one.received_bytes, one.sent_bytes) for one in (shop, stock)]
    expect(
        holds=counted[0] == counted[1] and min(counted[0]) > 0,
        claim="both sidecars counted the same bytes of ssh",
        seen=counted,
    )


def _check_http(stage: Stage) -> None:
    """Every connection of HTTP went where it was to go; no sidecar has seen another one."""
    routes = list(stage.web.values())
    for sidecar, targets in (
        (stage.shop, {str(route.shop_target) for route in routes}),
        (stage.stock, {str(route.stock_target) for route in routes}),
    ):
        rest = [one for one in sidecar.connections() if one.protocol != "opaque"]
        seen = {(one.protocol, one.original_dst) for one in rest}
        expect(
            holds=seen == {("http1", target) for target in targets},
            claim=f"{sidecar.name} saw connections to nginx, and ssh",
            seen=seen,
        )


def _told(name: str, connection: Connection) -> Iterator[str]:
    way = [connection.downstream, connection.original_dst, connection.upstream]
    path = " → ".join(filter(None, way))
    yield f"{name:<6} {connection.direction:<9} {connection.protocol:<7} {path}"
    facts = [
        f"{connection.speaker} first",
        f"{human_bytes(connection.received_bytes)} up, {human_bytes(connection.sent_bytes)} down",
        f"{'kept' if connection.is_open else 'open'} {human_ms(connection.duration_ms)}",
        *(["spliced in the kernel"] if connection.spliced else []),
        "waits for the next request" if connection.is_open else connection.reason,
    ]
    yield f"{'':<16} {'; '.join(facts)}"


# ---- counters -----------------------------------------------------------------------------------


def _counters(stage: Stage, told: list[list[Request]]) -> None:
    stage.story.step(
        "Counters",
        "The same as numbers, at /metrics of each sidecar, which is never redirected (some labels"
        " are left out here).",
    )
    for sidecar, direction, requests in zip(
        (stage.shop, stage.stock), stage.directions, told, strict=True
    ):
        metrics = sidecar.metrics()
        stage.story.sentence(f"{sidecar.name}:")
        for line in _interesting(metrics, direction):
            stage.story.line(line)
        _compare_counters(sidecar, metrics, direction, requests)
    stage.story.proved("the counters are the sums of the requests and connections above.")


def _interesting(metrics: Metrics, direction: str) -> Iterator[str]:
    families = ("request_total", "response_total", "remora_http_pool_reused_total")
    for line in metrics.lines:
        if line.startswith((*families, "tcp_open_total")) and f'direction="{direction}"' in line:
            yield _UNTOLD.sub("", line)
    name = "remora_http_request_duration_seconds"
    count = metrics(f"{name}_count", direction=direction)
    total_s = metrics(f"{name}_sum", direction=direction)
    yield f"latency: {count:g} requests, {human_ms(total_s / count * 1000)} on average"


def _compare_counters(
    sidecar: Sidecar, metrics: Metrics, direction: str, requests: list[Request]
) -> None:
    statuses = {request.status for request in requests}
    wanted = {
        ("request_total", ""): len(requests),
        ("remora_http_in_flight_requests", ""): 0,
        ("remora_http_response_bytes_total", ""): sum(one.response_bytes for one in requests),
        **{
            ("response_total", str(status)): sum(one.status == status for one in requests)
            for status in statuses
        },
    }
    for (name, status), value in wanted.items():
        labels = {"direction": direction} | ({"status_code": status} if status else {})
        seen = metrics(name, **labels)
        expect(holds=seen == value, claim=f"{name} of {sidecar.name} is {value}", seen=seen)
    ssh = metrics("tcp_close_total", direction=direction, protocol="opaque", peer="src")
    expect(holds=ssh == 1, claim=f"{sidecar.name} counts the one connection of ssh", seen=ssh)
