"""Whole manifests, word by word: what a reader of a diff will see."""

from pathlib import Path

import pytest

from tests.unit.inject.manifests import FOLDER, Remora

CASES = {
    "deployment-web.yaml": (),
    "deployment-indented-lists.yaml": ("--sidecar", "classic"),
    "deployment-many-documents.yaml": ("--identity-source", "csi", "--mtls", "strict"),
    "deployment-settings.yaml": ("--access-log", "json"),
    "cronjob-block.yaml": (),
    "job-migrate.yaml": ("--identity-source", "secret", "--identity-secret", "jobs"),
    "list-of-kubectl.yaml": ("--image", "registry.example.org/remora:1"),
    "json-one-line.json": (),
    "pod-bare.yaml": ("--manifests", "mesh"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_comes_out_word_by_word(name: str, remora: Remora) -> None:
    said = remora.inject(FOLDER / "corpus" / name, *CASES[name])
    assert said.out == (FOLDER / "golden" / name).read_text()


def test_there_is_no_other_golden_file() -> None:
    assert {path.name for path in (FOLDER / "golden").iterdir()} == CASES.keys()


def test_no_golden_file_depends_on_where_it_was_made() -> None:
    for path in (FOLDER / "golden").iterdir():
        assert str(Path.cwd()) not in path.read_text()
