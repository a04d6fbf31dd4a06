"""What holds for every manifest of the collection, whatever is in it."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from inject import documents, patch, yamls
from inject.kinds import places
from inject.settings import DEFAULTS
from tests.unit.inject.manifests import CORPUS, FOLDER, Remora, each_manifest

# Of these the text is made anew, so that only what they say comes back: anchors are shared between
# a changed and an unchanged place, nulls became something, a line's end was missing.
REWRITTEN = {
    "deployment-anchors.yaml",
    "job-no-template-metadata.yaml",
    "no-trailing-newline.yaml",
    "pod-null-fields.yaml",
}
FLAGS = (
    (),
    ("--sidecar", "classic"),
    ("--identity-source", "csi", "--mtls", "strict", "--proxy-cpu-limit", "2"),
    ("--manifests", "mesh"),
)
each_set_of_flags = pytest.mark.parametrize(
    "flags", FLAGS, ids=["default", "classic", "csi", "manifests"]
)

# The first with native sidecars, and later ones. Strict: an unknown field fails.
VERSIONS = ("1.29.0", "1.31.0", "1.33.0", "1.35.0", "1.37.0")
# Shapes that the schema itself does not know, on purpose.
NOT_OF_THE_SCHEMA = {
    "deployment-unknown-fields.yaml",
    "deployment-words-of-yaml-1.1.yaml",
    "crd-named-deployment.yaml",
    "custom-resource.yaml",
    "list-of-deployments.yaml",
}


def values(text: str) -> list[Any]:
    return [yamls.read(part)[0] for _, part in documents.split(text)]


def without_ours(value: object) -> object:
    """Drop everything that is ours, by its name alone."""
    if isinstance(value, dict):
        kept = {
            key: without_ours(each)
            for key, each in value.items()
            if not (str(key).startswith("remora.dev/") or "default-container" in str(key))
        }
        return {key: each for key, each in kept.items() if each not in ({}, [], None)}
    if isinstance(value, list):
        named = [each for each in value if not _is_ours(each)]
        return [without_ours(each) for each in named]
    return value


def _is_ours(item: object) -> bool:
    return isinstance(item, dict) and str(item.get("name")).startswith("remora-")


def test_the_collection_is_large_enough() -> None:
    assert len(CORPUS) >= 40


@each_set_of_flags
@each_manifest
def test_injecting_twice_is_injecting_once(
    path: Path, flags: tuple[str, ...], remora: Remora
) -> None:
    once = remora.inject(path, *flags)
    assert once.code == 0, once.err
    again = remora.inject(remora.file(once.out, f"again{path.suffix}"), *flags)
    assert again.out == once.out


@each_set_of_flags
@each_manifest
def test_uninjecting_gives_back_what_there_was(
    path: Path, flags: tuple[str, ...], remora: Remora
) -> None:
    once = remora.inject(path, *flags).out
    back = remora.uninject(remora.file(once, f"once{path.suffix}")).out
    given = path.read_bytes().decode()
    assert values(back) == values(given)
    if path.name not in REWRITTEN:
        assert back == given


@each_manifest
def test_what_is_not_ours_is_as_it_was(path: Path, remora: Remora) -> None:
    once = remora.inject(path).out
    assert without_ours(values(once)) == without_ours(values(path.read_text()))


@each_manifest
def test_no_comment_is_lost(path: Path, remora: Remora) -> None:
    once = remora.inject(path).out
    if path.name not in REWRITTEN:
        lines = path.read_text().splitlines()
        assert not [line for line in lines if "# " in line and line not in once]


@each_manifest
def test_uninjecting_what_was_never_injected_changes_nothing(path: Path, remora: Remora) -> None:
    assert remora.uninject(path).out == path.read_bytes().decode()


def test_other_flags_inject_anew_as_if_it_were_the_first_time(remora: Remora) -> None:
    path = FOLDER / "corpus" / "deployment-web.yaml"
    old = remora.file(remora.inject(path, "--image", "remora:old").out)
    said = remora.inject(old, "--image", "remora:new")
    assert "injected anew" in said.err
    assert said.out == remora.inject(path, "--image", "remora:new").out


@each_manifest
def test_the_patch_for_the_webhook_is_json_whose_parents_come_first(path: Path) -> None:
    for place, outcome in _planned(path):
        made = json.loads(json.dumps([each.as_json() for each in outcome.patch]))
        assert {each["op"] for each in made} <= {"add"}
        assert patch.apply(place.pod, outcome.patch)["spec"]["containers"]


def _planned(path: Path) -> Iterator[tuple[Any, Any]]:
    change = documents.injecting(DEFAULTS)
    for value in values(path.read_text()):
        for place in places(value):
            yield place, change(place.pod, place.namespace)[1]


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the validator keep its schemas: it would read them again for every object."""
    read = kubernetes_validate.utils.schema_contents
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(read))


@pytest.mark.slow
@pytest.mark.usefixtures("read_once")
@each_set_of_flags
def test_kubernetes_accepts_what_comes_out(flags: tuple[str, ...], remora: Remora) -> None:
    for path in CORPUS:
        if path.name in NOT_OF_THE_SCHEMA:
            continue
        for value in values(remora.inject(path, *flags).out):
            for each in value.get("items", [value]) if value else ():
                if each.get("kind") == "List":
                    continue
                for version in VERSIONS:
                    kubernetes_validate.validate(each, version, strict=True)
