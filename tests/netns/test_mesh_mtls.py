"""Mesh TLS between two pods with real redirection: what the wire shows, and who may come in."""

import contextlib
import json
import ssl
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from tests.netns.harness import Namespace, Pods
from tests.netns.mesh import Mesh, running
from tests.netns.stage import APP_PORT
from tests.support.http import Stream, request, response
from tests.support.mtls import Identities
from tests.support.rig import Pair
from tests.support.sockets import (
    expect_reset,
    receive_exactly,
    written,
)
from tests.support.svids import SHOP, WEB, Signer, Svid
from tests.support.tools import needed
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.root

SECRET: Final = b"<the secret of the application>"
Start = Callable[..., AbstractContextManager[Mesh]]


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    tmp_path.chmod(0o755)
    return Identities(tmp_path)


@pytest.fixture
def start(pods: Pods, family: str, identities: Identities) -> Start:
    """Call it with the mode of `right`, and whether `left` knows that `right` is meshed."""

    def begin(
        mode: str, *right_flags: str, knows: bool = True, expected: str = WEB
    ) -> AbstractContextManager[Mesh]:
        address = pods.right.addresses[family], APP_PORT
        mesh = ["--mesh", f"{written(address)}={expected}"] if knows else []
        left = ["--identity", str(identities.directory(SHOP)), *mesh]
        right = ["--identity", str(identities.directory(WEB)), "--mtls", mode, *right_flags]
        return running(pods, family, left_flags=left, right_flags=right)

    return begin


class Capture:
    """tcpdump on eth0 of a pod, from its start to `taken`."""

    def __init__(self, pod: Namespace, path: Path) -> None:
        self._pod = pod
        self._path = path
        words = [needed("tcpdump"), "-i", "eth0", "-Z", "root", "-U", "-s", "0", "-w", str(path)]
        self._process = pod.popen(words, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "listening on" in line:
                break

    def taken(self, mesh: Mesh) -> bytes:
        """Send a mark in plaintext past the sidecars; return all that was seen up to it."""
        mark = b"/the-end-of-it"
        host = mesh.right.pod.addresses["ipv4"]
        with mesh.left.dial((host, 15020)) as sock:
            sock.sendall(b"GET " + mark + b" HTTP/1.0\r\nhost: a\r\n\r\n")
            sock.recv(100)
        eventually("the mark on the wire", lambda: mark in self._path.read_bytes())
        return self._path.read_bytes()


@pytest.fixture
def capture(pods: Pods, tmp_path: Path) -> Capture:
    return Capture(pods.right, tmp_path / "wire.pcap")


def talk(pair: Pair) -> None:
    for number in range(20):
        text = b"\0" + SECRET + b"%02d" % number
        pair.downstream.sendall(text)
        assert receive_exactly(pair.upstream, len(text)) == text
        pair.upstream.sendall(text)
        assert receive_exactly(pair.downstream, len(text)) == text


def greet(pair: Pair) -> None:
    """The server speaks first."""
    pair.upstream.sendall(b"220 " + SECRET)
    assert receive_exactly(pair.downstream, 4 + len(SECRET)) == b"220 " + SECRET
    pair.downstream.sendall(b"EHLO " + SECRET)
    assert receive_exactly(pair.upstream, 5 + len(SECRET)) == b"EHLO " + SECRET


def ask(mesh: Mesh, *fields: str) -> dict[bytes, bytes]:
    """Send a request and its answer; return the fields that the app got."""
    down = Stream(mesh.left.dial(mesh.address))
    down.send(request("/" + SECRET.hex(), *fields, body=SECRET, method="POST"))
    up = Stream(mesh.right.accept(mesh.app))
    asked = up.request()
    assert asked.body == SECRET
    up.send(response(SECRET))
    assert down.response().body == SECRET
    return {name.lower(): value for name, value in asked.fields}


def test_the_wire_shows_not_a_byte_of_the_application(start: Start, capture: Capture) -> None:
    with start("strict") as mesh:
        ask(mesh)
        talk(mesh.pair())
        greet(mesh.pair())
        seen = capture.taken(mesh)
        handshakes = mesh.right.sidecar.metrics()("remora_tls_handshakes_total", role="accepted")
    assert handshakes >= 2
    assert len(seen) > 10_000
    for secret in (SECRET, SECRET[1:12], SECRET.hex().encode(), b"POST /", b"220 <", b"EHLO"):
        assert secret not in seen
    assert b"remora" in seen  # the ALPN: it was us


def test_without_a_mesh_the_wire_shows_everything(start: Start, capture: Capture) -> None:
    """That the search finds what is there to be found."""
    with start("permissive", knows=False) as mesh:
        talk(mesh.pair())
        assert SECRET in capture.taken(mesh)


@pytest.mark.parametrize("mode", ["strict", "permissive"])
def test_the_app_is_told_who_asks(start: Start, mode: str) -> None:
    with start(mode) as mesh:
        fields = ask(mesh, "remora-client-id: spiffe://cluster.local/ns/x/sa/admin")
        assert fields[b"remora-client-id"] == SHOP.encode()
        assert fields[b"x-forwarded-client-cert"].endswith(b"URI=" + SHOP.encode())


def test_who_comes_in_plaintext_cannot_claim_an_identity(start: Start) -> None:
    with start("permissive", knows=False) as mesh:
        fields = ask(
            mesh,
            f"remora-client-id: {SHOP}",
            f"X-Forwarded-Client-Cert: URI={SHOP}",
            "Connection: remora-client-id",
        )
        assert not fields.keys() & {b"remora-client-id", b"x-forwarded-client-cert"}


@pytest.mark.parametrize("knows", [True, False], ids=["mesh", "outside"])
def test_under_permissive_everybody_is_let_in(start: Start, knows: object) -> None:
    with start("permissive", knows=bool(knows)) as mesh:
        ask(mesh)
        talk(mesh.pair())
        greet(mesh.pair())
        handshakes = mesh.right.sidecar.metrics()("remora_tls_handshakes_total", role="accepted")
        assert (handshakes > 0) is bool(knows)


def test_under_strict_plaintext_from_outside_is_refused(start: Start) -> None:
    with start("strict", knows=False) as mesh:
        down = Stream(mesh.left.dial(mesh.address))
        down.send(request("/" + SECRET.hex()))
        assert down.response().get(b"remora-error")  # from our own sidecar
        opaque = mesh.left.dial(mesh.address)
        opaque.sendall(b"\0" + SECRET)
        assert expect_reset(opaque) == b""
        eventually("the refusals", lambda: mesh.right.sidecar.closed("plaintext_refused") >= 2)
        check_nobody_came(mesh)


def test_strict_by_a_manifest_refuses_plaintext_that_the_flag_lets_in(
    start: Start, tmp_path: Path
) -> None:
    spec = {"mtls": {"mode": "STRICT"}}
    told = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "spec": spec}
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "strict.json").write_text(
        json.dumps({**told, "metadata": {"name": "default", "namespace": "shop"}})
    )
    flags = ("--manifests", str(manifests), "--namespace", "shop")
    with start("permissive", *flags, knows=False) as mesh:
        opaque = mesh.left.dial(mesh.address)
        opaque.sendall(b"\0" + SECRET)
        assert expect_reset(opaque) == b""
        eventually("the refusal", lambda: mesh.right.sidecar.closed("plaintext_refused") == 1)
        check_nobody_came(mesh)
    with start("permissive", *flags) as mesh:
        talk(mesh.pair())


def check_nobody_came(mesh: Mesh) -> None:
    """The app was not dialled, or never heard a word."""
    mesh.app.settimeout(0.2)
    with contextlib.suppress(TimeoutError), mesh.right.accept(mesh.app) as sock:
        raise AssertionError(f"somebody came: {sock.recv(100)!r}")


def test_a_port_may_have_a_mode_of_its_own(start: Start) -> None:
    with start("strict", "--mtls-ports", f"{APP_PORT}=permissive", knows=False) as mesh:
        talk(mesh.pair())


def test_a_disabled_port_terminates_nothing(start: Start) -> None:
    """What comes in for mesh TLS goes to the app as it is."""
    with start("disable") as mesh:
        mesh.left.dial(mesh.address)
        up = mesh.right.accept(mesh.app)
        assert up.recv(5)[:2] == b"\x16\3"


def test_an_endpoint_with_another_identity_is_not_spoken_to(start: Start) -> None:
    with start("strict", expected=SHOP) as mesh:
        down = mesh.left.dial(mesh.address)
        down.sendall(b"\0" + SECRET)
        assert expect_reset(down) == b""
        failures = mesh.left.sidecar.metrics()(
            "remora_tls_handshake_failures_total", reason="unexpected"
        )
        assert failures >= 1


# --- the application's own TLS -------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Svid:
    """A certificate that has nothing to do with the mesh."""
    made = Signer.root("the application's own").issue()
    (tmp_path / "own.key").write_bytes(made.key_pem())
    (tmp_path / "own.crt").write_bytes(made.chain_pem())
    return made


def converse_in_tls(mesh: Mesh, folder: Path) -> bytes:
    """Speak the app's own TLS end to end; return the certificate that the downstream saw."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "own.crt", folder / "own.key")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

    def serve() -> None:
        with server.wrap_socket(mesh.right.accept(mesh.app), server_side=True) as sock:
            sock.sendall(sock.recv(100).upper())

    serving = mesh.background(serve)
    dialled = mesh.left.dial(mesh.address)
    with client.wrap_socket(dialled, server_hostname="app.example") as sock:
        sock.sendall(b"own words")
        assert sock.recv(100) == b"OWN WORDS"
        seen = sock.getpeercert(binary_form=True)
    serving.result(PATIENCE_S)
    assert seen
    return seen


@pytest.mark.parametrize("knows", [True, False], ids=["mesh", "outside"])
def test_tls_of_the_application_passes_untouched_under_permissive(
    start: Start, own: Svid, tmp_path: Path, knows: object
) -> None:
    with start("permissive", knows=bool(knows)) as mesh:
        assert converse_in_tls(mesh, tmp_path) == own.der
        for side, direction in ((mesh.left, "outbound"), (mesh.right, "inbound")):
            record = side.sidecar.record(direction)
            assert (record["protocol"], record["sni"]) == ("tls", "app.example")
        handshakes = mesh.right.sidecar.metrics()("remora_tls_handshakes_total", role="accepted")
        assert handshakes == int(bool(knows))


def test_tls_of_the_application_passes_inside_mesh_tls_under_strict(
    start: Start, own: Svid, tmp_path: Path
) -> None:
    with start("strict") as mesh:
        assert converse_in_tls(mesh, tmp_path) == own.der


def test_tls_of_the_application_from_outside_is_refused_under_strict(start: Start) -> None:
    with start("strict", knows=False) as mesh:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            sock = client.wrap_socket(mesh.left.dial(mesh.address), server_hostname="a")
            assert mesh.left.keep(sock).recv(100) == b""
        failures = mesh.right.sidecar.metrics()(
            "remora_tls_handshake_failures_total", role="accepted", reason="no_certificate"
        )
        assert failures == 1
        check_nobody_came(mesh)
