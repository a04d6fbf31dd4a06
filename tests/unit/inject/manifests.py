"""The collection of manifests, and pods to try things with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from inject import command, plan
from inject.patch import apply
from inject.plan import Outcome
from inject.settings import DEFAULTS, PREFIX

FOLDER: Final = Path(__file__).parent
CORPUS: Final = sorted((FOLDER / "corpus").iterdir())

each_manifest = pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)


class Said(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


class Remora:
    """`remora inject` and `remora uninject`, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder

    def inject(self, *words: object) -> Said:
        return self._said(command.main(list(map(str, words))))

    def uninject(self, *words: object) -> Said:
        return self._said(command.main_uninject(list(map(str, words))))

    def file(self, text: str, name: str = "given.yaml") -> Path:
        path = self._folder / name
        path.write_bytes(text.encode())
        return path

    def _said(self, code: int) -> Said:
        out, err = self._capsys.readouterr()
        return Said(code, out, err)


def pod(
    annotations: Mapping[str, object] | None = None, **spec: object
) -> dict[str, dict[str, Any]]:
    """Return a pod as raw JSON, with annotations below our prefix."""
    notes = {PREFIX + name: text for name, text in (annotations or {}).items()}
    containers = [{"name": "app", "image": "app:1"}]
    return {
        "metadata": {"name": "p", "annotations": notes},
        "spec": {"containers": containers, **spec},
    }


def injected(given: dict[str, Any], **settings: str) -> dict[str, Any]:
    """Return a pod with the sidecar in it."""
    outcome = planned(given, **settings)
    assert outcome.patch, outcome
    made: dict[str, Any] = apply(given, outcome.patch)
    return made


def planned(given: dict[str, Any], **settings: str) -> Outcome:
    """Return what would be done with a pod."""
    return plan.inject(given, {**DEFAULTS, **settings})


def container(given: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a container of a pod by its name."""
    spec = given["spec"]
    everyone = [*spec.get("initContainers", []), *spec["containers"]]
    (found,) = [each for each in everyone if each["name"] == name]
    assert isinstance(found, dict)
    return found


def environment(given: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of the proxy: texts, and where others come from."""
    listed = container(given, "remora-proxy")["env"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in listed}
