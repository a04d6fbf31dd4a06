"""Certificates for mutual TLS: of a client, of a server, and of a stranger whom nobody trusts.

    python -m bench.identities DIR

Each is what `remora identity issue` makes: ECDSA P-256, signed by an intermediate of the mesh's
root. A process of its own makes them, so that the harness shares no more pages with remora.
"""

import contextlib
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from bench import ROOT

TRUST_DOMAIN: Final = "cluster.local"
CLIENT: Final = "client"  # names of folders, and of service accounts
SERVER: Final = "server"
STRANGER: Final = "stranger"  # says that it is the server, by a root of its own
CLIENT_ID: Final = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/{CLIENT}"
SERVER_ID: Final = f"spiffe://{TRUST_DOMAIN}/ns/bench/sa/{SERVER}"
SERVER_NAME: Final = "server.bench.example"  # for nginx, which compares DNS names only
ALPN: Final = ["remora-http/1.1", "http/1.1"]  # of remora, and of everybody else
LIFETIME: Final = timedelta(hours=24)


@contextlib.contextmanager
def identities() -> Iterator[Path]:
    """Make a folder with all of them; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="remora-bench-") as name:
        subprocess.run([sys.executable, "-m", "bench.identities", name], check=True, cwd=ROOT)
        yield Path(name)


def context(roots: Path, certificate: Path | None) -> ssl.SSLContext:
    """TLS of a client that trusts the root of one identity and shows another one, or none."""
    made = ssl.create_default_context(cafile=str(roots / "ca.crt"))
    made.check_hostname = False  # SPIFFE IDs are no names of hosts
    if certificate:
        made.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    made.set_alpn_protocols(ALPN)
    return made


def main(directory: Path) -> None:
    """Make all of them."""
    from proxy.identity.authority import Authority, write_svid  # noqa: PLC0415 - see the module
    from proxy.identity.spiffe import of_service_account  # noqa: PLC0415

    mesh = Authority.create(directory / "mesh-ca", TRUST_DOMAIN)
    foreign = Authority.create(directory / "foreign-ca", TRUST_DOMAIN)
    for folder, signer, account in (
        (CLIENT, mesh, CLIENT),
        (SERVER, mesh, SERVER),
        (STRANGER, foreign, SERVER),
    ):
        identity = of_service_account(TRUST_DOMAIN, "bench", account)
        names = [SERVER_NAME] if account == SERVER else []
        place = directory / folder
        write_svid(place, signer.issue(identity, LIFETIME, names))
        # HAProxy wants one file; a `chmod` afterwards would come too late for a key.
        both = directory / f"{folder}-both.pem"
        both.touch(0o600)
        both.write_bytes((place / "tls.crt").read_bytes() + (place / "tls.key").read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
