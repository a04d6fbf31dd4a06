"""Fixtures of the tests that read an access log, and of those that have services."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.logging_proxy import Logging, Start
from tests.support.rig import Rig
from tests.support.services import Cluster
from tests.support.sockets import address_of


@pytest.fixture
def upstream(rig: Rig) -> socket.socket:
    """The listener behind the proxies of `start`."""
    return rig.listen()


@pytest.fixture
def cluster(rig: Rig, tmp_path: Path) -> Cluster:
    """Services, to be added by the test, and then a proxy that knows them."""
    return Cluster(rig, tmp_path)


@pytest.fixture
def start(tmp_path: Path, upstream: socket.socket) -> Iterator[Start]:
    """Call it with flags for a proxy whose stdout the test reads; it is stopped at the end."""
    started: list[Logging] = []

    def build(*flags: str, **options: int) -> Logging:
        started.append(Logging(tmp_path, address_of(upstream), *flags, **options))
        return started[-1]

    yield build
    for each in started:
        each.close()
