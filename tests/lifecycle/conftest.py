"""A node for each test, with nothing left of it afterwards."""

from collections.abc import Iterator

import pytest

from tests.lifecycle.node import Node
from tests.netns.conftest import pytest_runtest_setup

__all__ = ["pytest_runtest_setup"]


@pytest.fixture
def node() -> Iterator[Node]:
    """A node without pods."""
    with Node() as made:
        yield made
