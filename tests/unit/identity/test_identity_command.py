"""`remora identity`, as somebody uses it."""

import base64
import json
from datetime import timedelta
from pathlib import Path

import kubernetes_validate
import pytest

from proxy.cli import main
from proxy.identity import spiffe
from proxy.identity.authority import Authority, write_svid


def run(*words: object) -> int:
    return main(["identity", *map(str, words)])


def test_from_nothing_to_an_identity_in_three_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, web = tmp_path / "ca", tmp_path / "web"
    assert run("ca", ca, "--trust-domain", "example.org") == 0
    assert run("issue", web, "--ca", ca, "--namespace", "shop", "--service-account", "web") == 0
    capsys.readouterr()
    assert run("show", web) == 0
    page = capsys.readouterr().out
    assert "identity   spiffe://example.org/ns/shop/sa/web" in page
    assert "(23h 59m left)" in page
    assert "ECDSA secp256r1" in page


def test_a_new_root_is_trusted_beside_the_old_one_until_that_is_retired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, old, new = tmp_path / "ca", tmp_path / "old", tmp_path / "new"
    run("ca", ca)
    run("issue", old, "--ca", ca)
    run("rotate", ca)
    run("issue", new, "--ca", ca)
    assert run("show", old) == run("show", new) == 0
    run("retire", ca)
    assert run("trust", old, "--ca", ca) == 0
    capsys.readouterr()
    assert run("show", old) == 1
    assert "chain does not hold" in capsys.readouterr().err


def test_an_identity_learns_of_a_new_root_and_keeps_its_certificate(tmp_path: Path) -> None:
    ca, web = tmp_path / "ca", tmp_path / "web"
    run("ca", ca)
    run("issue", web, "--ca", ca)
    kept = [(web / name).read_bytes() for name in ("tls.key", "tls.crt")]
    run("rotate", ca)
    assert run("trust", web, "--ca", ca) == run("trust", web, "--ca", ca) == 0
    assert [(web / name).read_bytes() for name in ("tls.key", "tls.crt")] == kept
    assert (web / "ca.crt").read_bytes() == (ca / "bundle.crt").read_bytes()
    assert len([path for path in web.iterdir() if path.is_dir() and not path.is_symlink()]) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 64, "no command"),
        (["make"], 64, "'make' is no command"),
        (["show"], 64, "needs a folder"),
        (["show", "a", "b"], 64, "'b'"),
        (["ca", "a", "--trust-domain", "a/b"], 64, "trust domain"),
        (["issue", "a", "--lifetime", "1"], 64, "--lifetime"),
        (["show", "nowhere"], 1, "nowhere/ca.crt: No such file"),
        (["issue", "a", "--ca", "nowhere"], 1, "remora identity ca"),
        (["rotate", "nowhere"], 1, "holds no authority"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == code
    assert said in capsys.readouterr().err


def test_an_authority_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("ca", tmp_path / "ca")
    before = (tmp_path / "ca" / "root.key").read_bytes()
    assert run("ca", tmp_path / "ca") == 1
    assert "has an authority already" in capsys.readouterr().err
    assert (tmp_path / "ca" / "root.key").read_bytes() == before


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "remora identity issue ./shop" in capsys.readouterr().out


def test_an_identity_becomes_a_secret_of_its_namespace_named_after_its_service_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, web = tmp_path / "ca", tmp_path / "web"
    run("ca", ca)
    run("issue", web, "--ca", ca, "--namespace", "shop", "--service-account", "web")
    capsys.readouterr()
    assert run("secret", web) == 0
    made = json.loads(capsys.readouterr().out)
    kubernetes_validate.validate(made, "1.33.0", strict=True)
    assert made["metadata"] == {"name": "remora-web", "namespace": "shop"}
    files = {name: base64.b64decode(text) for name, text in made["data"].items()}
    assert files == {name: (web / name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key")}


def test_a_secret_may_be_called_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, web = tmp_path / "ca", tmp_path / "web"
    run("ca", ca)
    run("issue", web, "--ca", ca)
    capsys.readouterr()
    assert run("secret", web, "--name", "web-identity") == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["name"] == "web-identity"


def test_there_is_no_secret_of_what_is_no_identity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("secret", tmp_path) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "remora identity secret: " in said.err


def test_who_is_of_no_service_account_has_no_namespace_for_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signer = Authority.create(tmp_path / "ca", "cluster.local")
    other = signer.issue(spiffe.parse("spiffe://cluster.local/gateway"), timedelta(hours=1))
    write_svid(tmp_path / "gateway", other)
    assert run("secret", tmp_path / "gateway") == 1
    assert "is of no service account" in capsys.readouterr().err
