"""The kinds of work. Each is run for every peer, in every round, by a fresh process of the peer."""

from dataclasses import dataclass, replace
from typing import Final

MIB: Final = 1 << 20


@dataclass(frozen=True)
class Family:
    """Workloads that are run and reported together."""

    name: str
    title: str
    stem: str  # of the names of its reports
    note: str = ""  # what its reports add to the method


TCP: Final = Family("tcp", "TCP relay", "relay")
HTTP: Final = Family(
    "http",
    "HTTP/1.1 proxy",
    "http",
    """
Requests are GETs, or POSTs where they have a body; their heads hold the usual fields and a cookie,
320 to 512 bytes. Heads are read strictly at both ends: each field once with its value, one
Content-Length. Upstream connections are kept by every peer.""",
)
MTLS: Final = Family(
    "mtls",
    "Mutual TLS between two sidecars",
    "mtls",
    """
Two sidecars of the same product stand in the way, and TLS 1.3 with certificates of both sides
between them. Both are pinned to the proxy core, one worker each; CPU is the sum of both. At
`mtls-new` and `mtls-idle` the generator itself speaks TLS to one sidecar, the server's.""",
)
FAMILIES: Final = (TCP, HTTP, MTLS)

# Where mutual TLS is spoken.
PAIR: Final = "pair"  # between two sidecars; generator and upstream know nothing of it
TO_SERVER: Final = "server"  # from the generator to the sidecar of the upstream


@dataclass(frozen=True)
class Workload:
    """What the generator is asked to do; lengths are ranges `min:max`.

    `request` and `response` are whole messages over TCP, and bodies in HTTP.
    """

    name: str
    title: str
    connections: int
    request: str = "64:512"
    response: str = "64:512"
    unit: str = "request"  # what the CPU of the proxy is divided by; "MiB" of bodies, or exchanges
    each_new: bool = False
    half_of: str = ""  # open loop at half of what the slowest peer can do at this workload
    halves: float = 1.0  # or at so many times that half
    idle: bool = False  # only holds its connections
    head: str = ""  # of requests; a workload that has it is HTTP
    times: float = 1.0  # the usual length: a p99 wants many requests
    mtls: str = ""  # PAIR, TO_SERVER, or none at all
    scraped: bool = False  # while somebody reads the proxy's metrics, as many as it can have
    services: int = 0  # the upstream is ten endpoints of one of so many Services
    changed: bool = False  # while these change once a second
    drained: bool = False  # while the proxy ends and another process of it takes over
    reloaded: bool = False  # while the proxy takes another configuration once a second

    @property
    def restless(self) -> bool:
        """Tell whether connections may end under way; only then a report counts what was lost."""
        return self.drained or self.reloaded

    @property
    def family(self) -> Family:
        """Tell which run it is part of."""
        if self.mtls:
            return MTLS
        return HTTP if self.head else TCP


SMALL: Final = Workload("small", "Small messages, 64 connections", 64)
SINGLE: Final = Workload("single", "Small messages, one connection", 1)
SMALL_10000: Final = Workload("small-10000", "Small messages, 10,000 connections", 10_000)
BULK_DOWN: Final = Workload(
    "bulk-down", "1 MiB answers, 4 connections", 4, request="16", response=str(MIB), unit="MiB"
)
BULK_UP: Final = Workload(
    "bulk-up", "1 MiB requests, 4 connections", 4, request=str(MIB), response="16", unit="MiB"
)
NEW: Final = Workload("new", "A new connection for each request, 16 at once", 16, each_new=True)
HALF: Final = Workload(
    "half-load", "Small messages at half of the slowest peer's capacity", 64, half_of=SMALL.name
)
IDLE: Final = Workload("idle", "Idle connections, each used once", 10_000, idle=True)


HTTP_64: Final = Workload(
    # 320 bytes is what the usual fields take; a cookie makes the rest.
    "http-64",
    "1 KiB answers, 64 connections",
    64,
    request="0",
    response="1024",
    head="320:512",
)
HTTP_1: Final = replace(
    HTTP_64, name="http-1", title="1 KiB answers, one connection", connections=1
)
HTTP_256: Final = replace(
    HTTP_64, name="http-256", title="1 KiB answers, 256 connections", connections=256
)
HTTP_5000: Final = replace(
    HTTP_64, name="http-5000", title="1 KiB answers, 5,000 connections", connections=5000
)
HTTP_POST: Final = replace(
    HTTP_64,
    name="http-post",
    title="1 KiB requests, 64 connections",
    request="1024",
    response="16",
)
HTTP_DOWN: Final = replace(
    HTTP_64,
    name="http-down",
    title="1 MiB answers, 4 connections",
    connections=4,
    response=str(MIB),
    unit="MiB",
)
HTTP_UP: Final = replace(
    HTTP_64,
    name="http-up",
    title="1 MiB requests, 4 connections",
    connections=4,
    request=str(MIB),
    response="16",
    unit="MiB",
)
HTTP_NEW: Final = replace(
    HTTP_64,
    name="http-new",
    title="A new downstream connection for each request, 16 at once",
    connections=16,
    each_new=True,
)
HTTP_HALF: Final = replace(
    HTTP_64,
    name="http-half",
    title="1 KiB answers at half of the slowest peer's capacity",
    half_of=HTTP_64.name,
    times=2.0,
)
HTTP_QUARTER: Final = replace(
    HTTP_HALF, name="http-25", title="The same at a quarter of it", halves=0.5
)
HTTP_THREE_QUARTERS: Final = replace(
    HTTP_HALF, name="http-75", title="The same at three quarters of it", halves=1.5
)
HTTP_SCRAPE: Final = replace(
    HTTP_HALF,
    name="http-scrape",
    title="The same while metrics are scraped once a second",
    scraped=True,
)

HTTP_SERVICE: Final = replace(
    HTTP_64, name="http-service", title="The same through a Service, the only one", services=1
)
HTTP_SERVICES: Final = replace(
    HTTP_64,
    name="http-services",
    title="The same through one of 5,000 Services of ten endpoints each",
    services=5_000,
)
HTTP_SERVICES_HALF: Final = replace(
    HTTP_HALF,
    name="http-services-half",
    title="1 KiB answers at half load, 5,000 Services",
    half_of=HTTP_SERVICES.name,
    services=5_000,
)
HTTP_CHANGES: Final = replace(
    HTTP_SERVICES_HALF,
    name="http-changes",
    title="The same while a Service changes once a second",
    changed=True,
)
HTTP_RELOAD: Final = replace(
    HTTP_HALF,
    name="http-reload",
    title="The same while the proxy takes another configuration once a second",
    services=1,  # for remora: its configuration is what it reads of the cluster
    reloaded=True,
)
HTTP_DRAIN: Final = replace(
    HTTP_HALF,
    name="http-drain",
    title="The same while the proxy ends and another one takes over",
    drained=True,
)

MTLS_64: Final = replace(HTTP_64, name="mtls-64", mtls=PAIR)
MTLS_DOWN: Final = replace(HTTP_DOWN, name="mtls-down", mtls=PAIR)
MTLS_UP: Final = replace(HTTP_UP, name="mtls-up", mtls=PAIR)
MTLS_HALF: Final = replace(HTTP_HALF, name="mtls-half", half_of=MTLS_64.name, mtls=PAIR)
MTLS_NEW: Final = replace(
    HTTP_NEW,
    name="mtls-new",
    title="A full handshake for each request, 16 at once",
    unit="handshake",
    mtls=TO_SERVER,
)
MTLS_IDLE: Final = replace(
    HTTP_5000,
    name="mtls-idle",
    title="Idle mutual TLS connections, each used once",
    idle=True,
    mtls=TO_SERVER,
)

WORKLOADS: Final = (
    *(SMALL, SINGLE, SMALL_10000, BULK_DOWN, BULK_UP, NEW, HALF, IDLE),
    *(HTTP_64, HTTP_1, HTTP_256, HTTP_5000, HTTP_POST),
    *(HTTP_DOWN, HTTP_UP, HTTP_NEW),
    *(HTTP_HALF, HTTP_QUARTER, HTTP_THREE_QUARTERS, HTTP_SCRAPE),
    *(HTTP_SERVICE, HTTP_SERVICES, HTTP_SERVICES_HALF, HTTP_CHANGES),
    *(HTTP_RELOAD, HTTP_DRAIN),
    *(MTLS_64, MTLS_DOWN, MTLS_UP, MTLS_HALF, MTLS_NEW, MTLS_IDLE),
)
