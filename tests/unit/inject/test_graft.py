"""Text that is changed in place: exactly where the value is, or not at all."""

import pytest

from inject import yamls
from inject.graft import graft

BLOCK = """\
a:  1  # one
list:
- x
- y   # why
# before z
z: {k: v}   # zed
"""


def grafted(text: str, new: object) -> str | None:
    old, node = yamls.read(text)
    assert node is not None
    return graft(text, node, old, new)


@pytest.mark.parametrize(
    ("new", "before", "after"),
    [
        ({"a": 2}, "a:  1  # one", "a:  2  # one"),
        ({"a": "1"}, "a:  1  # one", "a:  '1'  # one"),
        ({"a": [1]}, "a:  1  # one", "a:  [1]  # one"),
        ({"list": ["w", "x", "y"]}, "- x\n", "- w\n- x\n"),
        ({"list": ["x", "y", "z"]}, "- y   # why\n", "- y   # why\n- z\n"),
        ({"list": ["y"]}, "- x\n", ""),
        ({"list": ["x"]}, "- y   # why\n", ""),
        ({"z": {"k": "v", "l": [1]}}, "{k: v}", '{k: v, "l": [1]}'),
        ({"z": {}}, "{k: v}", "{}"),
    ],
)
def test_only_what_changes_is_changed(new: dict[str, object], before: str, after: str) -> None:
    made = grafted(BLOCK, {**yamls.read(BLOCK)[0], **new})
    assert made == BLOCK.replace(before, after)


def test_members_that_are_added_come_behind_the_last_line_of_the_value_before() -> None:
    assert grafted(BLOCK, {**yamls.read(BLOCK)[0], "new": ["n"]}) == f"{BLOCK}new:\n- n\n"


def test_a_member_that_goes_takes_its_lines_along() -> None:
    value = yamls.read(BLOCK)[0]
    del value["list"]
    assert grafted(BLOCK, value) == BLOCK.replace("list:\n- x\n- y   # why\n", "")


def test_neighbours_in_brackets_go_together() -> None:
    assert grafted("{a: 1, b: 2, c: 3, d: 4}\n", {"c": 3}) == "{c: 3}\n"
    assert grafted("{a: 1, b: 2, c: 3, d: 4}\n", {"a": 1, "d": 4}) == "{a: 1, d: 4}\n"


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("a: &x {k: 1}\nb: *x\n", {"a": {"k": 1, "l": 2}, "b": {"k": 1}}),
        ("a: 1\n", {}),
        ("base: &b {k: 1}\na:\n  <<: *b\n", {"base": {"k": 1}, "a": {"k": 1, "l": 2}}),
        ("- 1\n- 2\n- 3\n", [0, 2]),
        ("{k: v}\n", {"l": 1}),
        ("a: |\n  one\n  two\n", {"a": "three"}),
    ],
)
def test_what_cannot_be_done_in_place_is_not_done(text: str, new: object) -> None:
    assert grafted(text, new) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("=", "="),
        ("0644", 0o644),
        ("yes", True),
        ("~", None),
        ("1e3", "1e3"),
    ],
)
def test_words_are_read_as_kubernetes_reads_them_and_written_so_that_they_stay(
    text: str, value: object
) -> None:
    assert yamls.read(text)[0] == value
    assert yamls.read(yamls.write(value))[0] == value
