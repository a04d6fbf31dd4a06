"""`remora check` and a kubectl that is absent, cut off or strange: a script stands in for it."""

import json
import os
import stat
from pathlib import Path

import pytest

from inject.cluster import command
from proxy.cli import main

VERSION = '{"serverVersion": {"gitVersion": "v1.33.6"}}'
REFUSED = "The connection to the server 127.0.0.1:1 was refused - did you specify the right host?"


class Kubectl:
    """A script that says what the test wants, whatever it is asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.log = folder / "log"
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def says(
        self, out: str = "", err: str = "", code: int = 0, *, version: str = "", first: str = ""
    ) -> None:
        """Let it answer; the question for the version may have an answer of its own.

        With `first`, it fails with that before all else, once.
        """
        (self._folder / "first").write_text(first)
        for name, text in (("out", out), ("err", err), ("version", version)):
            (self._folder / name).write_text(text)
        script = self._folder / "kubectl"
        script.write_text(
            f'#!/bin/sh\ncd {self._folder}\necho "$*" >>log\ncat >/dev/null\n'
            "[ -s first ] && { cat first >&2; rm first; exit 1; }\n"
            'case "$*" in *" version "*) [ -s version ] && exec cat version;; esac\n'
            f"cat out; cat err >&2; exit {code}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    return Kubectl(tmp_path, monkeypatch)


def run(*words: str) -> int:
    return main(["check", "--data-plane", *words])


def test_without_kubectl_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run() == 69
    assert capsys.readouterr().err == (
        "remora check: kubectl is not there\n"
        "remora check: hint: install kubectl, which knows how to log in to the cluster, and put it"
        " on PATH\n"
    )


def test_a_kubectl_that_cannot_be_run_is_told(
    kubectl: Kubectl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kubectl.says()
    (tmp_path / "kubectl").write_bytes(b"\x7fELF of another machine")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run() == 69
    assert "kubectl cannot be run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "err",
    [
        REFUSED,
        "error: You must be logged in to the server (Unauthorized)",
        'error: context "nowhere" does not exist',
        "",
    ],
)
def test_a_cluster_that_cannot_be_reached_is_told_in_kubectls_words(
    err: str, kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.says('{"clientVersion": {}}', f"first words\n{err}\n" if err else "", 1)
    assert run() == 69
    said = capsys.readouterr()
    assert (said.out, err in said.err) == ("", True)
    assert "hint: is it the right cluster (--context, --kubeconfig)?" in said.err


@pytest.mark.parametrize("out", ["<html>sign in</html>", "[1]", '{"items": 3, "kind": "PodList"}'])
def test_garbage_is_shown_and_not_believed(
    out: str, kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.says(out, version=VERSION)
    assert run() == 69
    assert "printed no JSON of objects" in capsys.readouterr().err


def test_who_may_look_at_nothing_gets_warnings_that_say_so(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'pods is forbidden: User "dev" cannot list resource "pods"'
    kubectl.says(err=f"Error from server (Forbidden): {text}\n", code=1, version=VERSION)
    assert run("-o", "json") == 0
    page = json.loads(capsys.readouterr().out)
    assert {each["state"] for each in page["checks"]} == {"warning"}
    assert {each["text"] for each in page["checks"]} == {f"could not be looked at: {text}"}


def test_a_server_that_is_overloaded_is_a_failure(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.says(err="Error from server (Timeout): too slow\n", code=1, version=VERSION)
    assert run() == 1
    assert "could not be looked at: too slow" in capsys.readouterr().out


def test_which_cluster_is_meant_is_kubectls_business(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.says("", version=VERSION)
    assert run("--context", "staging", "--kubeconfig=/tmp/x y", "-n", "shop") == 0
    asked = (tmp_path / "log").read_text().splitlines()
    flags = "--context staging --kubeconfig /tmp/x y --request-timeout=20s "
    assert {line.startswith(flags) for line in asked} == {True}
    assert asked[0] == f"{flags}version -o json"
    assert f"{flags}get pods -n shop -o json" in asked


def test_it_waits_until_nothing_fails(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "POLL_S", 0.0)
    kubectl.says(version=VERSION, first=REFUSED)
    assert run("--wait", "1m") == 0
    assert capsys.readouterr().err == f"remora check: waiting: kubectl says: {REFUSED}\n"


def test_it_waits_no_longer_than_it_should(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.says(err="Error from server (Timeout): too slow\n", code=1, version=VERSION)
    assert run("--wait", "1ms") == 1
    assert capsys.readouterr().out.endswith("failures\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--wait", "soon"], "--wait: 'soon' is not a duration"),
        (["--needs", "istio"], "--needs: 'istio' has 'istio', which is none of cert-manager"),
        (["manifests"], "'manifests': unexpected argument"),
        (["--pod", "shop/web"], "--pod: no such flag"),
    ],
)
def test_bad_words_are_refused_before_anybody_is_asked(
    words: list[str], said: str, kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.says()
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert not kubectl.log.exists()


def test_help_explains_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "usage: remora check --pre | --cluster | --data-plane" in capsys.readouterr().out
    assert main(["check", "--help"]) == 0
    assert "remora check --cluster --help" in capsys.readouterr().out
