"""The kinds of work. Each is run for every peer, in every round, by a fresh process of the peer."""

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20


@dataclass(frozen=True)
class Workload:
    """What the generator is asked to do; lengths are ranges `min:max` of whole messages."""

    name: str
    title: str
    connections: int
    request: str = "64:512"
    response: str = "64:512"
    unit: str = "request"  # what the CPU of the proxy is divided by: "request" or "MiB"
    each_new: bool = False
    half_load: bool = False  # open loop at half of what the slowest peer can do
    idle: bool = False  # only holds its connections


SMALL: Final = Workload("small", "Small messages, 64 connections", 64)
SINGLE: Final = Workload("single", "Small messages, one connection", 1)
BULK_DOWN: Final = Workload(
    "bulk-down", "1 MiB answers, 4 connections", 4, request="16", response=str(MIB), unit="MiB"
)
BULK_UP: Final = Workload(
    "bulk-up", "1 MiB requests, 4 connections", 4, request=str(MIB), response="16", unit="MiB"
)
NEW: Final = Workload("new", "A new connection for each request, 16 at once", 16, each_new=True)
HALF: Final = Workload(
    "half-load", "Small messages at half of the slowest peer's capacity", 64, half_load=True
)
IDLE: Final = Workload("idle", "Idle connections, each used once", 10_000, idle=True)

WORKLOADS: Final = (SMALL, SINGLE, BULK_DOWN, BULK_UP, NEW, HALF, IDLE)
