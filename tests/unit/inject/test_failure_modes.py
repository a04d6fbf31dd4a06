"""docs/failure-modes.md: what it refers to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "failure-modes.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "| what breaks" not in line]
TESTS = sorted(set(re.findall(r"\b(?:wire|netns|kube|scenarios|lifecycle)/test_\w+\.py", PAGE)))


@pytest.mark.parametrize("test", TESTS)
def test_a_test_that_shows_a_failure_is_there(test: str) -> None:
    assert (ROOT / "tests" / test).exists()


def test_each_failure_has_all_five_columns() -> None:
    assert {row.count("|") - 1 for row in ROWS} == {5}


def test_metrics_that_it_names_are_documented() -> None:
    documented = (ROOT / "docs" / "metrics.md").read_text()
    named = set(re.findall(r"\bremora_[a-z_]+", PAGE))
    assert {name for name in named if f"`{name}`" not in documented} == set()
