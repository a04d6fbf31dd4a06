"""Vocabularies of the data plane that the control side explains or passes on."""

import tomllib
from pathlib import Path

import pytest

from proxy import __version__, engine, errors, snapshot
from proxy.config import LISTENERS_MAX, read_config
from proxy.drain import Phase
from proxy.listeners import EXPLICIT, INBOUND, OUTBOUND

ROOT = Path(__file__).parents[3]


def test_every_close_reason_is_explained_and_none_is_made_up() -> None:
    assert tuple(errors.REASONS) == engine.REASONS


def test_every_end_that_is_not_clean_has_a_hint() -> None:
    without = [name for name, reason in errors.REASONS.items() if not reason.hint]
    assert without == ["open", "ok"]


def test_a_reason_without_an_explanation_does_not_break_the_log() -> None:
    assert errors.explain("new").flag == "?"


def test_a_refused_connect_asks_whether_the_app_listens_on_the_pods_address() -> None:
    assert "listening on the pod's address" in errors.explain("connect_refused").hint


def test_listeners_have_the_directions_of_the_data_plane() -> None:
    assert {INBOUND, OUTBOUND, EXPLICIT} == set(engine.DIRECTIONS)


def test_a_draft_has_exactly_the_settings_of_a_snapshot() -> None:
    made = snapshot.draft(read_config([], {}), [])
    assert tuple(made.settings) == snapshot.SETTINGS


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--keepalive", "off", "--user-timeout", "0", "--no-splice"),
        ("--idle-timeout", "18h", "--half-open-timeout", "1ms", "--connect-timeout", "10m"),
        ("--detect-bytes-max", "64", "--keepalive", "32767s/32767s/127"),
        ("--detect-bytes-max", "16384", "--user-timeout", "1h"),
        ("--no-http", "--http-forwarded", "off", "--no-http-request-ids"),
        ("--http-forwarded", "all", "--http-idle-timeout", "18h", "--http-pool-max", "65536"),
        ("--detect-timeout", "1ms", "--http-header-timeout", "1h", "--http-pool-max", "1"),
        ("--http-flush-timeout", "1h", "--http-pool-idle-timeout", "18h"),
    ],
)
def test_what_the_flags_allow_the_data_plane_takes(flags: tuple[str, ...]) -> None:
    made = engine.Engine(1, 1)
    try:
        assert made.publish(snapshot.draft(read_config(flags, {}), [])) == 1
    finally:
        made.stop()


def test_the_bound_of_listeners_is_that_of_a_worker() -> None:
    limits = (ROOT / "proxy" / "fast" / "limits.pxd").read_text()
    assert f"LISTENERS_MAX = {LISTENERS_MAX}\n" in limits


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_phases_are_the_words_of_ctl_status() -> None:
    assert [str(phase) for phase in Phase] == ["running", "draining", "drained"]
