"""Flags of HTTP/1.1: what is looked at, what is added, how long anything may take."""

from typing import Final, NamedTuple

from proxy import values
from proxy.options import Group, Option, Reader

_NO_LIMIT: Final = (1 << 64) - 1

NO_HTTP: Final = Option(
    flag="--no-http",
    parse=values.switch,
    default="false",
    help="relay HTTP like any TCP: no requests seen, no pools",
)
DETECT_TIMEOUT: Final = Option(
    flag="--detect-timeout",
    parse=values.duration_between("1ms", "1h"),
    default="2s",
    metavar="TIME",
    help="for the rest of what begins like a request line;\nthen it is relayed as it is",
)
HEADER_TIMEOUT: Final = Option(
    flag="--http-header-timeout",
    parse=values.duration_between("1ms", "1h"),
    default="10s",
    metavar="TIME",
    help="from the first byte of a request head to its last (408)",
)
HTTP_IDLE_TIMEOUT: Final = Option(
    flag="--http-idle-timeout",
    parse=values.duration_between("1ms", "18h"),
    default="5m",
    metavar="TIME",
    help="between requests, and without progress within one (504)",
)
FLUSH_TIMEOUT: Final = Option(
    flag="--http-flush-timeout",
    parse=values.duration_between("1ms", "1h"),
    default="30s",
    metavar="TIME",
    help="a downstream that takes nothing of its answer",
)
POOL_IDLE_TIMEOUT: Final = Option(
    flag="--http-pool-idle-timeout",
    parse=values.duration_between("1ms", "18h"),
    default="4s",
    metavar="TIME",
    help="upstream connections without a request; keep it below the\napplication's own keep-alive",
)
POOL_MAX: Final = Option(
    flag="--http-pool-max",
    parse=values.integer_between(1, 65_536),
    default="1024",
    metavar="N",
    help="connections to one endpoint; further requests queue",
)
BODY_MAX: Final = Option(
    flag="--http-body-max",
    parse=values.size_bytes,
    default="0",
    metavar="SIZE",
    help="of a request, like 10MiB (413); 0: no limit",
)
FORWARDED: Final = Option(
    flag="--http-forwarded",
    parse=values.choice("inbound", "all", "off"),
    default="inbound",
    metavar="inbound|all|off",
    help="where x-forwarded-for and -proto are added",
)
NO_REQUEST_IDS: Final = Option(
    flag="--no-http-request-ids",
    parse=values.switch,
    default="false",
    help="do not start x-request-id and traceparent",
)

GROUP: Final = Group(
    "HTTP",
    (
        NO_HTTP,
        DETECT_TIMEOUT,
        HEADER_TIMEOUT,
        HTTP_IDLE_TIMEOUT,
        FLUSH_TIMEOUT,
        POOL_IDLE_TIMEOUT,
        POOL_MAX,
        BODY_MAX,
        FORWARDED,
        NO_REQUEST_IDS,
    ),
)


class HttpConfig(NamedTuple):
    """Settings of HTTP, checked. Times in milliseconds."""

    enabled: bool
    detect_ms: int
    head_ms: int
    idle_ms: int
    flush_ms: int
    pool_idle_ms: int
    pool_connections_max: int
    body_bytes_max: int  # of a request; 0: no limit
    forwarded: str  # inbound, all, off
    request_ids: bool

    def settings(self) -> dict[str, int]:
        """Return what a snapshot holds of it."""
        return {
            "http": int(self.enabled),
            "detect_ms": self.detect_ms,
            "head_ms": self.head_ms,
            "http_idle_ms": self.idle_ms,
            "flush_ms": self.flush_ms,
            "pool_idle_ms": self.pool_idle_ms,
            "pool_connections_max": self.pool_connections_max,
            "body_bytes_max": self.body_bytes_max or _NO_LIMIT,
            "forwarded_inbound": int(self.forwarded != "off"),
            "forwarded_outbound": int(self.forwarded == "all"),
            "forwarded_explicit": int(self.forwarded == "all"),
            "request_ids": int(self.request_ids),
        }


def read_http(reader: Reader) -> HttpConfig:
    """Take the settings of HTTP from flags and variables; faults stay with the reader."""
    return HttpConfig(
        enabled=not reader.one(NO_HTTP),
        detect_ms=reader.one(DETECT_TIMEOUT),
        head_ms=reader.one(HEADER_TIMEOUT),
        idle_ms=reader.one(HTTP_IDLE_TIMEOUT),
        flush_ms=reader.one(FLUSH_TIMEOUT),
        pool_idle_ms=reader.one(POOL_IDLE_TIMEOUT),
        pool_connections_max=reader.one(POOL_MAX),
        body_bytes_max=reader.one(BODY_MAX),
        forwarded=reader.one(FORWARDED),
        request_ids=not reader.one(NO_REQUEST_IDS),
    )
