"""Asks each peer, before a run, whether it really does mutual TLS 1.3: a figure without it is void.

The server's side is asked by clients that it must refuse; the client's side is led to servers that
it must refuse. Each is also shown one that it must accept, so that a refusal means something.
"""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.hello import Hello
from bench.identities import CLIENT, SERVER, STRANGER, context
from bench.measure import Bench
from bench.peer import Peer
from bench.running import PROBES, RunError, answers, running, upstream
from bench.wire import Tap, impostor, tap
from bench.workloads import MTLS, MTLS_64

OTHER_NAME: Final = "server of another name"  # of the right root; some peers compare no names
TRIED: Final = (
    *("no certificate", "client of another root", "TLS 1.2", "plaintext"),
    *("server of another root", OTHER_NAME),
)


@dataclass(frozen=True)
class Proof:
    """What a pair agreed on, and what it took of what was tried."""

    peer: str
    library: str
    hello: Hello
    accepted: frozenset[str] = field(default_factory=frozenset)

    def faults(self) -> list[str]:
        """Tell what makes its figures void."""
        agreed = (self.hello.version, self.hello.cipher)
        wrong = [] if agreed == ("TLS 1.3", "AES-128-GCM") else [f"agreed on {' '.join(agreed)}"]
        taken = [name for name in TRIED if name in self.accepted and name != OTHER_NAME]
        return wrong + [f"accepted: {name}" for name in taken]


def prove_all(bench: Bench, peers: Sequence[Peer], say: Callable[[str], None]) -> list[Proof]:
    """Ask every peer that does the work; raises RunError if one does something else."""
    proofs = []
    for peer in peers:
        if peer.command is None:
            continue
        say(f"mutual TLS: {peer.name}")
        proof = prove(bench, peer)
        if faults := proof.faults():
            raise RunError(f"{peer.name} does no mutual TLS 1.3 as the others: {'; '.join(faults)}")
        proofs.append(proof)
    return proofs


def prove(bench: Bench, peer: Peer) -> Proof:
    """Ask one peer."""
    with upstream(bench.cores.load, MTLS) as (upstream_port, _):
        place = bench.place(upstream_port, MTLS_64)
        with running(peer, replace(place, side=SERVER)) as server, tap(server.port) as way:
            accepted = _tried_by_clients(server.port, bench.identities)
            with running(peer, replace(place, side=CLIENT, upstream_port=way.port)) as client:
                hello = way.hello()
                if hello is None:
                    raise RunError(f"{peer.name}: no TLS between its two sides")
                accepted |= _tried_by_servers(peer, client.port, way, bench.identities)
    return Proof(peer.name, peer.tls_library(), hello, frozenset(accepted))


def _tried_by_clients(port: int, identities: Path) -> set[str]:
    """Ask the server's side as clients that it must refuse. It has answered the right one."""
    anonymous = context(identities / CLIENT, None)
    stranger = context(identities / CLIENT, identities / STRANGER)
    old = context(identities / CLIENT, identities / CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    tried = dict(zip(TRIED, (anonymous, stranger, old, None), strict=False))
    return {name for name, tls in tried.items() if _is_answered(port, tls)}


def _tried_by_servers(peer: Peer, port: int, way: Tap, identities: Path) -> set[str]:
    """Lead the client's side to servers that it must refuse, and to the right one before each."""

    def accepts(folder: str) -> bool:
        with impostor(identities / folder, identities / CLIENT / "ca.crt") as server:
            way.turn(server)
            return _is_answered(port, None)

    accepted = set()
    for name, folder in (("server of another root", STRANGER), (OTHER_NAME, CLIENT)):
        if not accepts(SERVER):
            raise RunError(f"{peer.name} refuses a server that has the right certificate")
        if accepts(folder):
            accepted.add(name)
    return accepted


def _is_answered(port: int, tls: ssl.SSLContext | None) -> bool:
    probe, wanted, first = PROBES[MTLS.name]
    return answers(port, probe, wanted, tls).startswith(first)
