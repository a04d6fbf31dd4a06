"""Fixtures of every test that needs the proxy as a process, and how the suite is chosen."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from proxy._fastpath import ABI
from tests.probes import build
from tests.support.mtls import FarProxy, MeshKit, NearProxy
from tests.support.rig import Pair, Rig, Route
from tests.support.sockets import LOOPBACK

# Tests that take minutes: each kind runs only when it is asked for with -m.
ON_DEMAND: Final = {
    "soak": "load for a minute, every pair of parameters, ThreadSanitizer; `make soak`",
    "image": "builds the image and runs it; `make image-test`",
}


def pytest_configure(config: pytest.Config) -> None:
    for name, text in ON_DEMAND.items():
        config.addinivalue_line("markers", f"{name}: {text}")


def pytest_sessionstart() -> None:
    """Refuse to call a sanitizer run good that was, by some path, a run of the release build."""
    expected = os.environ.get("REMORA_EXPECT_ABI", ABI)
    if expected != ABI:
        pytest.exit(f"the extension is a {ABI} build, not {expected}", returncode=1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unasked = [name for name in ON_DEMAND if name not in config.option.markexpr]
    left = [item for item in items if any(map(item.get_closest_marker, unasked))]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_collection_finish() -> None:
    """Set all that was collected aside: gc would go through ten thousand tests, each time anew."""
    gc.collect()
    gc.freeze()


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
