"""The command line: what comes in, what goes out where, and with which exit code."""

import io
import subprocess
import sys
from types import SimpleNamespace

import pytest

from inject import command, documents
from inject.settings import OPTIONS
from tests.unit.inject.manifests import FOLDER, Remora

WEB = FOLDER / "corpus" / "deployment-web.yaml"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
spec: {containers: [{name: app, image: app}]}
"""
BAD = POD.replace("namespace: shop", 'annotations: {remora.dev/mtls: "maybe"}')


def given_on_stdin(monkeypatch: pytest.MonkeyPatch, text: str, *, is_terminal: bool) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: is_terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.mark.parametrize("words", [(), ("-",)])
def test_what_comes_in_goes_out_with_the_sidecar(
    words: tuple[str, ...], remora: Remora, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_on_stdin(monkeypatch, POD, is_terminal=False)
    said = remora.inject(*words)
    assert said.code == 0
    assert "remora-proxy" in said.out
    assert said.err == "remora inject: Pod shop/p: injected\n"


def test_nobody_waits_for_a_terminal(remora: Remora, monkeypatch: pytest.MonkeyPatch) -> None:
    given_on_stdin(monkeypatch, POD, is_terminal=True)
    said = remora.inject()
    assert said.code == 64
    assert "needs a file, a directory, or -" in said.err


def test_files_of_a_directory_become_one_stream_in_the_order_of_their_names(
    remora: Remora,
) -> None:
    first = remora.file(POD.replace("name: p", "name: one"), "a.yaml")
    remora.file(POD.replace("name: p", "name: two").rstrip("\n"), "b.yml")
    remora.file('{"kind": "ConfigMap"}', "c.json")
    remora.file("not for us", "d.txt")
    remora.file("not: for us", ".hidden.yaml")
    said = remora.inject(first.parent)
    names = [line.split()[3] for line in said.err.splitlines()]
    assert names == ["shop/one:", "shop/two:"]
    assert len(list(documents.split(said.out))) == 3
    assert "for us" not in said.out


def test_a_fault_names_file_object_and_field_and_nothing_is_written(remora: Remora) -> None:
    said = remora.inject(WEB, remora.file(BAD, "bad.yaml"))
    assert said.code == 1
    assert said.out == ""
    fault, last = said.err.splitlines()[-2:]
    assert "bad.yaml: Pod p: metadata.annotations[remora.dev/mtls]: 'maybe' " in fault
    assert last == "remora inject: nothing was written"


def test_a_fault_in_a_template_is_told_from_the_top_of_the_object(remora: Remora) -> None:
    text = WEB.read_text().replace("      containers:", "      volumes: x\n      containers:")
    assert "spec.template.spec.volumes: must be a list" in remora.inject(remora.file(text)).err


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1", "given.yaml:"),
        ("a: 1\n---\nb: 1\nb: 2\n", ":3: 'b' stands there twice"),
        ('{"a":' * 900 + "1" + "}" * 900, ":1: is nested deeper"),
        ("a: !Unknown x", ":1: "),
        ("[" * 100_000 + "]" * 100_000, ":1: is nested deeper than 200 levels"),
        ("a: \x00", "given.yaml"),
        ("a: &a [*a]", "values"),
        ("? [a]\n: b\nkind: Pod", ":1: "),
    ],
)
def test_what_cannot_be_read_is_a_fault_with_its_line(
    text: str, place: str, remora: Remora
) -> None:
    said = remora.inject(remora.file(text))
    assert said.code == 1
    assert said.out == ""
    assert place in said.err


def test_anchors_that_multiply_without_bounds_are_refused(remora: Remora) -> None:
    lines = ["a0: &a0 [1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    said = remora.inject(remora.file("\n".join(lines)))
    assert said.code == 1
    assert "more than 1000000 values" in said.err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("nowhere.yaml",), "nowhere.yaml: No such file"),
        (("--sidecar", "ambient"), "--sidecar: 'ambient'"),
        (("--sidcar", "native"), "did you mean --sidecar?"),
        (("--mtls", "strict"), "--mtls: 'strict' needs a certificate: set --identity-source"),
        ((FOLDER / "golden" / ".." / "corpus" / ".none",), "No such file"),
    ],
)
def test_bad_words_are_refused(words: tuple[str, ...], fault: str, remora: Remora) -> None:
    said = remora.inject(*words)
    assert said.code == 64
    assert said.out == ""
    assert fault in said.err


def test_an_empty_directory_is_refused(remora: Remora) -> None:
    folder = remora.file("x", "x.txt").parent
    assert "has no manifest" in remora.inject(folder).err


def test_what_is_no_utf_8_is_refused(remora: Remora) -> None:
    path = remora.file("")
    path.write_bytes(b"\xff\xfea\x00")
    assert "is no UTF-8" in remora.inject(path).err


def test_a_pod_that_is_left_alone_goes_out_as_it_came(remora: Remora) -> None:
    text = POD.replace("spec: {", "spec: {hostNetwork: true, ")
    said = remora.inject(remora.file(text))
    assert said.code == 0
    assert said.out == text
    assert "Pod shop/p: left alone: hostNetwork" in said.err


def test_a_pod_that_says_no_later_loses_the_sidecar(remora: Remora) -> None:
    text = remora.inject(remora.file(POD)).out
    said = remora.inject(remora.file(text.replace('injected": "true"', 'inject": "disabled"')))
    assert "uninjected: remora.dev/inject is disabled" in said.err
    assert "remora-proxy" not in said.out


@pytest.mark.parametrize("status", ["{}", "[]", "nonsense", '{"made":{},"volumes":["data"]}'])
def test_a_note_that_is_not_ours_removes_nothing(status: str, remora: Remora) -> None:
    text = POD.replace("namespace: shop", f"annotations: {{remora.dev/status: '{status}'}}")
    for said in (remora.uninject(remora.file(text)), remora.inject(remora.file(text))):
        assert said.code == 1
        assert "is not what remora writes there" in said.err


def test_what_the_owner_added_later_stays(remora: Remora) -> None:
    text = remora.inject(WEB).out.replace("      volumes:\n", "      volumes:\n      - name: own\n")
    said = remora.uninject(remora.file(text))
    assert said.out.count("- name:") == 2
    assert "- name: own\n" in said.out


def test_a_label_for_pods_does_not_become_one_of_the_selector(remora: Remora) -> None:
    said = remora.inject(FOLDER / "corpus" / "deployment-anchors.yaml")
    assert said.out.count("remora.dev/injected: 'true'") == 1
    assert "written anew, without its comments" in said.err


def test_an_object_that_is_fine_as_it_is_keeps_its_bytes(remora: Remora) -> None:
    path = remora.file(remora.inject(WEB).out)
    said = remora.inject(path)
    assert said.out == path.read_text()
    assert "is injected as it should be" in said.err


def test_every_flag_is_in_the_help_and_the_help_has_examples(remora: Remora) -> None:
    page = remora.inject("--help")
    assert page.code == 0
    assert "Examples:" in page.out
    assert not [option.flag for option in OPTIONS if option.flag not in page.out]
    assert remora.uninject("--help").out.startswith(command.UNINJECT_USAGE)


@pytest.mark.parametrize(("text", "code"), [(POD, 0), (BAD, 1)])
@pytest.mark.parametrize("name", ["inject", "uninject"])
def test_the_command_is_one_of_remoras(name: str, text: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", name],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (code if name == "inject" else 0), done.stderr
