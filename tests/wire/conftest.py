"""Fixtures of the tests that read an access log, have services, or call the webhook."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.api_server import ApiServer
from tests.support.logging_proxy import Logging, Start
from tests.support.rig import Rig
from tests.support.services import Cluster
from tests.support.sockets import address_of
from tests.support.webhook import Caller, Files, Webhook


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


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[Callable[..., Webhook]]:
    """Call it with flags for a webhook; it is stopped at the end, and must have ended well."""
    started: list[Webhook] = []

    def begin(*flags: str) -> Webhook:
        started.append(Webhook(tmp_path, *flags))
        return started[-1]

    yield begin
    try:
        for each in started:
            each.stop()
        for each in started:
            each.check_log()
    finally:
        for each in started:
            print(*each.stderr_lines, sep="\n")  # noqa: T201 - pytest shows it with a failure


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A directory with a certificate of the webhook's name, and who signed it."""
    made = Files(tmp_path / "tls")
    made.issue()
    return made


@pytest.fixture
def hook(webhooks: Callable[..., Webhook], files: Files) -> Webhook:
    """A webhook that is ready."""
    return webhooks("--tls-dir", str(files.folder)).wait_ready()


@pytest.fixture
def call(hook: Webhook, files: Files) -> Iterator[Callable[[], Caller]]:
    """Call it for one more connection of an API server."""
    opened: list[Caller] = []

    def dial() -> Caller:
        opened.append(Caller(hook.address, files.roots))
        return opened[-1]

    yield dial
    for each in opened:
        each.close()


@pytest.fixture
def caller(call: Callable[[], Caller]) -> Caller:
    """A connection of an API server."""
    return call()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server with the webhook's configuration, which has no caBundle yet."""
    made = ApiServer(tmp_path)
    made.configure()
    yield made
    made.close()
