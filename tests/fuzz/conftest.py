"""Fixtures of the fuzzers that go by ticks."""

from collections.abc import Iterator

import pytest

from tests.support.rig import Rig
from tests.support.stepper import Stepper


@pytest.fixture(params=[0, 1], ids=["copy", "splice"])
def stepper(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Stepper]:
    """One worker without its thread, which holds nothing at the end."""
    made = Stepper(rig)
    made.publish(2, splice=request.param)
    made.tick()  # takes over the listener
    yield made
    made.engine.stop()
    assert not any(made.live().values())
