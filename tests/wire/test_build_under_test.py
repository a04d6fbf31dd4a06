"""The suite tests the build that it was asked to test, here and in the processes that it starts."""

import os
from pathlib import Path
from typing import Final

from proxy import _fastpath
from tests.support.rig import Route

WANTED: Final = os.environ.get("REMORA_EXPECT_ABI", "release")


def test_the_extension_is_of_the_build_that_was_asked_for() -> None:
    assert WANTED == _fastpath.ABI


def test_a_proxy_runs_the_very_same_extension(route: Route) -> None:
    mapped = Path(f"/proc/{route.proxy.pid}/maps").read_text()
    assert str(Path(_fastpath.__file__).resolve()) in mapped


def test_a_proxy_of_the_debug_build_runs_under_the_sanitizer(route: Route) -> None:
    mapped = Path(f"/proc/{route.proxy.pid}/maps").read_text()
    assert ("/libasan.so" in mapped) == (WANTED == "debug")
