"""The shop of the benchmark: its objects are good, and its figures say what was seen."""

import json
from pathlib import Path

import pytest

from bench.shop import objects
from bench.shop.__main__ import row
from bench.shop.places import replicas
from proxy.check import main as check

PORTS = {replica.name: 20_000 + n for n, replica in enumerate(replicas())}


@pytest.mark.parametrize(
    "policies", [objects.turns(), objects.policies()], ids=["turns", "policies"]
)
def test_remora_takes_the_objects_of_the_shop(
    tmp_path: Path, policies: list[objects.Object], capsys: pytest.CaptureFixture[str]
) -> None:
    items = objects.world(PORTS) + policies
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    (tmp_path / "shop.json").write_text(text)
    assert check([str(tmp_path)]) == 0, capsys.readouterr()


def test_failures_and_percentiles_are_of_all_kinds_of_requests_together() -> None:
    kinds = [
        {"num_requests": 98, "num_failures": 4, "response_times": {"5": 50, "10": 48}},
        {"num_requests": 2, "num_failures": 1, "response_times": {"400": 2}},
    ]
    assert row("none", kinds) == ["none", "100", "5", "95.00 %", "5", "10", "400", "400"]


def test_one_replica_is_slow_and_one_is_flaky() -> None:
    """A canary: without them every mode would look the same."""
    assert [each.name for each in replicas() if each.is_slow] == ["stock-1"]
    assert [each.name for each in replicas() if each.is_flaky] == ["catalog-1"]
