"""`remora identity`, as somebody uses it."""

from pathlib import Path

import pytest

from proxy.cli import main


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
