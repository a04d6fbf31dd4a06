"""Mutual TLS, with nginx on both sides: what is measured, and what a proof finds out."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import peer, running
from bench.generator import Outcome, Timing, generator
from bench.hello import Hello
from bench.measure import Bench, measure
from bench.peer import NGINX
from bench.proc import session
from bench.proof import OTHER_NAME, TRIED, Proof, prove, prove_all
from bench.running import Cores, RunError, deployed, upstream
from bench.tables import agreed
from bench.workloads import MTLS, MTLS_64, MTLS_IDLE, MTLS_NEW

CORES = Cores.allowed()
BRIEF = Timing(seconds=0.2, warmup_seconds=0.02, seed=1)
# The one of Debian, whether or not it has the module that plain TCP needs.
PROXY = replace(NGINX, find=lambda: shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin"))
Spoil = Callable[[str, str, str], None]


@pytest.fixture
def bench(identities: Path) -> Bench:
    return Bench(CORES, 200, identities)


@pytest.fixture
def spoil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Change one thing in the configuration of one side."""
    templates = tmp_path / "peers"
    shutil.copytree(peer.TEMPLATES, templates)
    monkeypatch.setattr(peer, "TEMPLATES", templates)

    def change(side: str, old: str, new: str) -> None:
        path = templates / MTLS.name / f"nginx-{side}.conf"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def asked(bench: Bench) -> Outcome:
    """What a generator sees that speaks TLS to the server's side."""
    with (
        upstream(CORES.load, MTLS) as (port, _),
        deployed(PROXY, MTLS_NEW, bench.place(port, MTLS_NEW)) as proxy,
        generator(proxy.port, MTLS_NEW, BRIEF, CORES.load, bench.identities) as warm,
    ):
        return warm.measure()


def test_a_pair_that_does_mutual_tls_as_the_others_has_no_faults(bench: Bench) -> None:
    proof = prove(bench, PROXY)
    assert (proof.hello.version, proof.hello.cipher) == ("TLS 1.3", "AES-128-GCM")
    assert proof.accepted == frozenset()
    assert proof.faults() == []


@pytest.mark.parametrize(
    ("side", "changes", "fault"),
    [
        ("server", {"verify_client on": "verify_client optional"}, "no certificate"),
        ("server", {"verify_client on": "verify_client optional_no_ca"}, "client of another root"),
        # TLS 1.2 wants the curve of the certificate among the groups.
        ("server", {"TLSv1.3": "TLSv1.2 TLSv1.3", "X25519": "X25519:P-256"}, "TLS 1.2"),
        ("server", {"location": "error_page 497 =200 $$request_uri; location"}, "plaintext"),
        ("client", {"ssl_verify on": "ssl_verify off"}, "server of another root"),
    ],
)
def test_a_side_that_lets_in_whom_it_must_not_is_found_out(
    bench: Bench, spoil: Spoil, side: str, changes: dict[str, str], fault: str
) -> None:
    for old, new in changes.items():
        spoil(side, old, new)
    with pytest.raises(RunError, match=f"accepted: .*{fault}"):
        prove_all(bench, [PROXY], lambda _: None)


def test_another_cipher_than_that_of_the_others_is_found_out(bench: Bench, spoil: Spoil) -> None:
    spoil("client", "${ciphers}", "TLS_AES_256_GCM_SHA384")
    assert prove(bench, PROXY).faults() == ["agreed on TLS 1.3 AES-256-GCM"]


def test_a_client_that_compares_no_names_is_told_but_no_fault() -> None:
    hello = Hello("TLS 1.3", "AES-128-GCM", "X25519")
    proof = Proof("haproxy", "OpenSSL 3.0.19", hello, frozenset({OTHER_NAME}))
    table = agreed([proof])
    told = dict(zip(table.headers, table.rows[0], strict=True))
    assert proof.faults() == []
    assert [name for name in TRIED if told[name] == "accepted"] == [OTHER_NAME]


def test_a_pair_that_cannot_agree_gives_no_figures(
    bench: Bench, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "START_SECONDS_MAX", 1.0)
    spoil("client", "${server_name}", "other.example")
    with pytest.raises(RunError, match="gave no answer"):
        prove(bench, PROXY)


def test_plaintext_between_the_sides_gives_no_figures(
    bench: Bench, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "START_SECONDS_MAX", 1.0)
    spoil("client", "https://", "http://")
    with pytest.raises(RunError, match="gave no answer"):
        prove(bench, PROXY)


def test_both_sides_are_counted(bench: Bench) -> None:
    with (
        upstream(CORES.load, MTLS) as (port, _),
        deployed(PROXY, MTLS_64, bench.place(port, MTLS_64)) as both,
        deployed(PROXY, MTLS_NEW, bench.place(port, MTLS_NEW)) as one,
    ):
        assert (len(both.pids), len(one.pids)) == (2, 1)
        assert len(session(*both.pids)) == 4  # a master and a worker each
    assert session(*both.pids, *one.pids) == []


def test_each_request_may_be_a_handshake(bench: Bench) -> None:
    seen = asked(bench)
    assert seen.bytes == 1024 * seen.requests > 0


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("verify_client on", "verify_client off", "nobody asked for a certificate"),
        ("${ciphers}", "TLS_AES_256_GCM_SHA384", "handshake failure"),
        ("X25519", "P-384", "handshake failure"),
    ],
)
def test_a_handshake_that_is_not_that_of_the_others_ends_the_run(
    bench: Bench, spoil: Spoil, old: str, new: str, why: str
) -> None:
    spoil("server", old, new)
    with pytest.raises(RunError, match=why):
        asked(bench)


def test_idle_connections_of_the_servers_side_are_weighed(bench: Bench) -> None:
    held = replace(MTLS_IDLE, connections=100)
    sample = measure(bench, PROXY, held, replace(BRIEF, seconds=0, warmup_seconds=0))
    assert sample.connections == 100
    assert sample.memory_loaded.pss > sample.memory.pss > 0
