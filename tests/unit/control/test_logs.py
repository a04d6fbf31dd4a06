"""Log lines: one event, its fields, and nothing a peer could forge."""

import json
import os
from collections.abc import Callable

import pytest

from proxy.logs import Log, json_line, text_value, timestamp

MakePipe = Callable[[], tuple[int, int]]


def test_a_json_line_is_one_object_with_time_level_and_event(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Log("info", "json", fd=writer).info("ready", ms=12)
    line = json.loads(os.read(reader, 1000))
    assert (line["level"], line["event"], line["ms"]) == ("info", "ready", 12)
    assert line["time"].endswith("Z")


def test_a_text_line_has_the_same_as_words(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Log("info", "text", fd=writer).warning("drain_deadline", connections=3)
    assert os.read(reader, 1000).decode().split()[1:] == [
        "WARNING",
        "drain_deadline",
        "connections=3",
    ]


def test_a_pipe_gets_no_colours(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    Log("info", "text", fd=writer).error("fault")
    assert b"\x1b" not in os.read(reader, 1000)


def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = os.openpty()
    try:
        Log("info", "text", fd=theirs).error("fault")
        assert b"\x1b[1;31mERROR" in os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_line_below_the_level_is_not_written(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    log = Log("warning", "json", fd=writer)
    log.info("quiet")
    log.warning("loud")
    assert json.loads(os.read(reader, 1000))["event"] == "loud"


def test_the_level_can_be_changed_at_run_time(make_pipe: MakePipe) -> None:
    reader, writer = make_pipe()
    log = Log("warning", "json", fd=writer)
    log.level = "debug"
    log.debug("detail")
    assert json.loads(os.read(reader, 1000))["event"] == "detail"


def test_a_timestamp_is_rfc_3339_in_utc() -> None:
    assert timestamp(1_700_000_000_000_042) == "2023-11-14T22:13:20.000042Z"


@pytest.mark.parametrize("hostile", ["a\nb", "a b", 'a"b', "a=b", "", "\x1b[2J", "\x9b2J", "é"])
def test_text_of_a_peer_cannot_forge_a_field_or_a_line(hostile: str) -> None:
    assert json.loads(text_value(hostile)) == hostile
    assert text_value(hostile).isascii()


def test_a_json_line_never_holds_a_control_character() -> None:
    assert json_line({"sni": "a\nb\x1b\x9b"}).isascii()
    assert json_line({"sni": "a\nb"}).count("\n") == 1
