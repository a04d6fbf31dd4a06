"""The parts of proxy/fast with a Python handle."""

from types import ModuleType

import pytest

from tests.probes import build
from tests.probes.faulty import Faulty


@pytest.fixture(scope="session")
def probe() -> ModuleType:
    return build.loaded("probe")


@pytest.fixture(scope="session")
def faulty() -> Faulty:
    return Faulty()
