"""Gateway API's precedence: the table, by the model and the slow matcher."""

from pathlib import Path

import pytest

from proxy.traffic.matching import reference_match
from tests.support.route_cases import Case, cases, name_of, named, rows_of

CASES_MIN = 150


def test_the_table_is_long_enough() -> None:
    assert len(cases()) >= CASES_MIN


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_request_falls_to_the_rule_that_gateway_api_says(case: Case, tmp_path: Path) -> None:
    rows = rows_of(tmp_path, case.routes)
    found = reference_match(rows, rows.fronts[0], *case.request)
    assert name_of(rows, found) == named(case.expected)
