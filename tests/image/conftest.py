"""The image, built once for all tests of it, and containers of it in network namespaces."""

import faulthandler
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from deploy.image import build, container
from deploy.image.build import Built, CannotBuild
from deploy.image.container import Place
from tests.image.sidecar import ENVIRONMENT, ContainerPod
from tests.netns import harness
from tests.netns.harness import Pods

Result = TypeVar("Result")

# Where these tests must not be left out: a skip there would read as a pass.
_DEMANDED = os.environ.get("CI") == "true" or os.environ.get("REMORA_REQUIRE_ROOT") == "1"


def _leave_out(reason: str) -> None:
    if _DEMANDED:
        pytest.fail(f"{reason} (CI or REMORA_REQUIRE_ROOT asks for it)")
    pytest.skip(reason)


def _made(make: Callable[[], Result]) -> Result:
    """Return what is built, however long that takes, or leave the tests out."""
    faulthandler.cancel_dump_traceback_later()  # that is for tests that hang; see pyproject.toml
    try:
        return make()
    except CannotBuild as reason:
        _leave_out(f"the image cannot be built here: {reason}")
        raise


@pytest.fixture(scope="session")
def built() -> Built:
    """The image as `make image` builds it; only what changed is built again."""
    return _made(lambda: build.build("remora"))


@pytest.fixture(scope="session")
def built_debug() -> Built:
    """The image with a shell."""
    return _made(lambda: build.build("debug"))


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel that is in the image."""
    return _made(build.wheel)


@pytest.fixture
def tree(built: Built) -> Path:
    """The files of the image."""
    return built.tree


@pytest.fixture
def pods() -> Iterator[Pods]:
    """Two pods that reach each other."""
    if reason := container.reason_not_to_run() or harness.reason_not_to_run():
        _leave_out(reason)
    with harness.pair() as joined:
        yield joined


@pytest.fixture
def pod(pods: Pods, built: Built, tmp_path: Path) -> ContainerPod:
    """A pod in which the containers that injection writes can be run."""
    place = Place(built.tree, built.image.config, tmp_path, pods.left.path, ENVIRONMENT)
    return ContainerPod(pods, place)
