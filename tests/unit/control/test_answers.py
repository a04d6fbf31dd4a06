"""Flags and words of HTTP: every one of the data plane is explained, and none is made up."""

import re
from pathlib import Path

import pytest

from proxy import answers, engine
from proxy.errors import REASONS

FAST = Path(__file__).parents[3] / "proxy" / "fast"
H1 = "".join(path.read_text() for path in sorted(FAST.glob("h1*.pxd")))
REPLY = re.compile(r'h1_re(?:ply|fuse)\(\s*w, c, (?:head, )?(\d+), FLAG_(\w+), b"(\w+)"[,)]')
FAULT = re.compile(r'status == (\d+):\s+return b"(\w+)"')


def words_of_the_data_plane() -> dict[str, tuple[int, str]]:
    replies = {word: (int(status), flag) for status, flag, word in REPLY.findall(H1)}
    faults = {word: (int(status), "DPE") for status, word in FAULT.findall(H1)}
    asked = {"fault_injected": (503, "FI")}  # the status that an annotation names
    return replies | faults | asked | {"request_malformed": (400, "DPE")}


def test_every_flag_is_explained_and_none_is_made_up() -> None:
    assert tuple(answers.FLAGS) == engine.FLAGS


def test_every_flag_but_none_says_what_to_do() -> None:
    assert [name for name, flag in answers.FLAGS.items() if not flag.hint] == [answers.NO_FLAG]


def test_every_word_of_remora_error_is_explained_with_its_status_and_flag() -> None:
    explained = {word: (each.status, each.flag) for word, each in answers.ANSWERS.items()}
    assert explained == words_of_the_data_plane()


def test_every_text_of_the_data_plane_that_looks_like_a_word_was_found() -> None:
    written = set(re.findall(r'b"([a-z]+(?:_[a-z]+)+)"', H1))
    assert written == {word for word in answers.ANSWERS if "_" in word}


def test_a_flag_without_an_explanation_does_not_break_a_page() -> None:
    assert answers.explain_flag("NEW").text == "unknown"


@pytest.mark.parametrize("flag", sorted({each.flag for each in REASONS.values()} - {"NR"}))
def test_connections_and_requests_use_the_same_flags(flag: str) -> None:
    assert flag in answers.FLAGS


@pytest.mark.parametrize(
    ("status", "flag", "classification"),
    [
        (200, "-", "success"),
        (404, "-", "success"),
        (500, "-", "failure"),
        (503, "UF", "failure"),
        (200, "UC", "failure"),
        (0, "LR", "failure"),
        (0, "DC", "success"),
        (400, "DPE", "success"),
        (408, "SI", "success"),
    ],
)
def test_what_the_service_did_wrong_is_a_failure(
    status: int, flag: str, classification: str
) -> None:
    assert answers.classify(status, flag) == classification
