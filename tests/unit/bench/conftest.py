"""What several tests of the benchmark share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.identities import identities as made


@pytest.fixture(scope="session")
def identities() -> Iterator[Path]:
    """Folder of a client, a server and a stranger, made once."""
    with made() as folder:
        yield folder
