"""Makes a proxy count as many different things as it can, so that its metrics are at their largest.

remora has series for each service, and for each status and flag of one: so there are many services,
all called once, and requests end with every status that an answer may have, and again with each of
them while the downstream leaves before the end.
"""

import http.client
import socket
from collections.abc import Sequence
from typing import Final

from bench.asking import item_request

# 204 and 304 have no body, which every answer of the upstream has.
STATUSES: Final = tuple(status for status in range(200, 600) if status not in {204, 304})
SERVICES: Final = 40  # 51 series each
LONG_BYTES: Final = 1 << 20  # more than the kernel holds for a narrow connection


def provoke(port: int, service_ports: Sequence[int]) -> None:
    """Send one whole request and one given up for each status, and one to each service."""
    for service_port in service_ports:
        with _connect(service_port) as downstream:
            downstream.sendall(item_request(1))
            _read(downstream)
    for status in STATUSES:
        with _connect(port) as downstream:
            downstream.sendall(item_request(1, status))
            _read(downstream)
        with _connect(port, narrow=True) as downstream:
            downstream.sendall(item_request(LONG_BYTES, status))
            downstream.recv(64)


def _read(downstream: socket.socket) -> None:
    answer = http.client.HTTPResponse(downstream)
    answer.begin()
    answer.read()


def _connect(port: int, *, narrow: bool = False) -> socket.socket:
    """Connect. What goes through a narrow connection does not fit into buffers unread."""
    downstream = socket.socket()
    downstream.settimeout(5)
    if narrow:
        downstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        downstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    downstream.connect(("127.0.0.1", port))
    return downstream
