"""The apps of the demo: nginx, and dropbear, an SSH server, whose side speaks first."""

import hashlib
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.demo.pods import APP_ID, Address, Pod
from deploy.demo.programs import Program, eventually, run

WEB_PORT: Final = 8080
SSH_PORT: Final = 2222

HELLO: Final = b"Hello from stock. I know of no sidecar.\n"
BIG_BYTES: Final = 64 << 20
SLOW_BYTES: Final = 12 << 20
# The slow download takes two seconds: long enough to watch a drain, short enough to wait for.
_SLOW_RATE: Final = "6m"

_NGINX: Final = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    log_format demo '$remote_addr $http_x_request_id';
    access_log {directory}/nginx-access.log demo;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    sendfile on;
    server {{
        {listen}
        root {directory}/www;
        location = /slow {{ limit_rate {rate}; }}
    }}
}}
"""


@dataclass(frozen=True)
class Apps:
    """What runs in a pod, and what it is known by."""

    web: dict[str, Address]  # by family
    ssh: dict[str, Address]
    sha256: dict[str, str]  # of the files that nginx serves, by their path
    host_key: str
    access_log: Path

    def source_addresses(self) -> list[str]:
        """Return whom nginx saw at the other end, one for each request so far."""
        return [line.split()[0] for line in self.access_log.read_text().splitlines()]

    def request_ids(self) -> list[str]:
        """Return the x-request-id that came with each request so far."""
        return [line.split()[1] for line in self.access_log.read_text().splitlines()]


def start_apps(pod: Pod, directory: Path, stack: ExitStack) -> Apps:
    """Start both on every address of the pod and wait until they listen; `stack` ends them."""
    (directory / "www").mkdir(parents=True)
    sha256 = _write_files(directory / "www")
    if pod.namespace:
        os.chown(directory, APP_ID, APP_ID)
    web = _start_nginx(pod, directory, stack)
    ssh, host_key = _start_dropbear(pod, directory, stack)
    return Apps(web, ssh, sha256, host_key, directory / "nginx-access.log")


def _write_files(directory: Path) -> dict[str, str]:
    digests = {}
    for path, content in {
        "/hello": HELLO,
        "/big": os.urandom(BIG_BYTES),
        "/slow": os.urandom(SLOW_BYTES),
    }.items():
        (directory / path[1:]).write_bytes(content)
        digests[path] = hashlib.sha256(content).hexdigest()
    return digests


def _start_nginx(pod: Pod, directory: Path, stack: ExitStack) -> dict[str, Address]:
    addresses = _addresses(pod, WEB_PORT)
    listen = " ".join(f"listen {address};" for address in addresses.values())
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, listen=listen, rate=_SLOW_RATE))
    log = directory / "nginx.log"
    nginx = Program("nginx", pod.as_app("nginx", "-c", str(config)), log, log)
    stack.callback(nginx.stop)
    _wait_listening(pod, nginx, addresses)
    return addresses


def _start_dropbear(pod: Pod, directory: Path, stack: ExitStack) -> tuple[dict[str, Address], str]:
    """Return where it listens and its public key; the private one is made for this run."""
    key = str(directory / "host.key")
    run(pod.as_app("dropbearkey", "-t", "ed25519", "-f", key))
    described = run(pod.as_app("dropbearkey", "-y", "-f", key)).splitlines()
    host_key = next(line.split()[1] for line in described if line.startswith("ssh-"))
    addresses = _addresses(pod, SSH_PORT)
    ports = [word for address in addresses.values() for word in ("-p", str(address))]
    log = directory / "dropbear.log"
    words = ["dropbear", "-F", "-E", "-s", "-r", key, "-P", str(directory / "ssh.pid"), *ports]
    dropbear = Program("dropbear", pod.as_app(*words), log, log)
    stack.callback(dropbear.stop)
    _wait_listening(pod, dropbear, addresses)
    return addresses, host_key


def _addresses(pod: Pod, port: int) -> dict[str, Address]:
    """Give where to listen, by family: on `port` in a namespace, else on any free one."""
    return {
        family: Address(host, port if pod.namespace else free_port(host))
        for family, host in pod.addresses.items()
    }


def free_port(host: str) -> int:
    """Return a port that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def _wait_listening(pod: Pod, program: Program, addresses: dict[str, Address]) -> None:
    """Wait without a connection of our own: the account is of real traffic only."""
    wanted = {str(address) for address in addresses.values()}

    def listens() -> bool:
        program.check_alive()
        rows = run(pod.as_root("ss", "-Hltn")).splitlines()
        return wanted <= {row.split()[3] for row in rows}

    eventually(f"{program.name} to listen on {', '.join(sorted(wanted))}", listens)
