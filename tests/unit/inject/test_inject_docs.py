"""docs/inject.md names what there is, and nothing else."""

import re
from pathlib import Path

from inject import kinds, parts
from inject.reasons import PORTS, REASONS
from inject.settings import DEFAULTS, INJECT, OPTIONS, annotation_of
from tests.unit.inject.manifests import environment, injected, pod

PAGE = (Path(__file__).parents[3] / "docs" / "inject.md").read_text()
ROW = re.compile(r"^\| `([\w./-]+)` \| *(.*?) *\|", re.MULTILINE)


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_annotation_is_documented_with_its_default() -> None:
    rows = dict(ROW.findall(section("Annotations")))
    defaults = {annotation_of(option): DEFAULTS[option.key] for option in OPTIONS}
    assert rows.pop(INJECT) == ""
    assert rows == {name: f"`{text}`" if text else "" for name, text in defaults.items()}


def test_every_reason_is_documented() -> None:
    rows = [word for word, _ in ROW.findall(section("Why a pod is left alone"))]
    assert rows == list(REASONS)


def test_the_ports_that_an_application_cannot_have_are_documented() -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `port_taken`")]
    assert tuple(map(int, re.findall(r"\d+", row))) == PORTS


def test_every_kind_is_documented() -> None:
    assert not [kind for kind in kinds.PODS if kind not in section("Five minutes")]


def test_every_volume_and_variable_of_the_kubelet_is_documented() -> None:
    made = injected(pod({"identity-source": "csi", "manifests": "mesh"}))
    volumes = [each["name"] for each in made["spec"]["volumes"]]
    told = [name for name, each in environment(made).items() if isinstance(each, dict)]
    told += ["REMORA_MANIFESTS", "REMORA_POD", "REMORA_LABELS"]
    text = section("What is injected, and why")
    assert not [name for name in (*volumes, *told) if f"`{name}`" not in text]
    assert f"less {parts.RESET_BEFORE_END_S} s" in text
