"""Files become objects: whatever stands in them, in bounded depth, and only when they changed."""

import random
from pathlib import Path
from typing import Final

import pytest

from proxy.sources import loading
from proxy.sources.directory import ManifestDirectory
from proxy.sources.loading import load_files
from proxy.sources.nodes import DEPTH_MAX, Composed, Mapping, Sequence, compose
from proxy.sources.strict import FaultsError
from tests.unit.manifests.making import SAMPLES, thing
from tests.unit.policy.objects import faults_of, loaded, pod

WEB: Final = thing("Service", "spec: {ports: [{port: 80}]}")

# ---- YAML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "? " * 100_000])
def test_a_file_of_brackets_is_a_fault_and_not_the_end(tmp_path: Path, text: str) -> None:
    (fault,) = faults_of(tmp_path, text)
    assert str(fault) == f"0.yaml:1: is nested deeper than {DEPTH_MAX} levels"


def test_an_alias_is_a_fault_where_it_stands(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "a: &x [1]\nb:\n- *x\n")
    assert str(fault) == "0.yaml:3: is an alias (*name), which is not read"


def test_the_items_of_a_list_are_handed_out_before_the_list() -> None:
    found: list[Composed] = list(compose(b"items:\n- {a: 1}\n- {a: 2}\nkind: List\n"))
    assert [each.is_item for each in found] == [True, True, False]
    document = found[-1].node
    assert isinstance(document, Mapping)
    (_, items), _ = document.pairs()
    assert isinstance(items, Sequence)
    assert items.children == []


def test_what_has_items_and_is_no_list_is_one_object(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Menu\nitems: [{price: 1}]\nmetadata: {name: a}\n"
    assert loaded(tmp_path, text).skipped == {"Menu": 1}


def test_faults_of_a_file_do_not_hide_its_other_objects(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WEB + "apiVersion: v1\n---\n" + WEB.replace("web", "b"))
    objects, faults = ManifestDirectory(tmp_path).survey()
    assert [each.meta.name for each in objects.services] == ["web", "b"]
    assert [fault.line for fault in faults] == [6]


def test_an_object_of_another_group_with_a_known_kind_is_skipped(tmp_path: Path) -> None:
    text = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n"
    objects = loaded(tmp_path, text)
    assert (objects.services, objects.skipped) == ((), {"Service": 1})


# ---- what did not change ------------------------------------------------------------------------


class Reads:
    """A directory that counts the files that are parsed."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.names: list[str] = []
        self._really = loading.read_file
        monkeypatch.setattr(loading, "read_file", self._read_file)
        self.source = ManifestDirectory(path)

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def _read_file(self, path: Path) -> loading.Found:
        self.names.append(path.name)
        return self._really(path)

    def taken(self) -> list[str]:
        names, self.names = self.names, []
        return names


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(tmp_path, monkeypatch)


def test_only_files_that_changed_are_read_again(reads: Reads) -> None:
    reads.write("a.yaml", WEB)
    reads.write("b.yaml", pod("b"))
    before = reads.source.load()
    assert reads.taken() == ["a.yaml", "b.yaml"]
    reads.write("b.yaml", pod("b") + pod("c"))
    after = reads.source.load()
    assert reads.taken() == ["b.yaml"]
    assert after.services[0] is before.services[0]
    assert [each.meta.name for each in after.pods] == ["b", "c"]


def test_a_file_that_went_away_takes_its_objects_along(reads: Reads) -> None:
    reads.write("a.yaml", WEB)
    reads.source.load()
    (reads.path / "a.yaml").unlink()
    assert reads.source.load().services == ()
    reads.write("a.yaml", WEB)
    assert len(reads.source.load().services) == 1
    assert reads.taken() == ["a.yaml", "a.yaml"]


def test_faults_stay_as_long_as_their_file_does(reads: Reads) -> None:
    reads.write("a.yaml", "kind: Pod\n")
    reads.write("b.yaml", WEB)
    (_, first), (_, second) = reads.source.survey(), reads.source.survey()
    assert [fault.text for fault in first] == [
        "is no Kubernetes object: it has no kind and apiVersion"
    ]
    assert first == second
    assert reads.taken() == ["a.yaml", "b.yaml"]
    reads.write("a.yaml", pod("a"))
    assert len(reads.source.load().pods) == 1
    assert reads.taken() == ["a.yaml"]


def test_an_object_in_two_files_is_a_fault_even_if_only_one_changed(reads: Reads) -> None:
    reads.write("a.yaml", WEB)
    reads.source.load()
    reads.write("b.yaml", WEB)
    with pytest.raises(FaultsError, match=r"b\.yaml:1: Service shop/web: stands in a\.yaml:1, too"):
        reads.source.load()
    assert reads.taken() == ["a.yaml", "b.yaml"]


# ---- any text at all ----------------------------------------------------------------------------

# Values between bars.
_ODD_WORDS: Final = r"""
null|~|-1|0|1|1.5|1e999|.nan|0x10|1_000|1:30|true|=|<<|2026-01-01|[]|{}|[[]]|{a: {}}|''|'*'
!!binary aGk=|!!int x|!!null x|!!bool x|!!float x|!!set {a}|!x y|! 1|'²'|'१'|"\u0000"|"\uD83D"
"\n"|'/'|'//'|'%'|'1s'|10.0.0.1|'::'|Service|Pod|List|v1|&a b|*a|>|%|@|`|'[^'|'(?'
9999999999999999999|99999999999999999999
"""
ODD: Final = [*_ODD_WORDS.strip().replace("\n", "|").split("|"), "9" * 5000, "x" * 300, "|"]


TEXTS: Final = {path.stem: path.read_text() for path in sorted(SAMPLES.iterdir())}


def spoiled(text: str, dice: random.Random) -> bytes:
    """Return a text in which something is not as it was."""
    lines = text.splitlines()
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(lines))
        name, colon, _ = lines[at].partition(":")
        what = dice.randrange(7)
        if what < 3 and colon:
            lines[at] = f"{name}: {dice.choice(ODD)}"
        elif what == 3:
            lines[at] = dice.choice(["  ", "- ", "? ", "\t"]) + lines[at]
        elif what == 4:
            del lines[at]
        elif what == 5:
            lines.insert(at, lines[dice.randrange(len(lines))])
        else:
            lines[at] = lines[at].replace(":", dice.choice([": x:", "", " ", ":  - "]), 1)
        lines = lines or [""]
    raw = bytearray("\n".join(lines).encode())
    if dice.random() < 0.2:
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw)


def faults_in(path: Path, text: bytes) -> int:
    """Return how many faults a text has."""
    path.write_bytes(text)
    try:
        load_files([path])
    except FaultsError as wrong:
        return len(wrong.faults)
    return 0


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("seed", range(4))
def test_no_text_is_more_than_a_fault(tmp_path: Path, name: str, seed: int) -> None:
    dice = random.Random(f"{name}{seed}")  # noqa: S311 - a test
    found = [faults_in(tmp_path / "a.yaml", spoiled(TEXTS[name], dice)) for _ in range(100)]
    assert 0 < found.count(0) < len(found), "some must be spoiled and some not"


@pytest.mark.parametrize("seed", range(4))
def test_no_noise_is_more_than_a_fault(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a test
    words = [*b"[]{}:-?,&*!|>'\"%@`# \n\t", *map(ord, "akind:0\x00\xff")]
    noise = [bytes(dice.choices(words, k=dice.randint(0, 40))) for _ in range(300)]
    assert sum(faults_in(tmp_path / "a.yaml", text) for text in noise) > 0
