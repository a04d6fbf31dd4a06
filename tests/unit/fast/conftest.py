"""The real extension with calls that fail on demand; `probe` stands in tests/conftest.py."""

import pytest

from tests.probes.faulty import Faulty


@pytest.fixture(scope="session")
def faulty() -> Faulty:
    return Faulty()
