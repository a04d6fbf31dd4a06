"""docs/manifests.md names what is read, and its examples are good."""

import re
from pathlib import Path
from typing import Final

import pytest

from proxy import check
from proxy.sources.annotations import NAMES
from proxy.sources.kinds import KINDS
from tests.unit.manifests.making import service
from tests.unit.policy.objects import loaded

PAGE: Final = (Path(__file__).parents[3] / "docs" / "manifests.md").read_text()
ROW: Final = re.compile(r"^\| `(remora\.dev/[a-z-]+)` \| ([A-Za-z, ]+) \| `(.+?)` \|", re.MULTILINE)


def test_every_kind_is_documented_with_its_versions() -> None:
    table = PAGE[PAGE.index("| kind |") : PAGE.index("Other kinds are")]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    for kind, words in rows.items():
        first, *others = re.findall(r"`([^`]+)`", words)
        group, _, version = first.rpartition("/")
        assert (group, (version, *others)) == (KINDS[kind].group, KINDS[kind].versions)
    assert rows.keys() == KINDS.keys()


def test_every_annotation_is_documented_with_what_it_stands_on() -> None:
    on = {
        name: "Service" if of_services else "Service, routes" for name, of_services in NAMES.items()
    }
    assert {name: where for name, where, _ in ROW.findall(PAGE)} == on


@pytest.mark.parametrize(("name", "example"), [(name, text) for name, _, text in ROW.findall(PAGE)])
def test_the_example_of_an_annotation_is_good(tmp_path: Path, name: str, example: str) -> None:
    assert service(tmp_path, annotations=f"{name}: '{example}'").faults == ()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL))
def test_an_example_is_read_without_a_fault(tmp_path: Path, text: str) -> None:
    objects = loaded(tmp_path, text)
    (each,) = objects.http_routes + objects.destination_rules
    assert each.faults == ()


def test_every_flag_of_check_is_documented() -> None:
    flags = {option.flag for group in check.GROUPS for option in group.options}
    assert {flag for flag in flags if f"`{flag}" in PAGE} == flags
