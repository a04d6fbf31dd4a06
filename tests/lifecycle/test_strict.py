"""A pod with an identity out of a Secret that lets in nobody but the mesh, and the kubelet."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifecycle.clients import ask
from tests.lifecycle.node import Node
from tests.lifecycle.pods import PORT, PROXY, Raw, container, meshed, server
from tests.support import control
from tests.support.process import environment
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.root

STRICT = {"identity-source": "secret", "identity-secret": "web-tls", "mtls": "strict"}


def issue(node: Node, folder: Path) -> None:
    """Make a CA and a certificate with the command, and put it into a Secret of the cluster."""

    def identity(*words: str) -> None:
        command = [sys.executable, "-m", "proxy", "identity", *words]
        subprocess.run(command, check=True, env=environment(), timeout=PATIENCE_S)

    ca, own = folder / "ca", folder / "web"
    identity("ca", str(ca))
    identity("issue", str(own), "--ca", str(ca), "--namespace", "shop", "--service-account", "web")
    files = ("tls.crt", "tls.key", "ca.crt")
    node.secrets["web-tls"] = {name: (own / name).read_bytes() for name in files}


def strict(*containers: Raw) -> Raw:
    return meshed(*containers, annotations=STRICT)


def test_probes_of_the_kubelet_get_in_and_nobody_else(node: Node, tmp_path: Path) -> None:
    issue(node, tmp_path)
    get = {"path": "/healthz", "port": PORT}
    # Many failures, so that an application on a slow machine is not ended while it begins.
    probe = {"httpGet": get, "periodSeconds": 1, "failureThreshold": 100}
    pod = node.run(strict(server(livenessProbe=probe)))
    pod.wait_for("liveness app good")
    status, body = ask(node, pod.host)
    assert (status, body) == (403, "remora: plaintext_refused\n")
    assert ask(node, pod.host, "/healthz")[0] == 200
    identity = control.ask(pod.volume("remora-run") / "control.sock", "/identity")
    assert "spiffe://cluster.local/ns/shop/sa/web" in str(identity)


def test_a_tcp_probe_needs_no_certificate_either(node: Node, tmp_path: Path) -> None:
    issue(node, tmp_path)
    probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    pod = node.run(strict(server(readinessProbe=probe)))
    with pytest.raises(ConnectionResetError):
        ask(node, pod.host, "/healthz")


def test_no_application_can_read_the_key(node: Node, tmp_path: Path) -> None:
    issue(node, tmp_path)
    look = container("look", "idle")
    pod = node.run(strict(server(), look))
    root = Path(f"/proc/{pod.pid('look')}/root")
    assert not (root / "var/run/secrets").exists()
    assert not (root / "run/secrets").exists()
    assert (Path(f"/proc/{pod.pid(PROXY)}/root") / "run/secrets/remora.dev/identity").is_dir()


def test_a_secret_that_is_no_identity_keeps_the_pod_in_init(node: Node) -> None:
    node.secrets["web-tls"] = dict.fromkeys(("tls.crt", "tls.key", "ca.crt"), b"nothing")
    pod = node.start(strict(server()))
    pod.wait_for(f"exit {PROXY} 71", count=2)
    assert pod.phase == "Pending"
    assert not pod.did("start app")
    assert "start_failed" in pod.message(PROXY)
