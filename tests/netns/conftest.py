"""Tests with real network namespaces: when they run, and the pods they run in."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from zlib import crc32

import pytest

from tests.netns import harness
from tests.netns.harness import Namespace, Pods
from tests.netns.stage import Stage

# Where these tests must not be left out: a skip there would read as a pass.
_DEMANDED = os.environ.get("CI") == "true" or os.environ.get("REMORA_REQUIRE_ROOT") == "1"

_HERE = Path(__file__).parent
BACKENDS = ("nft", "legacy", "nftables")
FAMILIES = ("ipv4", "ipv6")


@cache
def _reason() -> str:
    return harness.reason_not_to_run()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave half of the pairs of backend and family to `make soak`.

    Every test meets each backend and each family; which goes with which changes from test to test.
    """
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if {"backend", "family"} <= parameters.keys() and item.path.parent == _HERE:
            backend = BACKENDS.index(parameters["backend"])
            name = crc32(item.name.partition("[")[0].encode())
            if (backend + FAMILIES.index(parameters["family"]) + name) % 2:
                item.add_marker(pytest.mark.soak)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") is None or not _reason():
        return
    if _DEMANDED:
        pytest.fail(f"{_reason()} (CI or REMORA_REQUIRE_ROOT asks for it)")
    pytest.skip(_reason())


@pytest.fixture
def pod() -> Iterator[Namespace]:
    """One namespace with nothing but lo."""
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def pods() -> Iterator[Pods]:
    """Two pods that reach each other."""
    with harness.pair() as joined:
        yield joined


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the ways to hold the rules."""
    name: str = request.param
    return name


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each address family."""
    name: str = request.param
    return name


@pytest.fixture
def stage(pods: Pods, family: str) -> Stage:
    """Two pods with listeners everywhere a connection may land, in one family."""
    return Stage(pods, family)
