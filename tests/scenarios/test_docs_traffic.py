"""The pages of docs/traffic are run: whoever follows one sees what it shows."""

import re
from pathlib import Path

import pytest

from proxy.config import GROUPS
from tests.support.pages import TREE, Page, Step, Words, steps
from tests.support.rig import Rig

PAGES = sorted((TREE / "docs" / "traffic").glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_shows_what_one_sees(path: Path, rig: Rig, tmp_path: Path) -> None:
    assert list(steps(path.read_text())), "nothing to run"
    Page(rig, path, tmp_path).run()


def test_docs_name_every_page() -> None:
    text = (TREE / "docs" / "traffic.md").read_text()
    missing = [path.name for path in PAGES if f"(traffic/{path.name})" not in text]
    assert not missing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_names_flags_that_there_are(path: Path) -> None:
    flags = {option.flag for group in GROUPS for option in group.options}
    assert set(re.findall(r"`(--[a-z-]+)", path.read_text())) <= flags


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("from <one>\nfrom <one>\n", "from a\nfrom b\n"),
        ("took ... ms\n", "took 5 s\n"),
        ("a\n...\nb\n", "a\n1\n2\n"),
        ("a\n", "a\nb\n"),
        ("", "a\n"),
    ],
)
def test_what_a_page_does_not_show_is_found(shown: str, printed: str) -> None:
    with pytest.raises(AssertionError, match="the page"):
        Words().check(Step("true", shown), printed)


def test_holes_of_a_page_are_filled() -> None:
    words = Words()
    words.check(Step("true", "from <one>, <two>\n...\nend  ... ms\n"), "from a, b\n1\nend 5 ms\n")
    words.check(Step("true", "<two> <one>\n"), "b a\n")
