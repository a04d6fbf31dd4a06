"""Programs of others at the other end of mesh TLS: openssl, curl, nginx, stunnel, Envoy."""

import getpass
import http.client
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import sockets
from tests.support.commands import Command
from tests.support.echo import Echo
from tests.support.http import Stream, request
from tests.support.mtls import FarProxy, MeshKit, NearProxy, door_of
from tests.support.sockets import (
    Address,
    accepted,
    address_of,
    expect_reset,
    listening,
    receive_exactly,
    receive_until_end,
    written,
)
from tests.support.svids import SHOP, WEB
from tests.support.tools import needed, plain_environment, said_by
from tests.support.waiting import eventually

Start = Callable[..., Command]
Part = dict[str, Any]


@pytest.fixture
def start() -> Iterator[Start]:
    """Call it with the words of a command; it is stopped at the end."""
    with ExitStack() as stack:

        def begin(*words: str, stdin: socket.socket | None = None) -> Command:
            command = Command(words, stdin)
            stack.callback(command.stop)
            return command

        yield begin


def as_pem(directory: Path) -> Sequence[str]:
    """Return the identity of a directory as openssl's flags."""
    chain = str(directory / "tls.crt")
    files = ("-key", str(directory / "tls.key"), "-CAfile", str(directory / "ca.crt"))
    return ("-cert", chain, "-cert_chain", chain, *files, "-verify_return_error")


def check_tcp(down: socket.socket, up: socket.socket) -> None:
    """A word each way, and an end each way."""
    down.sendall(b"\0there")
    assert receive_exactly(up, 6) == b"\0there"
    up.sendall(b"back")
    assert receive_exactly(down, 4) == b"back"
    down.shutdown(socket.SHUT_WR)
    assert receive_until_end(up) == b""


def check_http(address: Address, *, count: int = 3) -> None:
    stream = Stream(sockets.connected(address))
    with stream.sock:
        for _ in range(count):
            stream.send(request("/"))
            assert stream.response().body == b"served"


# --- openssl -------------------------------------------------------------------------------------


def s_client(kit: MeshKit, start: Start, far: FarProxy, *flags: str) -> Command:
    target = written(door_of(far.proxy))
    identity = as_pem(kit.directory(SHOP))
    return start("openssl", "s_client", "-connect", target, *identity, *flags)


def test_openssl_dials_us(kit: MeshKit, start: Start) -> None:
    far = FarProxy(kit)
    client = s_client(kit, start, far, "-alpn", "remora-tcp")
    client.wait_for(b"Verify return code: 0 (ok)")
    for word in (b"TLSv1.3", b"ALPN protocol: remora-tcp"):
        assert word in client.said
    up = far.accept()
    client.say(b"hello\n")
    assert receive_exactly(up, 6) == b"hello\n"
    up.sendall(b"world\n")
    client.wait_for(b"world\n")
    up.close()
    client.wait_for(b"closed")


def test_openssl_gets_no_session_ticket(kit: MeshKit, start: Start) -> None:
    far = FarProxy(kit)
    client = s_client(kit, start, far, "-alpn", "remora-tcp")
    client.wait_for(b"Verify return code: 0 (ok)")
    far.accept().sendall(b"first word\n")
    client.wait_for(b"first word\n")
    assert b"New Session Ticket" not in client.said


@pytest.mark.parametrize("command", [b"k", b"K"], ids=["own keys", "keys of both"])
def test_openssl_as_downstream_changes_keys(kit: MeshKit, start: Start, command: bytes) -> None:
    far = FarProxy(kit)
    client = s_client(kit, start, far, "-alpn", "remora-tcp")
    client.wait_for(b"Verify return code: 0 (ok)")
    up = far.accept()
    for number in range(1, 6):
        client.say(command + b"\n")
        client.wait_for(b"KEYUPDATE", count=number)
        client.say(b"down %d\n" % number)
        assert receive_exactly(up, 7) == b"down %d\n" % number
        up.sendall(b"up %d\n" % number)
        client.wait_for(b"up %d\n" % number)


@pytest.mark.parametrize("command", [b"k", b"K"], ids=["own keys", "keys of both"])
def test_openssl_as_upstream_changes_keys(kit: MeshKit, start: Start, command: bytes) -> None:
    server, address = s_server(kit, start)
    near = kit.near(address)
    down = kit.rig.connect(door_of(near))
    down.sendall(b"\0begin\n")
    server.wait_for(b"begin\n")
    for number in range(1, 6):
        server.say_command(command + b"\n")  # it confirms to a buffer that it does not flush
        server.say(b"up %d\n" % number)
        assert receive_exactly(down, 5) == b"up %d\n" % number
        down.sendall(b"down %d\n" % number)
        server.wait_for(b"down %d\n" % number)


def s_server(kit: MeshKit, start: Start, *flags: str) -> tuple[Command, Address]:
    identity = as_pem(kit.directory(WEB))
    server = start(
        *("openssl", "s_server", "-accept", "127.0.0.1:0", "-Verify", "8", *identity), *flags
    )
    server.wait_for(b"ACCEPT ")
    return server, sockets.parsed(server.said.split(b"ACCEPT ")[1].split()[0].decode())


def test_we_dial_openssl(kit: MeshKit, start: Start) -> None:
    server, address = s_server(kit, start, "-alpn", "remora")
    near = kit.near(address)
    down = kit.rig.connect(door_of(near))
    server.wait_for(b"CIPHER is TLS_")
    down.sendall(b"\0hello\n")
    server.wait_for(b"hello\n")
    server.say(b"world\n")
    assert receive_exactly(down, 6) == b"world\n"
    server.say(b"q\n")  # closes without close_notify: that is no clean end
    expect_reset(down)


def test_openssl_serves_a_page(kit: MeshKit, start: Start) -> None:
    _, address = s_server(kit, start, "-www")
    near = kit.near(address)
    assert "TLSv1.3" in said_by("curl", "-sS", f"http://{written(door_of(near))}/")


@pytest.mark.parametrize("group", ["X25519", "P-256"])
def test_every_group_of_ours_is_understood(kit: MeshKit, start: Start, group: str) -> None:
    far = FarProxy(kit)
    client = s_client(kit, start, far, "-groups", group)
    client.wait_for(b"Verify return code: 0 (ok)")
    _, address = s_server(kit, start, "-groups", group, "-www")
    near = kit.near(address)
    assert "TLSv1.3" in said_by("curl", "-sS", f"http://{written(door_of(near))}/")


@pytest.mark.parametrize(
    "cipher",
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
)
def test_every_cipher_of_ours_is_understood(kit: MeshKit, start: Start, cipher: str) -> None:
    far = FarProxy(kit)
    client = s_client(kit, start, far, "-ciphersuites", cipher)
    client.wait_for(f"Cipher is {cipher}".encode())


def test_a_group_that_we_do_not_have_is_refused(kit: MeshKit, start: Start) -> None:
    far = FarProxy(kit)
    client = s_client(kit, start, far, "-groups", "P-521")
    client.wait_for(b"alert handshake failure")
    eventually("it to be counted", lambda: far.failures("version") == 1)
    far.check_serves()


# --- curl and nginx ------------------------------------------------------------------------------


def test_curl_with_a_certificate_is_served(kit: MeshKit) -> None:
    echo = Echo(kit.rig)
    far = kit.far(address_of(echo.listener))
    own = kit.directory(SHOP)
    words = ("--cert", str(own / "tls.crt"), "--key", str(own / "tls.key"), "--insecure")
    url = f"https://{written(door_of(far))}/"
    assert said_by("curl", "-sS", *words, url, url, url) == "served" * 3
    assert far.metrics()("remora_tls_handshakes_total") == 1


_NGINX: str = """\
daemon off; user {user}; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 128; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    {server}
  }}
}}
"""
_NGINX_SERVES: str = """\
    listen {address} ssl; ssl_protocols TLSv1.3; ssl_verify_client on; ssl_verify_depth 8;
    ssl_certificate {own}/tls.crt; ssl_certificate_key {own}/tls.key;
    ssl_client_certificate {own}/ca.crt;
    location / {{ return 200 "$ssl_client_verify $ssl_protocol $ssl_alpn_protocol"; }}
"""
_NGINX_DIALS: str = """\
    listen {address};
    location / {{
      proxy_pass https://{target}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_ssl_protocols TLSv1.3; proxy_ssl_verify off;
      proxy_ssl_certificate {own}/tls.crt; proxy_ssl_certificate_key {own}/tls.key;
    }}
"""


def nginx(kit: MeshKit, stack: ExitStack, server: str, own: Path, target: str = "") -> Address:
    """Start nginx on a listening socket of ours."""
    folder = kit.folder / "nginx"
    folder.mkdir()
    with listening("127.0.0.1") as inherited:
        address = address_of(inherited)
        text = server.format(address=written(address), own=own, target=target)
        (folder / "conf").write_text(
            _NGINX.format(folder=folder, user=getpass.getuser(), server=text)
        )
        environment = plain_environment() | {"NGINX": f"{inherited.fileno()};"}
        words = [needed("nginx"), "-p", str(folder), "-c", str(folder / "conf")]
        command = Command(words, environment=environment, pass_fds=[inherited.fileno()])
        stack.callback(command.stop)
    return address


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_nginx_that_verifies_its_clients_serves_us(kit: MeshKit, stack: ExitStack) -> None:
    address = nginx(kit, stack, _NGINX_SERVES, kit.directory(WEB))
    near = kit.near(address)
    url = f"http://{written(door_of(near))}/"
    assert said_by("curl", "-sS", url, url) == "SUCCESS TLSv1.3 http/1.1" * 2
    assert near.metrics()("response_total", flag="-", classification="success") == 2


def test_nginx_with_a_certificate_is_served(kit: MeshKit, stack: ExitStack) -> None:
    far = kit.far(address_of(Echo(kit.rig).listener))
    target = written(door_of(far))
    address = nginx(kit, stack, _NGINX_DIALS, kit.directory(SHOP), target)
    check_http(address)
    assert far.metrics()("remora_tls_handshakes_total", role="accepted") >= 1
    assert far.metrics()("remora_tls_handshake_failures_total") == 0


# --- stunnel -------------------------------------------------------------------------------------


def stunnel(kit: MeshKit, own: Path, target: Address, *lines: str) -> Path:
    conf = kit.folder / "stunnel.conf"
    rows = [
        *("foreground = quiet", "debug = warning", "syslog = no", "sslVersion = TLSv1.3"),
        *(f"cert = {own / 'tls.crt'}", f"key = {own / 'tls.key'}", f"CAfile = {own / 'ca.crt'}"),
        *("verifyChain = yes", f"connect = {written(target)}", *lines, ""),
    ]
    conf.write_text("\n".join(rows))
    return conf


def test_stunnel_is_dialled(kit: MeshKit, start: Start) -> None:
    near = NearProxy(kit)
    app = kit.rig.listen()
    conf = stunnel(kit, kit.directory(WEB), address_of(app))
    down = near.dial()
    with accepted(near.upstream) as sock:
        sock.settimeout(None)
        start("stunnel", str(conf), stdin=sock)
    check_tcp(down, kit.rig.keep(accepted(app)))


def test_stunnel_dials_us(kit: MeshKit, start: Start) -> None:
    far = FarProxy(kit)
    door = kit.rig.listen()
    conf = stunnel(kit, kit.directory(SHOP), door_of(far.proxy), "client = yes")
    down = kit.rig.connect(address_of(door))
    with accepted(door) as sock:
        sock.settimeout(None)
        start("stunnel", str(conf), stdin=sock)
    check_tcp(down, far.accept())


# --- Envoy ---------------------------------------------------------------------------------------


def envoy_path() -> str:
    """Return its path, or skip the test: it is a wheel, beside our Python if anywhere."""
    path = shutil.which("envoy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return path or pytest.skip("no envoy on this machine (.ci/requirements bench)")


def envoy(kit: MeshKit, start: Start, target: Address, downstream: Part, upstream: Part) -> Address:
    """Start Envoy as a TCP proxy to `target`; return where it listens."""
    path = kit.folder / "envoy-admin"
    tcp = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "target",
    }
    chain = {"filters": [{"name": "tcp", "typed_config": tcp}], **downstream}
    endpoint = {"endpoint": {"address": _place(*target)}}
    cluster = {
        "name": "target",
        "load_assignment": {
            "cluster_name": "target",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
        **upstream,
    }
    listener = {"name": "in", "address": _place("127.0.0.1", 0), "filter_chains": [chain]}
    conf = {
        "admin": {"address": _place("127.0.0.1", 0)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }
    (kit.folder / "envoy.json").write_text(json.dumps(conf))
    words = ("-c", str(kit.folder / "envoy.json"), "--admin-address-path", str(path))
    start(envoy_path(), *words, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning")
    eventually("Envoy's admin address", lambda: path.exists() and path.read_text())
    door = eventually("Envoy's listener", lambda: _envoy_door(sockets.parsed(path.read_text())))
    assert door
    return door


def _place(host: str, port: int) -> Part:
    return {"socket_address": {"address": host, "port_value": port}}


def _envoy_door(admin: Address) -> Address | None:
    connection = http.client.HTTPConnection(*admin)
    try:
        connection.request("GET", "/listeners?format=json")
        rows = json.loads(connection.getresponse().read()).get("listener_statuses", [])
        connection.request("GET", "/ready")
        if connection.getresponse().read() != b"LIVE\n" or not rows:
            return None
    finally:
        connection.close()
    found = rows[0]["local_address"]["socket_address"]
    return found["address"], found["port_value"]


def _envoy_tls(kind: str, own: Path, peer: str, **more: object) -> Part:
    common = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(own / "tls.crt")},
                "private_key": {"filename": str(own / "tls.key")},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(own / "ca.crt")},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        },
    }
    name = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}"
    config = {"@type": name, "common_tls_context": common, **more}
    return {"transport_socket": {"name": "tls", "typed_config": config}}


def test_envoy_is_dialled_and_knows_who_we_are(kit: MeshKit, start: Start) -> None:
    app = kit.rig.listen()
    own = _envoy_tls(
        "DownstreamTlsContext", kit.directory(WEB), SHOP, require_client_certificate=True
    )
    near = kit.near(envoy(kit, start, address_of(app), own, {}))
    down = kit.rig.connect(door_of(near))
    check_tcp(down, kit.rig.keep(accepted(app)))


def test_envoy_dials_us_and_knows_who_we_are(kit: MeshKit, start: Start) -> None:
    far = FarProxy(kit)
    own = _envoy_tls("UpstreamTlsContext", kit.directory(SHOP), WEB)
    door = envoy(kit, start, door_of(far.proxy), {}, own)
    check_tcp(kit.rig.connect(door), far.accept())


def test_envoy_serves_requests_of_ours(kit: MeshKit, start: Start) -> None:
    own = _envoy_tls(
        "DownstreamTlsContext", kit.directory(WEB), SHOP, require_client_certificate=True
    )
    near = kit.near(envoy(kit, start, address_of(Echo(kit.rig).listener), own, {}))
    check_http(door_of(near))
    check_http(door_of(near))
    assert near.metrics()("remora_tls_handshakes_total") >= 1
