"""Peers: their configurations, and what is said when one is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import peer
from bench.peer import (
    ENVOY,
    HAPROXY,
    HAPROXY_BULK,
    NGINX,
    NGINX_BULK,
    PEERS,
    Job,
    Peer,
    PeerMissingError,
)
from bench.workloads import FAMILIES


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(4001, 4002, 4003, 1000, tmp_path)


@pytest.mark.parametrize("template", sorted(peer.TEMPLATES.glob("*/*")), ids=lambda p: p.name)
def test_a_template_is_complete(template: Path, job: Job) -> None:
    job = replace(job, family=template.parent.name)
    rendered = Path(job.render(template.name, load_module="")).read_text()
    assert "$" not in rendered.replace("$http_host", "a variable of nginx")
    assert "4001" in rendered
    assert "4002" in rendered


@pytest.mark.parametrize("variant", [HAPROXY_BULK, NGINX_BULK], ids=lambda p: p.name)
def test_a_tuned_peer_is_the_same_program(variant: Peer) -> None:
    assert variant.find is {"haproxy": HAPROXY, "nginx": NGINX}[variant.variant_of or ""].find


def test_every_family_has_the_configurations_of_the_same_peers() -> None:
    tcp, http = (sorted(p.name for p in (peer.TEMPLATES / f.name).iterdir()) for f in FAMILIES)
    assert tcp == http


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
