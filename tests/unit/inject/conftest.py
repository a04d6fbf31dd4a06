"""The commands, at hand."""

from pathlib import Path

import pytest

from tests.unit.inject.manifests import Remora


@pytest.fixture
def remora(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Remora:
    """The commands; what they print is caught."""
    return Remora(capsys, tmp_path)
