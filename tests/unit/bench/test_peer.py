"""Peers: their configurations, and what is said when one is missing."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import peer
from bench.identities import CLIENT, SERVER, SERVER_ID
from bench.peer import (
    ENVOY,
    HAPROXY,
    HAPROXY_BULK,
    NGINX,
    NGINX_BULK,
    PEERS,
    REMORA,
    Job,
    Peer,
    PeerMissingError,
)
from bench.workloads import FAMILIES, HTTP, MTLS, TCP, Family

TEMPLATED = sorted(path for family in FAMILIES for path in (peer.TEMPLATES / family.name).iterdir())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(4001, 4002, 4003, 1000, tmp_path)


@pytest.mark.parametrize("template", TEMPLATED, ids=lambda p: p.name)
def test_a_template_is_complete(template: Path, job: Job) -> None:
    job = replace(job, family=template.parent.name)
    rendered = Path(job.render(template.name, load_module="")).read_text()
    assert "$" not in rendered.replace("$http_host", "a variable of nginx")
    assert "4001" in rendered
    assert "4002" in rendered


@pytest.mark.parametrize("variant", [HAPROXY_BULK, NGINX_BULK], ids=lambda p: p.name)
def test_a_tuned_peer_is_the_same_program(variant: Peer) -> None:
    assert variant.find is {"haproxy": HAPROXY, "nginx": NGINX}[variant.variant_of or ""].find


def templates(family: Family) -> list[str]:
    return sorted(path.name for path in (peer.TEMPLATES / family.name).iterdir())


def test_every_family_has_the_configurations_of_the_same_peers() -> None:
    assert templates(TCP) == templates(HTTP)


def test_with_mutual_tls_each_of_them_has_two_sides() -> None:
    split = [name.rpartition(".") for name in templates(HTTP)]
    sides = [f"{name}-{side}.{end}" for name, _, end in split for side in (CLIENT, SERVER)]
    assert templates(MTLS) == sorted(sides)


def test_a_side_is_configured_with_its_own_identity(job: Job) -> None:
    side = replace(job, family=MTLS.name, side=CLIENT, identities=Path("/made"))
    written = Path(side.render("nginx.conf"))
    assert written.name == "nginx-client.conf"
    assert "/made/client/tls.key" in written.read_text()


def remora_words(job: Job) -> str:
    assert REMORA.command is not None
    return " ".join(REMORA.command(sys.executable, job))


def test_remora_at_the_clients_side_knows_whom_it_dials(job: Job) -> None:
    words = remora_words(replace(job, side=CLIENT, identities=Path("/made")))
    assert "--listen 127.0.0.1:4001=127.0.0.1:4002" in words
    assert "--identity /made/client" in words
    assert f"--mesh 127.0.0.1:4002={SERVER_ID}" in words


def test_remora_at_the_servers_side_demands_mutual_tls(job: Job) -> None:
    words = remora_words(replace(job, side=SERVER, identities=Path("/made")))
    assert "--listen-mtls 127.0.0.1:4001=127.0.0.1:4002" in words
    assert "--listen " not in words
    assert "--identity /made/server" in words
    assert "--mesh" not in words


def test_remora_without_mutual_tls_has_no_identity(job: Job) -> None:
    assert "--identity" not in remora_words(job)


@pytest.mark.parametrize(
    ("says", "library"),
    [
        (
            "Built with OpenSSL version : OpenSSL 3.0.22\nRunning on OpenSSL: OpenSSL 3.0.19",
            "OpenSSL 3.0.19",
        ),
        (
            "built with OpenSSL 3.0.20 7 Apr 2026 (running with OpenSSL 3.0.19 27 Jan)",
            "OpenSSL 3.0.19",
        ),
        ("built with OpenSSL 3.0.19 27 Jan 2026", "OpenSSL 3.0.19"),
        ("version: 1a/1.40.0/Clean/RELEASE/BoringSSL", "BoringSSL"),
        ("nothing of the kind", "unknown"),
    ],
)
def test_the_tls_library_is_the_one_that_runs(tmp_path: Path, says: str, library: str) -> None:
    program = executable(tmp_path / "program", f"#!/bin/sh\necho '{says}' >&2\n")
    assert Peer("fake", "", lambda: str(program), None).tls_library() == library


def test_remora_tells_its_tls_library() -> None:
    assert REMORA.tls_library().startswith("OpenSSL ")


@pytest.mark.parametrize("name", ["haproxy", "nginx", "envoy"])
def test_a_missing_peer_is_named_with_what_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "_on_path", lambda _: None)
    missing = next(p for p in PEERS if p.name == name)
    with pytest.raises(PeerMissingError, match=rf"{name} is missing: .* install .*{name}"):
        missing.binary()


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_an_nginx_without_the_stream_module_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = f"configure arguments: --with-stream=dynamic --modules-path={tmp_path}"
    nginx = executable(tmp_path / "nginx", f"#!/bin/sh\necho '{says}' >&2\n")
    monkeypatch.setattr(peer, "_on_path", lambda _: str(nginx))
    with pytest.raises(PeerMissingError, match="libnginx-mod-stream"):
        NGINX.binary()
    (tmp_path / "ngx_stream_module.so").touch()
    assert NGINX.binary() == str(nginx)


def test_the_script_of_the_wheel_is_passed_over_for_the_program_that_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = executable(tmp_path / "bin" / "envoy", "#!/usr/bin/python3\n")
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    program = executable(packages / "envoy" / "_bin" / "linux" / "envoy", "\x7fELF")
    monkeypatch.setattr(peer, "_on_path", lambda _: str(script))
    assert ENVOY.binary() == str(program)
