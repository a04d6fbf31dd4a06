"""Traffic through both sidecars, and the account that they give of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.demo.apps import BIG_BYTES, HELLO
from deploy.demo.downstreams import fetch, scan_host_key
from deploy.demo.pods import IPV4
from deploy.demo.sidecar import Metrics, Record, Sidecar
from deploy.demo.stage import Route, Stage
from deploy.demo.story import DemoError, human_bytes, human_ms

_DELIVERY_SOURCES: Final = {"127.0.0.6", "::6"}


@dataclass(frozen=True)
class Call:
    """One connection, as the downstream knows it and as both sidecars tell it."""

    what: str
    shop: Record
    stock: Record


def expect(*, holds: bool, claim: str, seen: object) -> None:
    """Raise DemoError unless the claim holds: a false claim is worse than none."""
    if not holds:
        raise DemoError(f"not so: {claim}; seen: {seen}")


def traffic(stage: Stage) -> list[Call]:
    """Let real programs in shop talk to real servers in stock."""
    stage.story.step(
        "Real traffic",
        "Programs in shop dial stock. None of them, and none of the servers, knows of a sidecar.",
    )
    return [*_small_requests(stage), _server_first(stage), _bulk(stage)]


def _small_requests(stage: Stage) -> Iterator[Call]:
    for family, route in stage.web.items():
        what = f"curl http://{route.dialled}/hello"
        body = fetch(stage.shop.pod, route.dialled, "/hello", len(HELLO))
        time = human_ms(body.seconds * 1000)
        stage.story.line(f"{what:<44} {human_bytes(body.size_bytes)} in {time}, over {family}")
        yield _told_by_both(stage, what, route, ("http1", "downstream"))


def _server_first(stage: Stage) -> Call:
    route = stage.ssh[IPV4]
    what = f"ssh-keyscan -p {route.dialled.port} {route.dialled.host}"
    key = scan_host_key(stage.shop.pod, route.dialled)
    expect(holds=key == stage.apps.host_key, claim="the key is dropbear's own", seen=key)
    stage.story.line(f"{what:<44} dropbear's own key; here the server speaks first")
    return _told_by_both(stage, what, route, ("opaque", "upstream"))


def _bulk(stage: Stage) -> Call:
    route = stage.web[IPV4]
    what = f"curl http://{route.dialled}/big"
    body = fetch(stage.shop.pod, route.dialled, "/big", BIG_BYTES)
    rate = f"{human_bytes(int(body.size_bytes / body.seconds))}/s"
    stage.story.line(f"{what:<44} {human_bytes(body.size_bytes)} at {rate}")
    expect(
        holds=body.sha256 == stage.apps.sha256["/big"],
        claim="the file that arrived is the file that was sent",
        seen=body.sha256,
    )
    stage.story.proved(f"every byte arrived: SHA-256 {body.sha256[:16]}... on both ends.")
    return _told_by_both(stage, what, route, ("http1", "downstream"))


def _told_by_both(stage: Stage, what: str, route: Route, label: tuple[str, str]) -> Call:
    """Wait until both sidecars have logged the connection, and compare what they say."""
    call = Call(what, stage.shop.next_record(), stage.stock.next_record())
    for record, target, direction in (
        (call.shop, route.shop_target, stage.directions[0]),
        (call.stock, route.stock_target, stage.directions[1]),
    ):
        expect(
            holds=(record.direction, record.original_dst) == (direction, str(target)),
            claim=f"`{what}` went {direction} to {target}",
            seen=record,
        )
        expect(
            holds=(record.protocol, record.speaker) == label,
            claim=f"`{what}` is {label[0]} and the {label[1]} spoke first",
            seen=record,
        )
    expect(
        holds=_bytes(call.shop) == _bytes(call.stock) and min(_bytes(call.shop)) > 0,
        claim=f"both sidecars counted the same bytes of `{what}`",
        seen=call,
    )
    return call


def _bytes(record: Record) -> tuple[int, int]:
    return record.received_bytes, record.sent_bytes


def account(stage: Stage, calls: list[Call]) -> None:
    """Show what each sidecar has written down."""
    stage.story.step(
        "What the sidecars saw",
        "Each connection, told by both sidecars: downstream → original destination → upstream, who"
        " spoke first, bytes up and down, time to connect, time open, and how it ended.",
    )
    for call in calls:
        stage.story.sentence(call.what)
        for name, record in (("shop", call.shop), ("stock", call.stock)):
            for line in _told(name, record):
                stage.story.line(line)
    for sidecar in (stage.shop, stage.stock):
        expect(
            holds=sidecar.has_no_further_record(),
            claim=f"{sidecar.name} saw these connections and no other",
            seen="one more",
        )
    stage.story.proved("both saw every connection, agree on every byte, and saw nothing else.")
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


def _told(name: str, record: Record) -> Iterator[str]:
    path = f"{record.downstream} → {record.original_dst} → {record.upstream}"
    yield f"{name:<6} {record.direction:<9} {record.protocol:<7} {path}"
    connect = "never connected" if record.connect_ms is None else human_ms(record.connect_ms)
    facts = [
        f"{record.speaker} first",
        f"{human_bytes(record.received_bytes)} up, {human_bytes(record.sent_bytes)} down",
        f"connect {connect}",
        f"open {human_ms(record.duration_ms)}",
        *(["spliced in the kernel"] if record.spliced else []),
        record.reason,
    ]
    yield f"{'':<16} {'; '.join(facts)}"


def counters(stage: Stage, calls: list[Call]) -> None:
    """Show the same as Prometheus sees it."""
    stage.story.step(
        "Counters",
        "The same as numbers, at /metrics of each sidecar, which is never redirected.",
    )
    for sidecar, direction, records in (
        (stage.shop, stage.directions[0], [call.shop for call in calls]),
        (stage.stock, stage.directions[1], [call.stock for call in calls]),
    ):
        metrics = sidecar.metrics()
        stage.story.sentence(f"{sidecar.name}:")
        for line in _interesting(metrics, direction):
            stage.story.line(line)
        _compare(sidecar, metrics, direction, records)
    stage.story.proved("the counters are the sums of the connections above.")


def _interesting(metrics: Metrics, direction: str) -> Iterator[str]:
    families = ("tcp_open_total", "tcp_close_total", "tcp_read_bytes_total", "remora_detect_total")
    for line in metrics.lines:
        if line.startswith(families) and f'direction="{direction}"' in line:
            yield line
    count = metrics("remora_connect_duration_seconds_count", direction=direction)
    total_s = metrics("remora_connect_duration_seconds_sum", direction=direction)
    yield f"connect latency: {count:g} measured, {human_ms(total_s / count * 1000)} on average"


def _compare(sidecar: Sidecar, metrics: Metrics, direction: str, records: list[Record]) -> None:
    wanted = {
        ("tcp_open_total", ""): len(records),
        ("tcp_close_total", ""): len(records),
        ("tcp_open_connections", ""): 0,
        ("tcp_read_bytes_total", "src"): sum(record.received_bytes for record in records),
        ("tcp_write_bytes_total", "src"): sum(record.sent_bytes for record in records),
    }
    for (name, peer), value in wanted.items():
        labels = {"direction": direction} | ({"peer": peer} if peer else {})
        seen = metrics(name, **labels)
        expect(holds=seen == value, claim=f"{name} of {sidecar.name} is {value}", seen=seen)
