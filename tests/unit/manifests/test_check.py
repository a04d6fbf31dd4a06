"""`remora check`, as somebody uses it."""

import json
import shutil
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.sources.hints import hint
from proxy.sources.strict import Fault
from tests.unit.manifests.making import SAMPLES, thing
from tests.unit.policy.objects import pod, policies

BROKEN = (
    thing("Service", "spec: {ports: [{port: 80, weight: 1}]}")
    + thing("DestinationRule", "spec: {host: web, subsets: []}", name="canary")
    + "a: &x 1\nb: *x\n"
)


def run(*words: object) -> int:
    return main(["check", *map(str, words)])


def test_what_kubectl_prints_is_good_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SAMPLES) == 0
    page = capsys.readouterr().out
    rows = dict(line.split() for line in page.splitlines() if len(line.split()) == 2)
    assert (rows["Service"], rows["GRPCRoute"], rows["ConfigMap"]) == ("4", "1", "1")
    assert page.endswith("no fault\n")


def test_every_fault_is_told_with_its_place_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(BROKEN)
    assert run(tmp_path) == 1
    page = capsys.readouterr().out
    assert page.startswith(
        f"{tmp_path}/a.yaml:4: Service shop/web: spec.ports[0].weight: is not supported\n"
        "    hint: docs/manifests.md has the fields that are understood: remove this one\n"
        f"{tmp_path}/a.yaml:9: DestinationRule shop/canary: spec.subsets: is not supported\n"
        "    hint: make a Service for each subset"
    )
    assert f"{tmp_path}/a.yaml:12: is an alias (*name), which is not read\n    hint: " in page
    assert page.endswith("\n3 faults: a proxy that runs keeps what it had\n")
    assert "\x1b" not in page


def test_machines_get_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(BROKEN)
    assert run(tmp_path, "-o", "json") == 1
    page = json.loads(capsys.readouterr().out)
    assert (page["good"], page["objects"]["Service"], len(page["faults"])) == (False, 1, 3)
    assert page["faults"][0]["field"] == "spec.ports[0].weight"
    assert page["faults"][0]["sentence"].startswith(f"{tmp_path}/a.yaml:4: Service shop/web")


def test_a_terminal_gets_colours_unless_it_wants_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    run(SAMPLES)
    assert "\x1b[32mno fault\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    run(SAMPLES)
    assert "\x1b" not in capsys.readouterr().out


def test_faults_of_objects_that_apply_to_others_are_told_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(pod("a") + policies("p", "{action: CUSTOM}", "elsewhere"))
    assert run(tmp_path, "--pod", "shop/a") == 1
    page = capsys.readouterr().out
    assert page.count("'CUSTOM' is none of ALLOW, DENY, AUDIT") == 1


def test_a_pod_must_be_there_to_look_with_its_eyes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))
    assert run(tmp_path, "--pod", "shop/a") == 0
    assert run(tmp_path, "--pod", "shop/b") == 1
    assert "Pod shop/b: is not among the manifests" in capsys.readouterr().out


def test_notes_are_no_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(pod("a", "nowhere"))
    assert run(tmp_path) == 0
    assert "NOTES\n  Pod shop/a has 'nowhere' for an address: not meshed" in capsys.readouterr().out


def test_a_directory_without_objects_is_called_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    assert "no object in " in capsys.readouterr().out


def test_names_of_files_and_objects_do_not_reach_the_terminal_as_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text('apiVersion: v1\nkind: "\\e[31mPod"\nmetadata: {name: x}\n')
    shutil.copy(tmp_path / "a.yaml", tmp_path / "\x1bb.yaml")
    (tmp_path / "\x1bc.yaml").write_text("x")
    assert run(tmp_path) == 1
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a directory"),
        (["nowhere"], "'nowhere' is no directory"),
        ([".", "more"], "'more'"),
        ([".", "-o", "xml"], "-o: 'xml' is none of text, json"),
        ([".", "--pod", "x"], "--pod: 'x' is not NAMESPACE/NAME"),
        ([".", "--pod", "a/b", "--namespace", "c"], "--namespace: 'c' contradicts --pod"),
        ([".", "--podd", "a/b"], "did you mean --pod?"),
    ],
)
def test_bad_words_are_named_with_a_code_of_their_own(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert said in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "remora check manifests --pod shop/web-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "text", "todo"),
    [
        ("spec.subsets", "is not supported", "make a Service for each subset"),
        ("spec.internalTrafficPolicy", "'Local' is not supported", "trafficDistribution: Prefer"),
        ("spec.rules[0].sessionPersistence", "is not supported", "a DestinationRule's consistent"),
        ("spec.foo[1]", "is not supported", "docs/manifests.md has the fields"),
        ("", "while parsing a flow node did not find", "the file is no YAML"),
        ("", "stands in a.yaml:1, too", "one object, one place"),
        ("", "Pod of 'v2' is not supported (v1)", "kubectl get prints the newest version"),
        ("spec.x", "must be a string: put 7 in quotes", ""),
    ],
)
def test_a_hint_says_what_to_do_where_the_fault_does_not(field: str, text: str, todo: str) -> None:
    told = hint(Fault("a.yaml", 1, "Service a/b", field, text))
    assert told.startswith(todo)
    assert bool(told) is bool(todo)
