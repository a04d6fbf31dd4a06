"""Room for linkerd2-proxy and ztunnel, whose binaries have to be brought: `--ztunnel PATH`.

What is measured is what can be without their control planes: the time from exec to a first answer
of the health endpoint, and memory at rest. Not requests: both take only what netfilter redirects to
them, and learn where to send it from controllers (linkerd2-proxy) or from istiod (ztunnel).
Configurations are in bench/peers/mesh/. They were written by reading the sources of both; neither
binary could be had where this was written, so they are untested.
"""

import argparse
import datetime as dt
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import BENCH, proc, record
from bench.running import Cores, RunError, answers, free_ports, pinned, stop
from bench.table import Table

TEMPLATES: Final = BENCH / "peers" / "mesh"
ROUNDS: Final = 5
READY_SECONDS_MAX: Final = 20.0
POLL_SECONDS: Final = 0.0005
MB: Final = 1_000_000
VARIABLES: Final = {
    "linkerd2-proxy": "REMORA_BENCH_LINKERD2_PROXY",
    "ztunnel": "REMORA_BENCH_ZTUNNEL",
}


class PathError(Exception):
    """No such program; the text names the flag."""


@dataclass(frozen=True)
class Mesh:
    """A program that was brought, and where it says that it runs."""

    name: str
    binary: Path
    health: str
    health_port: int = 0  # fixed, or 0: that of its configuration


@dataclass(frozen=True)
class Rest:
    """One start: milliseconds to its health, and its memory then."""

    ms: float
    memory: proc.Memory


def add_options(parser: argparse.ArgumentParser) -> None:
    """One flag for each, with a twin in the environment."""
    for name, variable in VARIABLES.items():
        parser.add_argument(
            f"--{name}",
            metavar="PATH",
            default=os.environ.get(variable),
            help=f"its binary: start and memory are measured, no requests ({variable})",
        )


def given(options: argparse.Namespace) -> list[Mesh]:
    """Return those whose binary was given; raises PathError."""
    found = []
    for name in VARIABLES:
        path = getattr(options, name.replace("-", "_"))
        if not path:
            continue
        binary = Path(path).absolute()
        if not binary.is_file() or not os.access(binary, os.X_OK):
            raise PathError(f"--{name} {path}: no program is there")
        health = {"linkerd2-proxy": ("/live", 0), "ztunnel": ("/healthz/ready", 15021)}[name]
        found.append(Mesh(name, binary, *health))
    return found


def report_on(meshes: Sequence[Mesh], top: record.Top) -> dict[str, str]:
    """Measure them; return the files of a report of it, or of what they said instead of running."""
    rows = []
    starts: dict[str, Any] = {}
    for mesh in meshes:
        try:
            found = [rest(mesh) for _ in range(ROUNDS)]
            rows.append(_row(mesh, found))
            starts[mesh.name] = [asdict(each) for each in found]
        except RunError as error:
            said = " ".join(str(error).split())[:300]
            rows.append([mesh.name, "-", "-", "-", "-", f"did not run: {said}"])
    headers = ["proxy", "healthy ms", "PSS MB", "RSS MB", "private MB", ""]
    notes = [
        "no requests: both need what redirects to them, and their control planes",
        "the configurations in bench/peers/mesh/ were written without these binaries at hand",
    ]
    made = Table("Start and rest", headers, rows, notes, frozenset({0, 5}))
    print(made.text())
    return record.files_of(top, [made], {"starts": starts})


def _row(mesh: Mesh, found: Sequence[Rest]) -> list[str]:
    sizes = zip(*((r.memory.pss, r.memory.rss, r.memory.private) for r in found), strict=True)
    cells = [f"{statistics.median(column) / MB:.1f}" for column in sizes]
    return [mesh.name, f"{statistics.median(r.ms for r in found):.0f}", *cells, ""]


def rest(mesh: Mesh) -> Rest:
    """Start one and wait for its health; RunError with its own words if that does not come."""
    with tempfile.TemporaryDirectory(prefix="remora-bench-") as name:
        directory = Path(name)
        port, admin_port = free_ports(2)
        words = {"port": port, "admin_port": admin_port, "directory": directory}
        environment = os.environ | _prepared(directory, mesh.name, words)
        with (directory / "log").open("w+") as log, pinned(Cores.allowed().proxy):
            began = time.monotonic()
            process = subprocess.Popen(
                [str(mesh.binary), *(["proxy"] if mesh.name == "ztunnel" else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                text=True,
                start_new_session=True,
            )
        try:
            _await_health(process, mesh.health_port or admin_port, mesh.health, began)
            return Rest((time.monotonic() - began) * 1000, proc.memory(process.pid))
        except RunError as error:
            raise RunError(f"{error}\n{(directory / 'log').read_text()[-2000:]}") from error
        finally:
            stop(process)


def _prepared(directory: Path, name: str, words: dict[str, object]) -> dict[str, str]:
    """Write what the program reads; return its environment."""
    for template in TEMPLATES.glob(f"{name}.*"):
        text = Template(template.read_text()).substitute(words)
        (directory / template.name).write_text(text)
    lines = (directory / f"{name}.env").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    environment = {key: value for key, _, value in pairs}
    if name == "linkerd2-proxy":
        environment["LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"] = _request_identity(directory)
    return environment


def _request_identity(directory: Path) -> str:
    """Write the key, the request and the token of a pod; return a trust anchor."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server.bench.example")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    now = dt.datetime.now(dt.UTC)
    anchor = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    der = serialization.Encoding.DER
    kind, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "key.p8").write_bytes(key.private_bytes(der, kind, secret))
    (directory / "csr.der").write_bytes(request.public_bytes(der))
    (directory / "token").write_text("none")
    return anchor.public_bytes(serialization.Encoding.PEM).decode()


def _await_health(process: subprocess.Popen[str], port: int, path: str, began: float) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
    while not answers(port, request, 12).endswith(b" 200"):
        if process.poll() is not None:
            raise RunError(f"exited with status {process.returncode}")
        if time.monotonic() - began > READY_SECONDS_MAX:
            raise RunError(f"was not healthy within {READY_SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)
