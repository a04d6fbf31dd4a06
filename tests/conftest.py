"""Fixtures of every test that needs the proxy as a process, and how the suite is chosen."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from proxy._fastpath import ABI
from tests.probes import build
from tests.support.mtls import FarProxy, MeshKit, NearProxy
from tests.support.rig import Pair, Rig, Route
from tests.support.sockets import LOOPBACK


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: minutes long; runs only when asked for with -m soak")


def pytest_sessionstart() -> None:
    """Refuse to call a sanitizer run good that was, by some path, a run of the release build."""
    expected = os.environ.get("REMORA_EXPECT_ABI", ABI)
    if expected != ABI:
        pytest.exit(f"the extension is a {ABI} build, not {expected}", returncode=1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" in config.option.markexpr:
        return
    soaks = [item for item in items if item.get_closest_marker("soak")]
    if soaks:
        config.hook.pytest_deselected(items=soaks)
        items[:] = [item for item in items if item not in soaks]


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Whatever the test starts on it is stopped, and checked, when the test is over."""
    made = Rig()
    try:
        yield made
    finally:
        try:
            made.close()
        finally:
            made.print_logs()


@pytest.fixture
def kit(rig: Rig, tmp_path: Path) -> MeshKit:
    """An authority, and proxies and ends with identities of it."""
    return MeshKit(rig, tmp_path)


@pytest.fixture
def far(kit: MeshKit) -> FarProxy:
    """The proxy that takes mesh TLS in."""
    return FarProxy(kit)


@pytest.fixture
def near(kit: MeshKit) -> NearProxy:
    """The proxy that speaks mesh TLS to its upstream."""
    return NearProxy(kit)


@pytest.fixture
def route(rig: Rig) -> Route:
    """One proxy, one explicit listener, one listening upstream; IPv4, all defaults."""
    return rig.route()


@pytest.fixture(params=list(LOOPBACK))
def route_of_each_family(rig: Rig, request: pytest.FixtureRequest) -> Route:
    """The same over IPv4 and over IPv6."""
    return rig.route(host=LOOPBACK[request.param])


@pytest.fixture
def pair(route_of_each_family: Route) -> Pair:
    """One open connection through the proxy, over IPv4 and over IPv6."""
    return route_of_each_family.pair()


@pytest.fixture(scope="session")
def probe() -> ModuleType:
    """Parts of the data plane with a Python handle, compiled with every check there is."""
    return build.loaded("probe")


@pytest.fixture(scope="session")
def codec() -> ModuleType:
    """The HTTP/1.1 codec with a Python handle, compiled the same way."""
    return build.loaded("http1")


@pytest.fixture(scope="session")
def decisions() -> ModuleType:
    """Routing, balancing and budgets with a Python handle, compiled the same way."""
    return build.loaded("decisions")
