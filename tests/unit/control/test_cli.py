"""The command line from outside: exit codes, and where the words go."""

import os
import subprocess
import sys

import pytest

from proxy import __version__, ctl


def remora(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    ours = {name: text for name, text in os.environ.items() if not name.startswith("REMORA_")}
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=ours | environ,
        timeout=30,
    )


def test_without_a_command_the_usage_goes_to_stderr() -> None:
    done = remora()
    assert done.returncode == 64
    assert done.stderr.startswith("usage: remora")
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [("--help",), ("proxy", "--help"), ("ctl", "--help")])
def test_help_that_was_asked_for_goes_to_stdout(arguments: tuple[str, ...]) -> None:
    done = remora(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: remora")
    assert done.stderr == ""


def test_an_unknown_command_is_named() -> None:
    done = remora("prxoy")
    assert done.returncode == 64
    assert "'prxoy'" in done.stderr


def test_the_version_names_the_build() -> None:
    done = remora("version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"remora {__version__} (extension ")


def test_each_fault_of_the_configuration_is_one_line_and_nothing_is_opened() -> None:
    done = remora("proxy", "--workers", "0", "--admin", "here", REMORA_LOG_FORMAT="xml")
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 3
    assert "starting" not in done.stderr


def test_ctl_without_a_proxy_says_where_it_looked_and_what_to_do() -> None:
    done = remora("ctl", "status", "--control", "/nowhere/control.sock")
    assert done.returncode == 69
    assert "/nowhere/control.sock" in done.stderr
    assert "is it running" in done.stderr


def test_ctl_looks_where_the_proxys_own_variable_says() -> None:
    done = remora("ctl", "status", REMORA_CONTROL="/elsewhere/control.sock")
    assert "/elsewhere/control.sock" in done.stderr


def test_ctl_does_not_wait_for_a_proxy_without_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctl, "_READY_S_MAX", 0.0)
    assert ctl.main(["wait", "--control", "/nowhere/control.sock"]) == 69
    assert "/nowhere/control.sock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("ctl",), "''"),
        (("ctl", "statsu"), "'statsu'"),
        (("ctl", "close"), "needs ID"),
        (("ctl", "close", "x"), "'x'"),
        (("ctl", "status", "now"), "'now'"),
        (("ctl", "connections", "--limit", "0"), "--limit: '0'"),
        (("ctl", "status", "--control", "here"), "--control: 'here'"),
    ],
)
def test_bad_words_of_ctl_are_named(arguments: tuple[str, ...], word: str) -> None:
    done = remora(*arguments)
    assert done.returncode == 64
    assert word in done.stderr


def test_a_reader_that_has_enough_is_no_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "proxy", "--help"],
        check=False,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
