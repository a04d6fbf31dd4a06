"""Real programs of others: an nginx with a port of its own, clients that run and are read."""

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.rig import Rig
from tests.support.sockets import Address, address_of, listening, written
from tests.support.waiting import PATIENCE_S

_NGINX_CONF: Final = """\
daemon off; user {user}; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 0; root {folder}/www; keepalive_timeout 60;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {address};
    location /put/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    location /said {{ return 200 "$request_method $http_host $server_protocol"; }}
    location /zipped {{ gzip on; gzip_min_length 1; gzip_types *; alias {folder}/www; }}
    location /once {{ keepalive_timeout 0; return 200 "once"; }}
    location /gone {{ return 410 "gone"; }}
    location /seen {{
      return 200 "$http_x_request_id $http_x_forwarded_for $http_x_forwarded_proto";
    }}
  }}
}}
"""


def needed(program: str) -> str:
    """Return its path, or skip the test: a machine without it has nothing to say."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"no {program} on this machine")
    return path


def plain_environment() -> dict[str, str]:
    """Return the environment without the sanitizers: curl hangs with libasan loaded into it."""
    preloads = {"LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS"}
    return {name: value for name, value in os.environ.items() if name not in preloads}


class Nginx:
    """nginx on a listening socket of ours: it inherits it, as at an upgrade of its binary.

    It is the test's own `listener`, or one on a free port.
    """

    def __init__(self, folder: Path, listener: socket.socket | None = None) -> None:
        self.www = folder / "www"
        (self.www / "put").mkdir(parents=True)
        for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (folder / name).mkdir()
        with listener.dup() if listener else listening("127.0.0.1") as inherited:
            self.address = address_of(inherited)
            conf = folder / "nginx.conf"
            values = {
                "folder": folder,
                "address": written(self.address),
                "user": getpass.getuser(),
            }
            conf.write_text(_NGINX_CONF.format(**values))
            fd = inherited.fileno()
            self._process = subprocess.Popen(
                [needed("nginx"), "-p", str(folder), "-c", str(conf)],
                env=plain_environment() | {"NGINX": f"{fd};"},
                pass_fds=[fd],
                stderr=subprocess.PIPE,
            )

    def stop(self) -> str:
        """Return what it complained of."""
        self._process.terminate()
        text = self._process.communicate(timeout=PATIENCE_S)[1].decode()
        return "".join(line for line in text.splitlines() if "using inherited sockets" not in line)


def said_by(program: str, *arguments: str, stdin: bytes = b"") -> str:
    """Run a program to its end; it must end well."""
    done = subprocess.run(
        [needed(program), *arguments],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S * 3,
        check=False,
        env=plain_environment(),
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode()


def two_sidecars(rig: Rig, target: Address, *flags: str) -> Address:
    """Start a chain as between two pods: outbound side, inbound side, application."""
    inbound = rig.start_to(target, "--http-forwarded", "all", *flags).listeners("explicit")[0]
    return rig.start_to(inbound, *flags).listeners("explicit")[0]


def listening_for(rig: Rig) -> tuple[socket.socket, Address]:
    listener = rig.listen()
    return listener, address_of(listener)
